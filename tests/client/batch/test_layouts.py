from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from strata_client.batch.blocks import Column
from strata_client.batch.layouts import GROUP_BYTES, PART_BYTES, choose_part_rows, choose_request_rows, lay_out
from strata_client.catalog import Description, Layer


def describe(multiply_adds: int) -> Description:
    layer = Layer("a", "Conv", (-1, 4), np.dtype("f4"), 0, multiply_adds, 1, default_exit=True)
    return Description("m", "1", "", ("a",), (layer,), (), None, None)


def column(values: int) -> Column:
    return Column("a", np.dtype("f4"), (values,))


@pytest.mark.parametrize("values", [1, 128, 20_000, 5 * 10**6, 10**8])
@pytest.mark.parametrize("part_rows", [1, 7, 100, 16_384])
def test_a_part_has_whole_groups_and_at_least_the_rows_asked_for(values: int, part_rows: int) -> None:
    layout = lay_out([column(values)], 10**6, part_rows)
    assert layout.part_rows % layout.group_rows == 0
    assert part_rows <= layout.part_rows < part_rows + layout.group_rows
    assert layout.group_rows == 1 or layout.group_rows * layout.row_bytes <= GROUP_BYTES


def test_all_rows_are_in_one_part_each() -> None:
    layout = lay_out([column(3)], 1003, 100)
    parts = [layout.part(number) for number in range(layout.part_count)]
    assert [parts[0].start, parts[-1].stop] == [0, 1003]
    assert all(one.stop == other.start for one, other in pairwise(parts))


@pytest.mark.parametrize(("values", "multiply_adds"), [(128, 10**6), (128, 4 * 10**9), (10**6, 10**6), (10**9, 10**12)])
def test_a_part_is_neither_too_large_nor_too_much_work_to_be_lost(values: int, multiply_adds: int) -> None:
    rows = choose_part_rows(describe(multiply_adds), [column(values)])
    assert rows == 1 or rows * 4 * values <= PART_BYTES
    assert rows <= max(256, 4 * 10**12 // multiply_adds)


def test_a_network_that_works_hard_gets_fewer_rows_at_once_and_never_none() -> None:
    layout = lay_out([column(128)], 10**6, 16_384)
    light, heavy = describe(10**6), describe(4 * 10**9)
    assert choose_request_rows(light, layout.columns, layout) == 256
    assert choose_request_rows(heavy, layout.columns, layout) == 16
    assert choose_request_rows(heavy, [column(10**8)], replace(layout, part_rows=1)) == 1
