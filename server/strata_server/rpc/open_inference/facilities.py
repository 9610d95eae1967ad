from dataclasses import dataclass

from strata_server.control import Control
from strata_server.engine import Engine
from strata_server.logs import Logs
from strata_server.regions import Regions
from strata_server.traces import Traces


@dataclass(frozen=True)
class Facilities:
    """What the RPCs of the protocol work with."""

    engine: Engine
    control: Control
    logs: Logs
    traces: Traces
    regions: Regions | None = None
    """None where shared memory is not allowed."""
