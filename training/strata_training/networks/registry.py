"""The networks by name."""

from collections.abc import Mapping

from strata_training.errors import unknown
from strata_training.networks.cnn import CNN, CNN_8X8
from strata_training.networks.network import GENERAL_TOLERANCE, Network, Tolerance

NETWORKS: Mapping[str, Network] = {network.name: network for network in [CNN, CNN_8X8]}
"""Those that are built here."""


def find(name: str) -> Network:
    """Return a network.

    Raises:
        NotFound: there is none of that name.
    """
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    return NETWORKS[name]


def find_tolerance(name: str) -> Tolerance:
    """Return what a network's layers may differ by; a name that is not known here gets the general one."""
    return NETWORKS[name].tolerance if name in NETWORKS else GENERAL_TOLERANCE
