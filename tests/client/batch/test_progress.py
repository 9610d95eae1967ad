import io
import os
import re
from pathlib import Path

import pytest
from processes import BIN, ServerProcess
from strata_client.batch import progress
from strata_client.batch.progress import Progress, shown
from terminals import on_terminal, show
from waiting import wait_until

from .conftest import parts


def test_it_says_how_far_how_fast_how_many_failed_and_how_long_yet() -> None:
    counted = Progress(total=1_000_000, done=200_000)
    counted.add(50_000, failed=3)
    assert re.fullmatch(r"250,000 of 1,000,000 images \(25%\), [\d,]+/s, 3 failed, \d+:\d\d(:\d\d)? left", str(counted))


def test_rows_of_an_earlier_run_count_as_done_but_not_for_the_rate() -> None:
    counted = Progress(total=1000, done=900)
    assert (counted.rate, counted.left_s) == (0, None)
    assert str(counted) == "900 of 1,000 images (90%), 0/s, 0 failed"


def test_where_there_is_no_terminal_a_line_comes_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.01)
    stream, counted = io.StringIO(), Progress(total=10)
    with shown(counted, stream):
        wait_until(lambda: stream.getvalue().count("\n") >= 2)
    assert stream.getvalue().splitlines()[0] == "0 of 10 images (0%), 0/s, 0 failed"
    assert "\r" not in stream.getvalue()


def test_on_a_terminal_there_is_a_bar(tiny: ServerProcess, pictures: Path, tmp_path: Path) -> None:
    seen = show(command(tiny, pictures, tmp_path), TERMINAL, columns=100)
    assert "━" in seen
    assert "60 of 60 images" in seen
    assert "0 failed" in seen
    assert f"{tmp_path}: 60 rows in 1 part" in seen


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_on_a_terminal_a_large_result_is_a_question(
    tiny: ServerProcess, pictures: Path, tmp_path: Path, answer: str, code: int
) -> None:
    with on_terminal([*command(tiny, pictures, tmp_path), "--ask-above", "0"], TERMINAL) as terminal:
        terminal.wait_for(r"that is more than 0 bytes; go on\? \[y/N\]")
        assert not parts(tmp_path)
        terminal.type(f"{answer}\n")
        terminal.wait_for(r"(?!)")
        assert terminal.process.wait(30) == code
    assert len(parts(tmp_path)) == (code == 0)


TERMINAL = {**os.environ, "TERM": "xterm-256color"}


def command(tiny: ServerProcess, pictures: Path, out: Path) -> list[str | Path]:
    return [BIN / "strata", "batch", pictures, "--out", out, "--server", tiny.grpc, "--model", "tiny:1"]
