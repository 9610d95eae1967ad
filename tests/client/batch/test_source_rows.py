"""What holds for the rows of every source, whatever they come from."""

import io
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from strata_client.batch.rows import Row, Source
from strata_client.batch.sources import open_source

COUNT = 23
NAMES = [f"{number % 3}/{number:02}.png" for number in range(COUNT)]
ARRAY = np.arange(COUNT * 4, dtype=np.float32).reshape(COUNT, 2, 2)
KINDS = ("files", "files/*/*.png", "a.txt", "a.tar", "a.tgz", "a.npy", "a.npz", "b.npz", "a.parquet", "tables")


def write_all(folder: Path) -> None:
    """Write one source of each kind, all with as many rows."""
    for name in NAMES:
        (folder / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "files" / name).write_bytes(name.encode())
    (folder / "a.txt").write_text("".join(f"files/{name}\n" for name in NAMES[:-1]) + "files/none.png")
    for name, mode in {"a.tar": "w", "a.tgz": "w:gz"}.items():
        with tarfile.open(folder / name, mode) as archive:  # type: ignore[call-overload]
            for number, member in enumerate(NAMES):
                info = tarfile.TarInfo(member)
                info.size = 100 * number
                archive.addfile(info, io.BytesIO(bytes(100 * number)))
    np.save(folder / "a.npy", ARRAY)
    np.savez(folder / "a.npz", a=ARRAY, b=-ARRAY[:, 0])
    np.savez_compressed(folder / "b.npz", a=ARRAY, b=-ARRAY[:, 0])
    write_tables(folder)


def write_tables(folder: Path) -> None:
    pictures = pa.array([name.encode() if number % 7 else None for number, name in enumerate(NAMES)], pa.binary())
    parquet.write_table(pa.table({"image": pictures}), folder / "a.parquet", row_group_size=5)
    (folder / "tables").mkdir()
    for name, start, stop in (("a", 0, 9), ("b", 9, 10), ("c", 10, 10), ("d", 10, COUNT)):
        part = pa.table({"image": pictures[start:stop]})
        parquet.write_table(part, folder / "tables" / f"{name}.parquet", row_group_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All kinds of sources."""
    folder = tmp_path_factory.mktemp("sources")
    write_all(folder)
    return folder


@pytest.fixture(scope="module", params=KINDS)
def source(folder: Path, request: pytest.FixtureRequest) -> Iterator[Source]:
    """One of them."""
    source = open_source(f"{folder}/{request.param}")
    yield source
    source.close()


def plain(rows: Iterator[Row]) -> list[object]:
    """Return rows that can be compared."""
    return [
        (
            row.key,
            {name: array.tolist() for name, array in row.value.items()}
            if isinstance(row.value, Mapping)
            else row.value,
        )
        for row in rows
    ]


def test_rows_can_be_told_apart_by_their_keys(source: Source) -> None:
    assert source.count == COUNT
    assert len({row.key for row in source.read(0, COUNT)}) == COUNT


@settings(max_examples=25, deadline=None)
@given(start=st.integers(0, COUNT), stop=st.integers(0, COUNT + 2))
def test_some_rows_are_those_of_all_whoever_reads_them(source: Source, start: int, stop: int) -> None:
    rows = plain(source.read(0, source.count))
    assert plain(source.read(start, stop)) == rows[start:stop]
    span = pickle.loads(pickle.dumps(source.span(start, stop)))  # noqa: S301  our own
    assert plain(span.read()) == rows[start:stop]


def test_a_span_can_be_read_more_than_once_and_left_in_the_middle(source: Source) -> None:
    span = source.span(3, 20)
    first = next(span.read())
    assert plain(iter([first])) == plain(span.read())[:1]


def test_the_digest_is_the_same_when_it_is_opened_again(folder: Path) -> None:
    digests = set()
    for kind in KINDS:
        pair = [open_source(f"{folder}/{kind}") for _ in "ab"]
        assert pair[0].digest == pair[1].digest
        assert len(pair[0].digest) == 64
        digests.add(pair[0].digest)
        for source in pair:
            source.close()
    # A folder and a pattern of all in it are the same, and so is what is packed and what is not.
    assert len(digests) == len(KINDS) - 3


_ELSEWHERE = """
import pickle, sys
for span in pickle.load(sys.stdin.buffer):
    print(*(row.key for row in span.read()))
"""


def test_spans_are_read_in_another_process_from_another_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    sources = [open_source(kind) for kind in KINDS]
    spans = pickle.dumps([source.span(5, 8) for source in sources])
    expected = [" ".join(row.key for row in source.read(5, 8)) for source in sources]
    for source in sources:
        source.close()
    command = [sys.executable, "-c", _ELSEWHERE]
    done = subprocess.run(command, input=spans, cwd=tmp_path, capture_output=True, check=True, timeout=60)
    assert done.stdout.decode().splitlines() == expected
