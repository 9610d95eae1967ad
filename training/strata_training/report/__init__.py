"""A page about a finished run: what it learned, where it errs, and what its layers see."""

from strata_training.report.page import write_report

__all__ = ["write_report"]
