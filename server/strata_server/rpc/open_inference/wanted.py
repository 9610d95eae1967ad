"""What is asked of each output: a layer, what is done to it, and where it goes."""

from dataclasses import dataclass

from strata_server.errors import InvalidArgument, quote
from strata_server.reductions import WHOLE, Pooling, Reduction, Step
from strata_server.regions import Regions
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from strata_server.rpc.open_inference.parameters import (
    Parameters,
    check_names,
    read_choice,
    read_count,
    read_flag,
    read_ranges,
)
from strata_server.rpc.open_inference.places import PLACE_PARAMETERS, Place, read_place

REDUCTION_PARAMETERS = tuple(step.value for step in Step)
"""Those of the extension `layers`: the steps of a reduction. A request's own hold for each output without any."""

_CLASSIFICATION = "classification"
_TREATMENT = (_CLASSIFICATION, *REDUCTION_PARAMETERS)
# Of HTTP, where they say how an output travels; over gRPC each travels as the inputs do.
_TRAVEL = ("binary_data", "content_type")
_KNOWN = (*_TREATMENT, *PLACE_PARAMETERS, *_TRAVEL)


@dataclass(frozen=True)
class Wanted:
    """A layer that is asked for."""

    name: str
    reduction: Reduction = WHOLE
    top_classes: int = 0
    """How many of the best classes of each row are answered as texts, in place of the values; 0 for the values."""
    place: Place | None = None
    """Where it goes in shared memory; None where it goes into the response."""


def is_plain(request: pb.ModelInferRequest) -> bool:
    """Say whether outputs are asked for as they are: nothing is done to any, and none goes elsewhere."""
    if any(output.parameters for output in request.outputs):
        return False
    return not request.parameters or not any(name in request.parameters for name in REDUCTION_PARAMETERS)


def read_wanted(request: pb.ModelInferRequest, regions: Regions | None, prediction: list[str]) -> list[Wanted]:
    """Return what is asked of each output.

    Args:
        request: that asks.
        regions: of shared memory; None where it is not allowed.
        prediction: the layers that are meant where none are named.

    Raises:
        InvalidArgument: a parameter that is unknown, has no such value, or cannot stand beside another.
        NotFound: no region has that name.
        Unimplemented: shared memory is not allowed.
    """
    general = _read_reduction(request.parameters)
    if not request.outputs:
        return [Wanted(name, general) for name in prediction]
    return [_read_one(output, general, regions) for output in request.outputs]


def _read_one(
    output: pb.ModelInferRequest.InferRequestedOutputTensor, general: Reduction, regions: Regions | None
) -> Wanted:
    parameters = output.parameters
    if not parameters:
        return Wanted(output.name, general)
    check_names(f"output {quote(output.name)}", parameters, _KNOWN)
    read_choice(parameters, "content_type", ("np",))
    top_classes = read_count(parameters, _CLASSIFICATION)
    reduction = _read_reduction(parameters)
    if top_classes and reduction is not WHOLE:
        raise InvalidArgument(f"{quote(output.name)}: expected {_CLASSIFICATION} or a reduction, received both")
    if not any(name in parameters for name in _TREATMENT):
        reduction = general
    return Wanted(output.name, reduction, top_classes, read_place(parameters, regions))


def _read_reduction(parameters: Parameters) -> Reduction:
    if not any(name in parameters for name in REDUCTION_PARAMETERS):
        return WHOLE
    channels = read_ranges(parameters, "channels")
    if len(channels) > 1:
        raise InvalidArgument(f"the parameter 'channels': expected one range, received {len(channels)}")
    pooling = read_choice(parameters, "pooling", (each.value for each in Pooling))
    reduction = Reduction(
        channels=channels[0] if channels else None,
        space=read_ranges(parameters, "space"),
        pooling=Pooling(pooling) if pooling else None,
        statistics=read_flag(parameters, "statistics"),
        top_channels=read_count(parameters, "top_channels"),
        top_labels=read_count(parameters, "top_labels"),
        half=read_flag(parameters, "half"),
    )
    return WHOLE if reduction == WHOLE else reduction
