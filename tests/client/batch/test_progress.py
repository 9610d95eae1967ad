import io
import os
import pty
import re
from pathlib import Path

import pytest
from processes import BIN, ServerProcess
from strata_client.batch import progress
from strata_client.batch.progress import Progress, shown
from waiting import wait_until


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


def test_on_a_terminal_there_is_a_bar_on_standard_error(tiny: ServerProcess, pictures: Path, tmp_path: Path) -> None:
    command = [str(BIN / "strata"), "batch", str(pictures), "--out", str(tmp_path), "--server", tiny.grpc]
    ours, theirs = pty.openpty()
    output = tmp_path / ".output"
    child = os.posix_spawn(
        command[0],
        command,
        {**os.environ, "COLUMNS": "100", "TERM": "xterm-256color"},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, theirs, 2),
            (os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT, 0o600),
        ],
    )
    os.close(theirs)
    seen = read_all(ours)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert "━" in seen
    assert "60 of 60 images" in seen
    assert "0 failed" in seen
    assert output.read_text().startswith(f"{tmp_path}: 60 rows in 1 part\n")


def read_all(terminal: int) -> str:
    data = b""
    try:
        while piece := os.read(terminal, 2**16):
            data += piece
    except OSError:  # how a terminal says that the other side has gone
        pass
    os.close(terminal)
    return data.decode()
