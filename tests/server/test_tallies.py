import multiprocessing
import os
import signal
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strata_server.tallies import OVERFLOW, Columns, Gauge, ServerGauge, SliceKind, Tallies, make_tallies_file
from strata_server.totals import VersionTotals, sum_server, sum_versions

WORKERS = 3
# Newer Pythons warn of a fork beside threads, of which these children take no lock.
forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def find(tallies: Tallies, model: str, number: int = 1) -> VersionTotals:
    (found,) = [each for each in sum_versions(tallies) if (each.model, each.number) == (model, number)]
    return found


def names(tallies: Tallies) -> list[tuple[str, int]]:
    """Return the versions that have totals, beside those that always have them."""
    return [(each.model, each.number) for each in sum_versions(tallies) if each.number]


def succeed(tallies: Tallies, model: str = "tiny", took_ns: int = 1000) -> None:
    tallies.find(model, 1).succeed(SliceKind.ACTIVATION, 2, 0, took_ns, 10, 20, 30, 40)


def count(file: int, index: int, seed: int, steps: int, most_versions: int) -> None:
    """Count as one worker does, as a seed has it."""
    tallies = Tallies(file, index, WORKERS, most_versions)
    tallies.admit("one", 1)
    tallies.admit("two", 1)
    for model, kind, rows, took_ns in requests(seed, steps):
        tally = tallies.find(model, 1)
        tally.succeed(kind, rows, 0, took_ns, 1, 2, 3, 4)
        tally.run(rows, 2, 3, 4)
        tally.fail("NOT_FOUND", 5)
        tallies.reject("queue_full")


def requests(seed: int, steps: int) -> list[tuple[str, SliceKind, int, int]]:
    chance = np.random.default_rng(seed)
    return [
        (
            ("one", "two")[chance.integers(2)],
            SliceKind(int(chance.integers(len(SliceKind)))),
            int(chance.integers(1, 20)),
            int(chance.integers(1, 10**11)),
        )
        for _ in range(steps)
    ]


@forks
@settings(max_examples=8, deadline=None)
@given(seeds=st.lists(st.integers(0, 2**32), min_size=WORKERS, max_size=WORKERS), steps=st.integers(0, 300))
def test_what_processes_count_at_the_same_time_sums_up_exactly(seeds: Sequence[int], steps: int) -> None:
    file = make_tallies_file(WORKERS, most_versions=4)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=count, args=(file, index, seed, steps, 4)) for index, seed in enumerate(seeds)]
    for process in processes:
        process.start()
    reader = Tallies(file, 0, WORKERS, 4)
    while any(process.is_alive() for process in processes):
        for totals in sum_versions(reader):  # what is read meanwhile may be less, but never nonsense
            assert 0 <= totals.successes <= WORKERS * steps
    for process in processes:
        process.join()
        assert process.exitcode == 0
    asked = [each for seed in seeds for each in requests(seed, steps)]
    for model in ("one", "two"):
        mine = [each for each in asked if each[0] == model]
        totals = find(reader, model)
        for kind in SliceKind:
            of_kind = [each for each in mine if each[1] is kind]
            told = totals.requests[kind]
            assert (told.rows, told.took.sum) == (sum(each[2] for each in of_kind), sum(each[3] for each in of_kind))
            assert told.took.count == told.queued.count == told.computed.count == len(of_kind)
            assert (told.queued.sum, told.computed.sum, told.input_ns) == tuple(n * len(of_kind) for n in (1, 9, 2))
        assert totals.failures["NOT_FOUND"] == totals.run_rows.count == len(mine)
        assert totals.run_rows.sum == sum(each[2] for each in mine)
        assert {rows: runs.count for rows, runs in totals.runs.items()} == {
            rows: sum(each[2] == rows for each in mine) for rows in {each[2] for each in mine}
        }
    assert sum_server(reader).rejections["queue_full"] == WORKERS * steps
    os.close(file)


@forks
def test_what_a_killed_process_has_counted_stays_and_the_next_one_in_its_place_goes_on() -> None:
    file = make_tallies_file(1)

    def live() -> None:
        tallies = Tallies(file)
        tallies.admit("gone", 1)
        tallies.admit("tiny", 1)
        for model in ("gone", "tiny", "tiny"):
            succeed(tallies, model)
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=live)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    heir = Tallies(file)
    assert [find(heir, model).successes for model in ("gone", "tiny")] == [1, 2]
    heir.admit("tiny", 1)
    heir.sweep()
    succeed(heir)
    assert names(heir) == [("tiny", 1)]  # the other is not served any more
    assert find(heir, "tiny").successes == 3
    os.close(file)


