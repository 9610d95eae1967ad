"""What every format of results promises, here and at a URL."""

import contextlib
import multiprocessing
import pickle
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from results import COLUMNS, FINGERPRINT, LAYOUT, cut_rows, make_rows, read_all, write_all
from strata_client import InvalidArgument
from strata_client.batch.blocks import Block, Column, Format, Found, Layout, Part, equal, join
from strata_client.batch.formats import NAMES, open_format
from strata_client.batch.place import Place

ALL = Part(0, 0, LAYOUT.rows)


@pytest.fixture(params=["here", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder on the disk, then one at a URL."""
    if request.param == "here":
        yield str(tmp_path)
    else:
        yield "memory://results"
        fsspec.filesystem("memory").rm("/results", recursive=True)


@pytest.fixture(params=NAMES)
def where(request: pytest.FixtureRequest, folder: str) -> str:
    """Where a result of each format shall be."""
    return f"{folder}/features.{request.param}"


def prepare(where: str, layout: Layout = LAYOUT) -> tuple[Format, Place]:
    chosen = open_format(where)
    place = chosen.locate(where)
    chosen.prepare(place, layout, FINGERPRINT)
    return chosen, place


def test_every_type_and_shape_comes_back_bit_for_bit(where: str) -> None:
    layout = Layout(COLUMNS, 4, 8, 10)
    chosen, place = prepare(where, layout)
    for number in range(2):
        part = layout.part(number)
        chosen.write(place, layout, part, FINGERPRINT, cut_rows(part, 3, layout))
    expected = make_rows(0, 10, layout)
    assert equal(read_all(where, layout), expected)
    chosen.finish(place, layout, FINGERPRINT)
    assert equal(read_all(where, layout), expected)


def test_rows_come_back_in_groups_whatever_blocks_they_came_in(where: str) -> None:
    chosen, place = prepare(where)
    for size in (1, 4, 5, 12):
        part = LAYOUT.part(2)
        chosen.write(place, LAYOUT, part, FINGERPRINT, cut_rows(part, size))
        groups = list(chosen.read(place, LAYOUT, part))
        assert [len(group) for group in groups] == [4, 2]
        assert equal(join(groups), make_rows(part.start, part.stop))


def test_a_part_is_found_when_it_is_whole_and_after_the_finish_as_before(where: str) -> None:
    chosen, place = prepare(where)
    assert [chosen.find(place, LAYOUT.part(number)) for number in range(3)] == [None] * 3
    expected = [Found(FINGERPRINT, 12, 2), Found(FINGERPRINT, 12, 1), Found(FINGERPRINT, 6, 1)]
    for number in (2, 0, 1):
        part = LAYOUT.part(number)
        assert chosen.write(place, LAYOUT, part, FINGERPRINT, cut_rows(part, 5)) == expected[number]
        assert chosen.find(place, part) == expected[number]
    for _ in range(2):
        chosen.finish(place, LAYOUT, FINGERPRINT)
        assert [chosen.find(place, LAYOUT.part(number)) for number in range(3)] == expected


def test_a_part_can_be_written_again_when_all_is_finished(where: str) -> None:
    write_all(where)
    chosen, place = prepare(where)
    part = LAYOUT.part(1)
    mended = make_rows(part.start, part.stop, mended=True)
    chosen.write(place, LAYOUT, part, FINGERPRINT, [mended])
    chosen.finish(place, LAYOUT, FINGERPRINT)
    assert chosen.find(place, part) == Found(FINGERPRINT, 12, 0)
    assert equal(read_all(where), join([make_rows(0, 12), mended, make_rows(24, 30)]))


def test_a_part_can_be_written_again_from_what_is_read_of_it(where: str) -> None:
    write_all(where)
    chosen, place = prepare(where)
    for number in range(3):
        part = LAYOUT.part(number)
        chosen.write(place, LAYOUT, part, FINGERPRINT, chosen.read(place, LAYOUT, part))
    chosen.finish(place, LAYOUT, FINGERPRINT)
    assert equal(read_all(where), make_rows(0, 30))


def test_an_error_among_the_rows_leaves_no_trace(where: str) -> None:
    chosen, place = prepare(where)
    before = place.list()

    def broken() -> Iterator[Block]:
        yield make_rows(0, 9)
        raise KeyError

    with pytest.raises(KeyError):
        chosen.write(place, LAYOUT, LAYOUT.part(0), FINGERPRINT, broken())
    assert chosen.find(place, LAYOUT.part(0)) is None
    assert place.list() == before


def test_more_or_fewer_rows_than_the_part_has_are_no_part(where: str) -> None:
    chosen, place = prepare(where)
    for stop, received in ((11, 11), (13, 13), (0, 0)):
        with pytest.raises(ValueError, match=f"part 0: expected 12 rows; received {received}"):
            chosen.write(place, LAYOUT, LAYOUT.part(0), FINGERPRINT, [make_rows(0, stop)])
        assert chosen.find(place, LAYOUT.part(0)) is None


def test_rows_of_another_type_are_refused_rather_than_converted(where: str) -> None:
    chosen, place = prepare(where)
    rows = make_rows(0, 12)
    wide = {**rows.tensors, "dense": rows.tensors["dense"].astype(np.float64)}
    with pytest.raises(ValueError, match=r"expected the columns .*float16.*; received .*float64"):
        chosen.write(
            place,
            LAYOUT,
            LAYOUT.part(0),
            FINGERPRINT,
            [Block(rows.keys, rows.labels, rows.scores, rows.failures, wide)],
        )


def test_a_key_that_is_no_unicode_is_written_escaped(where: str) -> None:
    layout = Layout((), 4, 4, 1)
    chosen, place = prepare(where, layout)
    chosen.write(place, layout, layout.part(0), FINGERPRINT, [Block(["caf\udce9.png"], [None], [None], [None], {})])
    assert read_all(where, layout).keys == [r"caf\udce9.png"]


def test_writers_and_places_travel_to_other_processes(where: str) -> None:
    chosen, place = prepare(where)
    chosen, place = pickle.loads(pickle.dumps((chosen, place)))  # noqa: S301 - our own bytes
    part = LAYOUT.part(2)
    chosen.write(place, LAYOUT, part, FINGERPRINT, cut_rows(part, 6))
    assert chosen.find(*pickle.loads(pickle.dumps((place, part)))) == Found(FINGERPRINT, 6, 1)  # noqa: S301 - the same


@pytest.mark.parametrize("name", NAMES)
def test_killed_at_any_moment_and_started_again_the_result_is_the_same(tmp_path: Path, name: str) -> None:
    undisturbed, killed = tmp_path / f"a.{name}", tmp_path / f"b.{name}"
    expected = write_all(str(undisturbed))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["results", "pandas", *(f"strata_client.batch.formats.{each}" for each in NAMES)])
    for blocks in random.Random(name).sample(range(1, 8), 3):  # noqa: S311 - the same moments at every run
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=write_all, args=(str(killed), theirs))
        process.start()
        theirs.close()
        with contextlib.suppress(EOFError):  # it had finished
            for _ in range(blocks):
                assert ours.poll(30)
                ours.recv()
        process.kill()
        process.join()
        ours.close()
        _check_unfinished(str(killed))
    assert write_all(str(killed)) == expected
    assert equal(read_all(str(killed)), read_all(str(undisturbed)))
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".strata") or path.suffix == ".partial"]


def _check_unfinished(where: str) -> None:
    """Expect every part that is found to be whole."""
    chosen = open_format(where)
    place = chosen.locate(where)
    for number in range(LAYOUT.part_count):
        part = LAYOUT.part(number)
        if chosen.find(place, part):
            assert equal(join(list(chosen.read(place, LAYOUT, part))), make_rows(part.start, part.stop))


@pytest.mark.parametrize(
    ("where", "name", "expected"),
    [
        ("features", "", "parquet"),
        ("features.parquet", "", "parquet"),
        ("s3://bucket/features.NPZ", "", "npz"),
        ("features.zarr/", "", "zarr"),
        ("features.zarr", "parquet", "parquet"),
        ("features", "npz", "npz"),
    ],
)
def test_the_ending_chooses_the_format_unless_it_is_named(where: str, name: str, expected: str) -> None:
    assert open_format(where, name).name == expected


def test_an_unknown_format_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidArgument, match="unknown format 'csv'; expected one of parquet, npz, zarr"):
        open_format("features", "csv")


@pytest.mark.parametrize(("name", "package"), [("parquet", "pyarrow"), ("npz", "pyarrow"), ("zarr", "zarr")])
def test_a_missing_package_is_an_error_that_says_what_to_install(name: str, package: str) -> None:
    script = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from strata_client.batch.formats import open_format\n"
        f"open_format('x', {name!r})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.endswith(f"MissingExtra: {package} is not installed: pip install 'strata-client[batch]'\n")


@pytest.mark.parametrize("name", ["parquet", "npz"])
def test_a_layer_without_elements_is_refused_before_anything_runs(tmp_path: Path, name: str) -> None:
    layout = Layout((Column("none", np.dtype(np.float32), (2, 0)),), 1, 1, 1)
    with pytest.raises(InvalidArgument, match="'none': expected at least one element for each row; received 2x0"):
        prepare(f"{tmp_path}/features.{name}", layout)


MEASURE = """
import resource, sys
import numpy as np
from strata_client.batch.blocks import Block, Column, Layout
from strata_client.batch.formats import open_format

block = Block(["key"] * 4, [None] * 4, [None] * 4, [None] * 4, {"wide": np.ones((4, 1 << 16), np.float32)})
for groups in (4, 40):
    layout = Layout((Column("wide", np.dtype(np.float32), (1 << 16,)),), 8, 8 * groups, 8 * groups)
    where = f"{groups}.{sys.argv[1]}"
    chosen = open_format(where)
    place = chosen.locate(where)
    chosen.prepare(place, layout, "0")
    chosen.write(place, layout, layout.part(0), "0", [block] * 2 * groups)
    chosen.finish(place, layout, "0")
    for _ in chosen.read(place, layout, layout.part(0)):
        pass
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


@pytest.mark.parametrize("name", NAMES)
def test_the_memory_it_takes_does_not_grow_with_the_part(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-c", MEASURE, name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    few_mib, many_mib = map(int, done.stdout.split())
    assert many_mib - few_mib < 16  # eight groups of 2 MiB; all of them are 72 MiB more
