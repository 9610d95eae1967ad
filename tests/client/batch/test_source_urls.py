import io
import pickle
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import parquet
from strata_client import InvalidArgument, MissingExtra
from strata_client.batch.rows import Failure, Row
from strata_client.batch.sources import open_source, remote
from strata_client.batch.sources.keys import hide_credentials
from strata_client.batch.sources.remote import Remote, locate
from strata_client.batch.sources.stores import MAX_FILE_BYTES


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    """A store of objects, empty before and after."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def read_rows(where: str, **columns: str) -> list[Row]:
    source = open_source(where, **columns)
    rows = list(source.read(0, source.count))
    source.close()
    return rows


def pack(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def test_a_folder_and_a_pattern_at_a_url_are_what_they_are_here(memory: MemoryFileSystem, tmp_path: Path) -> None:
    for name in ("b.png", "a/1.png", "a/[2].jpg", "a/deep/3.png", ".hidden/4.png", "notes.txt"):
        memory.pipe(f"/set/{name}", name.encode())
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    for beneath in ("", "/*/*", "/**/*.png", "/b.png", "/a/[[]2].jpg"):
        here, there = open_source(f"{tmp_path}{beneath}"), open_source(f"memory://set{beneath}")
        assert list(there.read(0, 9)) == list(here.read(0, 9))
        assert (there.count, there.digest, there.skipped) == (here.count, here.digest, here.skipped)
        here.close()
        there.close()


def test_files_of_each_kind_are_read_from_a_url(memory: MemoryFileSystem) -> None:
    array, table = io.BytesIO(), io.BytesIO()
    np.save(array, np.arange(3))
    parquet.write_table(pa.table({"a": [b"one"]}), table)
    memory.pipe("/x/a.npy", array.getvalue())
    memory.pipe("/x/a.parquet", table.getvalue())
    memory.pipe("/x/a.tar.gz", pack({"one.png": b"one"}))
    memory.pipe("/x/a.txt", b"y/one.png\nmemory://x/y/one.png\nnone.png")
    memory.pipe("/x/y/one.png", b"one")
    assert [row.key for row in read_rows("memory://x/a.npy")] == ["0", "1", "2"]
    assert read_rows("memory://x/a.parquet") == [Row("0", b"one")]
    assert read_rows("memory://x", image_column="a") == [Row("a.parquet:0", b"one")]
    assert read_rows("memory://x/a.tar.gz") == [Row("one.png", b"one")]
    gone = Failure("NOT_FOUND", "no such file")
    assert [row.value for row in read_rows("memory://x/a.txt")] == [b"one", b"one", gone]


def test_a_list_of_this_machine_may_name_urls(memory: MemoryFileSystem, tmp_path: Path) -> None:
    memory.pipe("/x/one.png", b"one")
    (tmp_path / "two.png").write_bytes(b"two")
    (tmp_path / "a.txt").write_text(f"memory://x/one.png\ntwo.png\nfile://{tmp_path}/two.png\nmemory://x/none.png\n")
    values = [row.value for row in read_rows(str(tmp_path / "a.txt"))]
    assert values == [b"one", b"two", b"two", Failure("NOT_FOUND", "no such file")]


@pytest.mark.parametrize(
    "line", ["/etc/hosts", "file:///etc/hosts", "simplecache::file:///etc/hosts", "../x", "a/../../x"]
)
def test_a_list_from_far_away_names_no_file_of_this_machine(memory: MemoryFileSystem, line: str) -> None:
    memory.pipe("/x/a.txt", f"a.png\n{line}\n".encode())
    with pytest.raises(InvalidArgument, match="line 2: expected a URL or a path beneath the list's folder"):
        open_source("memory://x/a.txt")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """Serve a folder over HTTP, and give its URL."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    class Patient(ThreadingHTTPServer):
        request_queue_size = 128  # connections that wait: many come at once

    with Patient(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://user:secret@127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_list_and_its_pictures_are_read_from_a_web_server(tmp_path: Path, web: str) -> None:
    names = [f"{number:03}.png" for number in range(100)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "empty.png").touch()
    (tmp_path / "a.txt").write_text("\n".join([*names, "none.png", "empty.png", f"{web}/000.png?token=secret"]))
    rows = read_rows(f"{web}/a.txt")
    assert [row.value for row in rows[:100]] == [name.encode() for name in names]
    assert [row.value for row in rows[100:]] == [Failure("NOT_FOUND", "no such file"), b"", b"000.png"]
    assert rows[102].key == f"{web.replace('user:secret@', '')}/000.png"


def test_a_url_of_this_machine_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    assert read_rows(f"file://{tmp_path}") == [Row("a.png", b"a")]


def test_many_small_files_are_fetched_together_and_large_ones_not(memory: MemoryFileSystem) -> None:
    asked: list[int] = []

    class Counting(AsyncFileSystemWrapper):  # type: ignore[misc]
        def cat_ranges(self, paths: list[str], *arguments: object, **options: object) -> object:
            asked.append(len(paths))
            return super().cat_ranges(paths, *arguments, **options)

    for number in range(100):
        memory.pipe(f"/x/{number:03}.png", str(number).encode())
    files = [(f"/x/{number:03}.png", 2) for number in range(100)]
    store = Remote(Counting(memory))
    values = list(store.read([*files[:70], ("/x/none.png", 5), ("/x/huge.png", MAX_FILE_BYTES + 1), *files[70:]]))
    assert values[:70] == [str(number).encode() for number in range(70)]
    assert values[70] == Failure("NOT_FOUND", "no such file")
    assert isinstance(values[71], Failure)
    assert values[71].code == "RESOURCE_EXHAUSTED"
    assert values[72:] == [str(number).encode() for number in range(70, 100)]
    assert asked[0] == 64
    assert sum(asked) == 101


def test_a_file_of_unknown_size_is_read_no_further_than_allowed(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "MAX_FILE_BYTES", 10)
    memory.pipe("/x/a.png", b"x" * 10)
    memory.pipe("/x/b.png", b"x" * 1000)
    values = list(Remote(memory).read([("/x/a.png", -1), ("/x/b.png", -1)]))
    assert values[0] == b"x" * 10
    assert isinstance(values[1], Failure)


def test_a_span_of_a_url_is_small_and_holds_its_own_paths(memory: MemoryFileSystem) -> None:
    for number in range(1000):
        memory.pipe(f"/x/{number:04}.png", b"")
    source = open_source("memory://x")
    pickled = pickle.dumps(source.span(500, 502))
    source.close()
    assert len(pickled) < 1000
    assert [row.key for row in pickle.loads(pickled).read()] == ["0500.png", "0501.png"]  # noqa: S301  our own


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("s3://key:secret@bucket/a.png", "s3://bucket/a.png"),
        ("s3://key:sec/ret@bucket/a@2x.png", "s3://bucket/a@2x.png"),
        ("https://user:secret@host:80/a.png?Signature=secret", "https://host:80/a.png"),
        ("simplecache::ftp://user:secret@host/a", "simplecache::ftp://host/a"),
        ("https://host:80/a@2x.png", "https://host:80/a@2x.png"),
        ("s3://bucket/a@2x.png", "s3://bucket/a@2x.png"),
        ("pictures/what?.png", "pictures/what?.png"),
    ],
)
def test_nobody_sees_what_is_secret_in_a_url(where: str, shown: str) -> None:
    assert hide_credentials(where) == shown


