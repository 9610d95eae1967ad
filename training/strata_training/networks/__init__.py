"""The networks that can be trained, by name, each with its own options."""

from strata_training.networks.cnn import build_cnn
from strata_training.networks.network import GENERAL_TOLERANCE, INPUT, POINTS, Network, Tolerance
from strata_training.networks.options import make_options
from strata_training.networks.registry import NETWORKS, find, find_tolerance

__all__ = [
    "GENERAL_TOLERANCE",
    "INPUT",
    "NETWORKS",
    "POINTS",
    "Network",
    "Tolerance",
    "build_cnn",
    "find",
    "find_tolerance",
    "make_options",
]
