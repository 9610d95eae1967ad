"""The networks by name."""

from collections.abc import Mapping

from strata_training.errors import unknown
from strata_training.networks.cnn import CNN, CNN_8X8
from strata_training.networks.mlp import MLP
from strata_training.networks.network import GENERAL_TOLERANCE, Network, Tolerance
from strata_training.networks.polynomial import POLYNOMIAL

NETWORKS: Mapping[str, Network] = {network.name: network for network in [CNN, CNN_8X8, POLYNOMIAL, MLP]}
"""Those that are built here; `find` knows the backbones of keras.applications as well."""


def find(name: str) -> Network:
    """Return a network: one of `NETWORKS`, or the backbone of keras.applications of that name in lower case.

    Raises:
        NotFound: there is none of that name.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    # Keras takes seconds to import, for which what only lists the names should not wait.
    from strata_training.networks.backbone import backbones, describe_backbone

    if name not in backbones():
        raise unknown("network", name, [*NETWORKS, *backbones()])
    return describe_backbone(name)


def find_tolerance(name: str) -> Tolerance:
    """Return what a network's layers may differ by; a name that is not known here gets the general one."""
    if name in NETWORKS:
        return NETWORKS[name].tolerance
    from strata_training.networks.backbone import TOLERANCE, backbones

    return TOLERANCE if name in backbones() else GENERAL_TOLERANCE
