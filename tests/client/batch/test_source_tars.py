import io
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strata_client import InvalidArgument
from strata_client.batch.rows import Failure, Row
from strata_client.batch.sources import open_source, stores, tars

PICTURES = {"b.png": b"bb", "a/1.jpg": b"1" * 700, "a.png": b"", "z.jpeg": bytes(1024)}
PACKINGS = ("", ":gz", ":bz2", ":xz")


def write_tar(path: Path, members: Mapping[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def read_rows(where: str) -> list[Row]:
    source = open_source(where)
    rows = list(source.read(0, source.count))
    source.close()
    return rows


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "A.TXZ"])
def test_a_tar_is_its_pictures_in_its_order_however_it_is_called(tmp_path: Path, packing: str, name: str) -> None:
    write_tar(tmp_path / name, PICTURES, f"w{packing}")
    assert read_rows(str(tmp_path / name)) == [Row(key, data) for key, data in PICTURES.items()]


def test_links_devices_and_hidden_files_of_a_tar_are_no_rows(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE)):
            info = tarfile.TarInfo(f"{number}.png")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        for name in ("./a.png", "./._a.png", ".cache/b.png", "notes.TXT", "../up.png"):
            archive.addfile(tarfile.TarInfo(name))
    source = open_source(str(tmp_path / "a.tar"))
    assert [row.key for row in source.read(0, 9)] == ["a.png", "../up.png"]
    assert source.skipped == {".txt": 1}
    source.close()


def test_a_folder_and_a_tar_of_it_have_the_same_rows(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "in" / name).write_bytes(name.encode())
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "in", ".", filter=lambda info: info)
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert "./a.png" in archive.getnames()
    folder, tar = (open_source(str(tmp_path / where)) for where in ("in", "a.tar"))
    rows = [sorted((row.key, row.value) for row in source.read(0, 9)) for source in (folder, tar)]
    assert rows[0] == rows[1]
    folder.close()
    tar.close()


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_large_picture_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: str) -> None:
    monkeypatch.setattr(stores, "MAX_FILE_BYTES", 800)
    monkeypatch.setattr(tars, "MAX_FILE_BYTES", 800)
    write_tar(tmp_path / "a.tar", PICTURES, f"w{packing}")
    rows = read_rows(str(tmp_path / "a.tar"))
    assert [row.value for row in rows[:3]] == list(PICTURES.values())[:3]
    assert rows[3].value == Failure("RESOURCE_EXHAUSTED", "expected at most 800 bytes; received 1,024 or more")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_tar_that_is_cut_off_anywhere_before_its_end_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    packing = data.draw(st.sampled_from(PACKINGS))
    path = tmp_path_factory.mktemp("cut") / "a.tar"
    write_tar(path, PICTURES, f"w{packing}")
    whole = path.read_bytes()
    # 512 for each head, the data in blocks of 512, and the first block of the end.
    needed = 512 * (4 + 1 + 2 + 0 + 2) if not packing else len(whole) - 1
    path.write_bytes(whole[: data.draw(st.integers(0, needed))])
    with pytest.raises(InvalidArgument, match=r"a\.tar: expected a (whole )?tar; "):
        open_source(str(path))


def test_the_name_of_a_member_may_be_long_but_not_endless(tmp_path: Path) -> None:
    for length in (100_000, 2**20):
        info = tarfile.TarInfo(f"{'x' * length}.png")
        with tarfile.open(tmp_path / f"{length}.tgz", "w:gz") as archive:
            archive.addfile(info)
    assert len(read_rows(str(tmp_path / "100000.tgz"))[0].key) == 100_004
    with pytest.raises(InvalidArgument, match=r"expected a tar with names of at most 1,048,576 bytes; received 1,"):
        open_source(str(tmp_path / f"{2**20}.tgz"))


def test_a_tar_that_is_cut_off_says_where(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", PICTURES)
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:1800])
    with pytest.raises(InvalidArgument, match=r"cut off or damaged at or before byte 2,560, in the member 'a/1\.jpg'"):
        open_source(str(tmp_path / "a.tar"))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "expected pictures, which end in .png, .jpg, .jpeg; received no files"),
        ({"a.txt": b""}, "received 1 .txt"),
        ({"a.png": b"a", "./a.png": b"b"}, "the members at byte 512 and at byte 1,536 are both 'a.png'"),
    ],
)
def test_a_tar_without_rows_that_can_be_told_apart_is_refused(
    tmp_path: Path, members: dict[str, bytes], message: str
) -> None:
    write_tar(tmp_path / "a.tar", members)
    with pytest.raises(InvalidArgument) as refused:
        open_source(str(tmp_path / "a.tar"))
    assert message in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"no tar", b"\x1f\x8bno gzip", b"BZhno bzip2", b"\xfd7zXZ\0no xz", b"x" * 5000])
def test_what_is_no_tar_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(InvalidArgument, match=r"a\.tar: expected a tar; "):
        open_source(str(tmp_path / "a.tar"))


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_span_of_a_tar_that_is_another_one_now_refuses_to_read(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "a.tar"
    write_tar(path, PICTURES, f"w{packing}")
    source = open_source(str(path))
    span = pickle.loads(pickle.dumps(source.span(1, 3)))  # noqa: S301  our own
    source.close()
    write_tar(path, {"one.png": bytes(20_000)}, f"w{packing}")
    with pytest.raises(InvalidArgument, match="expected the file that was listed"):
        list(span.read())
