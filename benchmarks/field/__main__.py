"""Strata beside the limits and beside others, in one run: python -m benchmarks.field.

Each server has one core, the load another. All are started, the answers of each are compared with onnxruntime's, and
then they take turns under load; those that wait are stopped meanwhile. Figures are medians of the turns, and ratios
are of this run alone.
"""

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
from tritonclient.grpc import service_pb2

from benchmarks.field import verdict
from benchmarks.field.cases import CASES, Case, Floats
from benchmarks.field.contenders import CONTENDERS, Contender, Echo, Models
from benchmarks.field.load import Load, Turn, press
from benchmarks.field.plot import draw_field
from benchmarks.field.processes import SERVER_CORE
from benchmarks.field.rivals import RIVALS
from benchmarks.networks import FOLDER, Exports, export_networks
from benchmarks.serving import open_session
from benchmarks.tables import Cell, show

_TOLERANCE = 1e-4
_PROBES = 8
_LONGEST_REASON = 300
_ALL: tuple[type[Contender], ...] = (*CONTENDERS, *RIVALS)
Turns = dict[tuple[str, Case], list[Turn]]


def main(argv: list[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [each.name for each in _ALL]
    parser.add_argument("--only", help=f"contenders, with plus signs between: {'; '.join(names)}")
    parser.add_argument("--cases", default="", help="only cases whose name holds this")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn, about")
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    parser.add_argument("--plot", type=Path, help="where a picture of them goes as well, a .png file")
    options = parser.parse_args(argv)
    if not shutil.which("h2load"):
        parser.error("h2load makes the load, and is not installed; Debian has it in the package nghttp2-client")
    chosen = [each for each in _ALL if not options.only or each.name in options.only.split("+")]
    cases = [case for case in CASES if options.cases in case.name]
    exports = export_networks()
    entries = {name: open_session(each.prediction).get_inputs()[0].name for name, each in exports.items()}
    models = Models(exports, entries)
    (FOLDER / "echo.body").write_bytes(_echo_answer())
    right = {case: _Oracle(exports[case.network], case) for case in cases}
    contenders, absent = _start_all(chosen, models)
    try:
        for contender in contenders:
            try:
                _check(contender, [case for case in cases if contender.takes(case)], right)
            except (OSError, RuntimeError, AssertionError, grpc.RpcError) as error:
                absent[contender.name] = f"not right: {error}"[:_LONGEST_REASON]
        turns, in_process = _take_turns(contenders, cases, right, exports, options.rounds, options.seconds, absent)
        peaks = {each.name: each.process.peak_mib for each in contenders}
    finally:
        for contender in contenders:
            contender.process.end()
    _show(turns, in_process, peaks, absent)
    verdict.show_verdict(turns, in_process)
    if options.plot:
        _plot(turns, in_process, options.plot)
    if options.json:
        options.json.write_text(json.dumps(_flatten(turns, in_process, peaks), indent=1))
    return 0


class _Oracle:
    """What is right, by onnxruntime in this process."""

    def __init__(self, exports: Exports, case: Case) -> None:
        self._session: onnxruntime.InferenceSession = open_session(
            exports.artifact if case.layer else exports.prediction
        )
        self._case = case

    def compute(self, images: Floats) -> Floats:
        """Return the right answer."""
        names = [self._case.layer] if self._case.layer else None
        value: Floats = self._session.run(names, {self._session.get_inputs()[0].name: images})[0]
        return value.mean((1, 2)) if self._case.reduction else value


def _start_all(chosen: Sequence[type[Contender]], models: Models) -> tuple[list[Contender], dict[str, str]]:
    folder = Path(tempfile.mkdtemp(prefix="field-"))
    contenders, absent = [], {}
    for each in chosen:
        print(f"starting {each.name}", file=sys.stderr)
        try:
            contenders.append(each(models, folder))
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            absent[each.name] = str(error)
    return contenders, absent


def _check(contender: Contender, cases: Sequence[Case], right: dict[Case, _Oracle]) -> None:
    """Compare answers, several at a time, with the right ones."""
    for case in cases:
        if isinstance(contender, Echo):
            continue
        batches = [case.draw(seed) for seed in range(_PROBES)]
        with ThreadPoolExecutor(_PROBES) as pool:
            found = list(pool.map(lambda images, case=case: contender.ask(case, images)[0], batches))
        for images, answer in zip(batches, found, strict=True):
            np.testing.assert_allclose(answer, right[case].compute(images), rtol=_TOLERANCE, atol=_TOLERANCE)


def _take_turns(
    contenders: Sequence[Contender],
    cases: Sequence[Case],
    right: dict[Case, _Oracle],
    exports: dict[str, Exports],
    rounds: int,
    seconds: float,
    failed: dict[str, str],
) -> tuple[Turns, dict[Case, list[float]]]:
    turns: Turns = defaultdict(list)
    in_process: dict[Case, list[float]] = defaultdict(list)
    speeds: dict[tuple[str, Case], float] = {}
    for contender in contenders:
        contender.process.pause()
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for case in cases:
            if case.concurrency == max(each.concurrency for each in cases if _is_alike(each, case)):
                in_process[case].append(_run_in_process(exports[case.network], case, seconds))
            order = [each for each in contenders if each.takes(case)]
            random.shuffle(order)
            for contender in order:
                if contender.name in failed:
                    continue
                contender.process.go_on()
                requests = max(3 * case.concurrency, int(speeds.get((contender.name, case), 50.0) * seconds))
                try:
                    turn = _take_turn(contender, case, requests, right[case])
                except (OSError, RuntimeError, AssertionError, grpc.RpcError, subprocess.SubprocessError) as error:
                    failed[contender.name] = f"{case.name}: {error}"[:_LONGEST_REASON]
                    continue
                finally:
                    contender.process.pause()
                if (contender.name, case) in speeds or rounds == 1:
                    turns[contender.name, case].append(turn)
                speeds[contender.name, case] = turn.requests_s  # the first turn says how long a turn is
    return turns, in_process


def _take_turn(contender: Contender, case: Case, requests: int, right: "_Oracle") -> Turn:
    images = case.draw(0)
    answer, reply_bytes = contender.ask(case, images)
    if not isinstance(contender, Echo):
        np.testing.assert_allclose(answer, right.compute(images), rtol=_TOLERANCE, atol=_TOLERANCE)
    load = Load(
        contender.url(case),
        contender.frame(contender.body(case, images)),
        reply_bytes,
        case.concurrency,
        contender.content_type,
        is_stream=contender.is_stream,
        is_http=contender.is_http,
    )
    return press(contender.process, load, requests)


def _is_alike(one: Case, other: Case) -> bool:
    return (one.network, one.rows, one.layer, one.reduction) == (
        other.network,
        other.rows,
        other.layer,
        other.reduction,
    )


def _run_in_process(exports: Exports, case: Case, seconds: float) -> float:
    """Return images per second by onnxruntime alone, on the core of the servers."""
    model = exports.artifact if case.layer else exports.prediction
    arguments = [str(model), case.layer, str(case.rows), str(seconds / 2), case.network]
    command = ["taskset", "-c", str(SERVER_CORE), sys.executable, "-m", "benchmarks.field.in_process", *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _echo_answer() -> bytes:
    """Return an answer as large as the prediction of 32 digits."""
    response = service_pb2.ModelInferResponse(model_name="digits", model_version="1")
    response.outputs.add(name="predictions", datatype="FP32", shape=[32, 10])
    response.raw_output_contents.append(bytes(32 * 10 * 4))
    return bytes(response.SerializeToString())


def _show(turns: Turns, in_process: dict[Case, list[float]], peaks: dict[str, float], absent: dict[str, str]) -> None:
    for case in dict.fromkeys(case for _, case in turns):
        # The plain server reduces nothing: it sends the layer whole.
        base = verdict.median(turns, verdict.PLAIN, replace(case, reduction=""), "requests_s")
        rows: list[Sequence[Cell]] = []
        for name in dict.fromkeys(name for name, each in turns if each == case):
            figures = {field: verdict.median(turns, name, case, field) for field in Turn.__dataclass_fields__}
            rate = figures["requests_s"]
            cells = (rate, rate * case.rows, rate / base if base else "", figures["p50_ms"], figures["p99_ms"])
            rows.append((name, *cells, figures["cpu_s"]))
        limits = [statistics.median(each) / case.rows for alike, each in in_process.items() if _is_alike(alike, case)]
        rows.extend(
            ("onnxruntime, in process", rate, rate * case.rows, rate / base if base else "", "", "", "")
            for rate in limits
        )
        heads = ("server", "requests/s", "images/s", "times plain", "p50, ms", "p99, ms", "CPU s per 1,000")
        show(case.name, heads, rows)
    show("Memory, peak of all processes", ("server", "MiB"), list(peaks.items()))
    if absent:
        show("Not measured", ("server", "why"), list(absent.items()))


def _plot(turns: Turns, in_process: dict[Case, list[float]], target: Path) -> None:
    rates: dict[Case, dict[str, float]] = {}
    for name, case in turns:
        rates.setdefault(case, {})[name] = verdict.median(turns, name, case, "requests_s")
    limits = {
        case: statistics.median(each) / case.rows
        for case in rates
        for alike, each in in_process.items()
        if _is_alike(alike, case)
    }
    draw_field(rates, limits, target)


def _flatten(turns: Turns, in_process: dict[Case, list[float]], peaks: dict[str, float]) -> dict[str, object]:
    measured = [
        {
            "server": name,
            "case": case.name,
            **{field: verdict.median(turns, name, case, field) for field in Turn.__dataclass_fields__},
        }
        for name, case in turns
    ]
    limits = {case.name: statistics.median(each) for case, each in in_process.items()}
    return {"measured": measured, "in_process_images_s": limits, "peak_mib": peaks}


if __name__ == "__main__":
    sys.exit(main())
