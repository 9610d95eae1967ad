"""What the libraries write while they are loaded."""

import os

import pytest
from strata_training.noise import muted


def test_what_is_written_during_an_import_is_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with muted():
        os.write(2, b"a notice from C++\n")
    os.write(2, b"after it\n")
    assert capfd.readouterr().err == "after it\n"


def test_when_the_import_fails_all_that_was_written_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    def load() -> None:
        with muted():
            os.write(2, b"libcuda is broken\n")
            raise ImportError

    with pytest.raises(ImportError):
        load()
    assert capfd.readouterr().err == "libcuda is broken\n"