def test_keys_and_errors_hold_no_credentials(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("memory://user:secret@x/a.png?token=secret\n")
    source = open_source(str(tmp_path / "a.txt"))
    (row,) = source.read(0, 1)
    assert row.key == "memory://x/a.png"
    assert "secret" not in f"{row} {source.span(0, 1)}"
    source.close()
    for where in ("memory://user:secret@x/none.png", "nobody://user:secret@x/", "ftp://user:secret@127.0.0.1:9/x"):
        with pytest.raises((OSError, InvalidArgument)) as failed:
            open_source(where)
        assert "secret" not in str(failed.value)
        assert failed.value.__suppress_context__ or "secret" not in repr(failed.value.__context__)


def test_a_protocol_without_its_package_says_which_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingExtra, match=r"gcs:// needs a package that is not installed: .*gcsfs"):
        locate("gcs://bucket/x")


_WITHOUT = """
import sys
sys.modules.update(fsspec=None, pyarrow=None)
from strata_client import MissingExtra
from strata_client.batch.sources import open_source
source = open_source(sys.argv[1])
print(source.count)
for where in ("memory://x", sys.argv[1] + "/a.parquet"):
    try:
        open_source(where)
    except MissingExtra as error:
        print(error)
"""


def test_pictures_of_this_machine_need_no_extra_and_others_say_which(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "a.parquet").touch()
    command = [sys.executable, "-c", _WITHOUT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == [
        "1",
        "fsspec is not installed: pip install 'strata-client[batch]'",
        "pyarrow is not installed: pip install 'strata-client[batch]'",
    ]
