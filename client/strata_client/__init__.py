"""Ask a Strata server for predictions and for the activations of any layer.

    with strata_client.Client("localhost:8001") as client:
        answer = client.predict("seven.png")[0].label
        conv1 = client.activations("seven.png", layers=["conv1"])["conv1"]

    with strata_client.open_artifact("models/digits/1/model.onnx") as client:
        answer = client.predict("seven.png")[0].label

`import strata_client` needs numpy and grpcio alone. `open_artifact` needs the distribution strata-server,
`strata_client.plots` the extra `plots`, and the command `strata` the extra `cli`.
"""

from typing import TYPE_CHECKING

from strata_client.activations import Activations
from strata_client.catalog import Description, Layer, Model, Preprocessing, ReceptiveField, TrainingFigures
from strata_client.differences import Difference, Differences
from strata_client.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    MissingExtra,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServerError,
    StrataError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from strata_client.health import Health
from strata_client.predictions import Label, Prediction, Predictions
from strata_client.reductions import Reduction
from strata_client.repository import RepositoryVersion
from strata_client.retries import Retries
from strata_client.security import TLS

__all__ = [
    "TLS",
    "Activations",
    "AsyncClient",
    "Cancelled",
    "Client",
    "DeadlineExceeded",
    "Description",
    "Difference",
    "Differences",
    "FailedPrecondition",
    "Health",
    "InvalidArgument",
    "Label",
    "Layer",
    "MissingExtra",
    "Model",
    "NotFound",
    "PermissionDenied",
    "Prediction",
    "Predictions",
    "Preprocessing",
    "ReceptiveField",
    "Reduction",
    "RepositoryVersion",
    "ResourceExhausted",
    "Retries",
    "ServerError",
    "StrataError",
    "TrainingFigures",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "open_artifact",
]

if TYPE_CHECKING:
    from strata_client._async import AsyncClient
    from strata_client._embedded import open_artifact
    from strata_client._sync import Client
else:

    def __getattr__(name: str) -> object:
        # grpc and numpy take 0.3 s to import: `strata --help`, which lives in this package, need not wait.
        if name == "AsyncClient":
            from strata_client._async import AsyncClient  # noqa: PLC0415 - the reason stands above

            return AsyncClient
        if name == "Client":
            from strata_client._sync import Client  # noqa: PLC0415 - the reason stands above

            return Client
        if name == "open_artifact":
            from strata_client._embedded import open_artifact  # noqa: PLC0415 - the reason stands above

            return open_artifact
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
