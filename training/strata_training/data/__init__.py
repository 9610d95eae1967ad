"""Labeled pictures or points to learn from, and how they are divided."""

from strata_training.data.dataset import Array, DataSet, Rows
from strata_training.data.parts import Split, split
from strata_training.data.source import NAMES, load
from strata_training.data.wanted import Wanted

__all__ = ["NAMES", "Array", "DataSet", "Rows", "Split", "Wanted", "load", "split"]