def test_a_value_at_a_bound_is_in_its_bucket_and_one_above_in_the_next() -> None:
    tallies = Tallies()
    tallies.admit("tiny", 1)
    for took_ns in (0, 100_000, 100_001, 10**10, 10**10 + 1):
        succeed(tallies, took_ns=took_ns)
    took = find(tallies, "tiny").requests[SliceKind.ACTIVATION].took
    assert (took.counts[0], took.counts[1], took.counts[-2], took.counts[-1]) == (2, 1, 1, 1)
    assert took.bounds[0] == 100_000


def test_a_retired_version_has_no_totals_and_its_row_serves_the_next_one_from_zero() -> None:
    tallies = Tallies(most_versions=1)
    for model in ("first", "second", "third"):
        tallies.admit(model, 1)
        succeed(tallies, model)
        tallies.find(model, 1).run(3, 1, 2, 3)
        assert names(tallies) == [(model, 1)]
        assert (find(tallies, model).successes, find(tallies, model).run_rows.count) == (1, 1)
        tallies.retire(model, 1)
    assert names(tallies) == []


def test_a_request_that_ends_after_its_version_was_retired_is_counted_where_none_is_known() -> None:
    tallies = Tallies()
    tallies.admit("tiny", 1)
    late = tallies.find("tiny", 1)
    tallies.retire("tiny", 1)
    tallies.admit("other", 1)
    late.fail("INTERNAL", 1)
    late.run(5, 1, 2, 3)
    assert find(tallies, "", 0).failures["INTERNAL"] == 1
    assert find(tallies, "", 0).runs[5].count == 1
    assert find(tallies, "other").is_empty


def test_a_version_that_was_replaced_by_one_of_its_number_is_counted_on() -> None:
    tallies = Tallies()
    tallies.admit("tiny", 1)
    succeed(tallies)
    tallies.admit("tiny", 1)
    tallies.retire("tiny", 1)
    succeed(tallies)
    assert find(tallies, "tiny").successes == 2
    tallies.retire("tiny", 1)
    assert names(tallies) == []


def test_versions_beyond_the_rows_are_counted_together_and_the_log_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tallies = Tallies(most_versions=2)
    for model in ("a", "b", "c", "d"):
        tallies.admit(model, 1)
        succeed(tallies, model)
        for rows in (1, 2):
            tallies.find(model, 1).run(rows, 1, 1, 1)
    assert names(tallies) == [("a", 1), ("b", 1)]
    other = find(tallies, OVERFLOW, 0)
    assert (other.successes, {rows: runs.count for rows, runs in other.runs.items()}) == (2, {1: 2, 2: 2})
    assert caplog.text.count("more than 2 versions") == 1
    tallies.retire("a", 1)
    tallies.retire("c", 1)
    assert find(tallies, OVERFLOW, 0).successes == 2  # a counter never falls
    tallies.admit("e", 1)
    assert names(tallies) == [("b", 1), ("e", 1)]


def test_runs_of_more_sizes_than_there_is_room_for_are_counted_together() -> None:
    tallies = Tallies()
    tallies.admit("tiny", 1)
    room = Columns.MOST_SIZES - 1
    for rows in range(1, room + 11):
        tallies.find("tiny", 1).run(rows, 1, 2, 3)
    totals = find(tallies, "tiny")
    assert totals.runs[0].count == 10
    assert totals.runs[0].infer_ns == 20
    assert totals.runs[room].count == 1
    assert totals.run_rows.count == room + 10
    assert totals.run_rows.sum == sum(range(1, room + 11))


def test_the_longest_name_of_a_model_is_told_whole() -> None:
    tallies = Tallies()
    tallies.admit("m" * 128, 10**18 - 1)
    assert names(tallies) == [("m" * 128, 10**18 - 1)]


def test_gauges_of_processes_are_added_and_those_of_a_silent_one_are_left_out() -> None:
    file = make_tallies_file(2)
    both = [Tallies(file, index, 2) for index in range(2)]
    for number, tallies in enumerate(both, 1):
        tallies.admit("tiny", 1)
        tallies.find("tiny", 1).gauge(Gauge.ROWS, number)
        tallies.gauge(ServerGauge.OPEN_CALLS, 10 * number)
    both[1].beat()
    assert find(both[0], "tiny").gauges[Gauge.ROWS] == 2
    assert sum_server(both[0]).gauges[ServerGauge.OPEN_CALLS] == 20
    both[0].beat()
    assert find(both[1], "tiny").gauges[Gauge.ROWS] == 3
    assert sum_server(both[1]).gauges[ServerGauge.OPEN_CALLS] == 30
    os.close(file)
