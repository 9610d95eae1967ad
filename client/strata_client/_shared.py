"""Requests and answers, without the way between them: what every client sends and reads."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from strata.v1 import catalog_pb2, inference_pb2, repository_pb2
from strata.v1.catalog_pb2 import (
    DescribeModelRequest,
    DescribeModelResponse,
    ListModelsResponse,
    ModelReference,
    ModelSummary,
)
from strata.v1.inference_pb2 import (
    GetActivationsRequest,
    GetActivationsResponse,
    PredictRequest,
    PredictResponse,
)

from strata_client import reductions, tensors
from strata_client.activations import Activations
from strata_client.catalog import Description, Layer, Model, Preprocessing, ReceptiveField, TrainingFigures
from strata_client.errors import InvalidArgument, ServerError
from strata_client.images import Picture
from strata_client.predictions import Label, Prediction, Predictions
from strata_client.reductions import Reduce, Reduction
from strata_client.repository import RepositoryVersion

Array: TypeAlias = npt.NDArray[Any]
Inputs: TypeAlias = "Array | Mapping[str, Array] | Picture | Sequence[Picture]"
"""What enters: an array for a model's only input, arrays by the names of inputs or layers, or pictures, a row each."""

MAX_MESSAGE_BYTES = 64 * 2**20
"""The largest request, unless told otherwise; the server's own default."""

Fields: TypeAlias = dict[str, Any]
"""The field of a request that says what enters: `tensors` or `images`."""


def write_describe(model: str) -> DescribeModelRequest:
    """Ask for the catalog of `NAME` or `NAME:VERSION`."""
    return DescribeModelRequest(model=write_reference(model))


def write_predict(fields: Fields, model: str, top: int) -> PredictRequest:
    """Ask for the prediction, with the `top` best labels of each row."""
    if not 0 <= top < 2**31:
        raise InvalidArgument(f"top: expected a number from 0 to {2**31 - 1}; received {top}")
    return PredictRequest(model=write_reference(model), top_k=top, **fields)


def write_activations(fields: Fields, model: str, layers: Sequence[str], reduce: Reduce) -> GetActivationsRequest:
    """Ask for the activations of some layers, reduced."""
    if isinstance(layers, str):
        raise TypeError(f"layers: expected a list of names; received the text {layers!r}")
    return GetActivationsRequest(
        model=write_reference(model),
        layers=[encodable(layer, "layer") for layer in layers],
        **_write_reductions(reduce, layers),
        **fields,
    )


def _write_reductions(reduce: Reduce, layers: Sequence[str]) -> dict[str, Any]:
    if isinstance(reduce, Mapping):
        reduced = reductions.resolve(reduce, layers)
        return {"layer_reductions": {layer: _write_reduction(reduced[layer]) for layer in reduce}}
    reduction = reductions.read(reduce)
    return {} if reduction == reductions.NONE else {"reduction": _write_reduction(reduction)}


_POOLINGS = {"": "POOLING_UNSPECIFIED", "mean": "POOLING_MEAN", "max": "POOLING_MAX"}


def _write_reduction(reduction: Reduction) -> inference_pb2.Reduction:
    if reduction.pooling not in _POOLINGS:
        raise InvalidArgument(f"pooling: expected 'mean' or 'max'; received {reduction.pooling!r}")
    try:
        return inference_pb2.Reduction(
            channels=_write_range(reduction.channels) if reduction.channels else None,
            space=map(_write_range, reduction.space),
            pooling=_POOLINGS[reduction.pooling],
            statistics=reduction.statistics,
            top_channels=reduction.top_channels,
            top_labels=reduction.top_labels,
            half=reduction.half,
        )
    except ValueError as error:  # a number that has no place in the message
        raise InvalidArgument(f"reduction: expected numbers that can be sent; received {reduction}") from error


def _write_range(bounds: reductions.Range) -> inference_pb2.Range:
    return inference_pb2.Range(start=bounds[0], stop=bounds[1])


def write_reference(model: str) -> ModelReference:
    """Name a model: `NAME` or `NAME:VERSION`."""
    name, colon, version = encodable(model, "model").partition(":")
    if colon and not version:
        raise InvalidArgument(f"model: expected NAME or NAME:VERSION; received {model!r}")
    return ModelReference(name=name, version=version)


def encodable(text: object, what: str) -> str:
    """Return the text if it can travel: odd bytes, which Python reads as surrogates, cannot."""
    if not isinstance(text, str):
        raise TypeError(f"{what}: expected text; received {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{what}: expected Unicode text; received {text!r}") from error
    return text


def read_models(response: ListModelsResponse) -> list[Model]:
    """Read the list of models."""
    return [_read_model(summary) for summary in response.models]


def _read_model(summary: ModelSummary) -> Model:
    return Model(
        name=summary.name,
        version=summary.version,
        layer_count=summary.layer_count,
        parameters=summary.parameters,
        multiply_adds=summary.multiply_adds,
        class_count=summary.class_count,
    )


def write_load(model: str) -> repository_pb2.LoadModelRequest:
    """Ask for a model to be served."""
    return repository_pb2.LoadModelRequest(name=encodable(model, "model"))


def write_unload(model: str) -> repository_pb2.UnloadModelRequest:
    """Ask for a model to be served no longer."""
    return repository_pb2.UnloadModelRequest(name=encodable(model, "model"))


_STATES: dict[int, str] = {
    repository_pb2.VERSION_STATE_READY: "ready",
    repository_pb2.VERSION_STATE_LOADING: "loading",
    repository_pb2.VERSION_STATE_UNLOADING: "unloading",
    repository_pb2.VERSION_STATE_UNAVAILABLE: "unavailable",
}


def read_versions(response: repository_pb2.ListVersionsResponse) -> list[RepositoryVersion]:
    """Read what the repository holds."""
    # A newer server may know more states: they are for people to read, and no reason to fail.
    return [
        RepositoryVersion(each.name, each.version, _STATES.get(each.state, "unknown"), each.reason)
        for each in response.versions
    ]


def read_description(response: DescribeModelResponse) -> Description:
    """Read what one version of a model is."""
    model = response.model
    return Description(
        name=model.name,
        version=model.version,
        digest=model.digest,
        inputs=tuple(model.inputs),
        layers=tuple(_read_layer(layer) for layer in model.layers),
        classes=tuple(model.classes),
        preprocessing=_read_preprocessing(model.preprocessing) if model.HasField("preprocessing") else None,
        training=_read_training(model.training) if model.HasField("training") else None,
    )


def _read_layer(layer: catalog_pb2.Layer) -> Layer:
    return Layer(
        name=layer.name,
        kind=layer.kind,
        shape=None if layer.unranked else tuple(layer.shape),
        dtype=tensors.read_dtype(layer.data_type),
        parameters=layer.parameters,
        multiply_adds=layer.multiply_adds,
        depth=layer.depth,
        default_exit=layer.default_exit,
        channel_axis=layer.channel_axis if 0 < layer.channel_axis < len(layer.shape) else 0,
        receptive_field=_read_receptive_field(layer.receptive_field) if layer.HasField("receptive_field") else None,
        # A newer server may know more of them: what this client cannot ask for it need not know.
        reductions=tuple(_REDUCTIONS[step] for step in layer.reductions if step in _REDUCTIONS),
        data_type=tensors.read_type_name(layer.data_type),
    )


_REDUCTIONS: dict[int, str] = {
    catalog_pb2.REDUCTION_STEP_CHANNELS: "channels",
    catalog_pb2.REDUCTION_STEP_SPACE: "space",
    catalog_pb2.REDUCTION_STEP_POOLING: "pooling",
    catalog_pb2.REDUCTION_STEP_STATISTICS: "statistics",
    catalog_pb2.REDUCTION_STEP_TOP_CHANNELS: "top_channels",
    catalog_pb2.REDUCTION_STEP_TOP_LABELS: "top_labels",
    catalog_pb2.REDUCTION_STEP_HALF: "half",
}


def _read_receptive_field(message: catalog_pb2.ReceptiveField) -> ReceptiveField:
    return ReceptiveField(size=tuple(message.size), stride=tuple(message.stride))


_COLORS: dict[int, str] = {
    catalog_pb2.COLOR_GRAYSCALE: "grayscale",
    catalog_pb2.COLOR_RGB: "rgb",
    catalog_pb2.COLOR_BGR: "bgr",
}
_RESAMPLINGS: dict[int, str] = {
    catalog_pb2.RESAMPLING_NEAREST: "nearest",
    catalog_pb2.RESAMPLING_BILINEAR: "bilinear",
}


def _read_preprocessing(message: catalog_pb2.Preprocessing) -> Preprocessing:
    # A newer server may know more of both: they are for people to read, and no reason to fail.
    return Preprocessing(
        input=message.input,
        color=_COLORS.get(message.color, "unknown"),
        resampling=_RESAMPLINGS.get(message.resampling, "unknown"),
        scale=message.scale,
        means=tuple(message.means),
        deviations=tuple(message.deviations),
    )


def _read_training(message: catalog_pb2.TrainingFigures) -> TrainingFigures:
    return TrainingFigures(
        data=message.data,
        data_digest=message.data_digest,
        network=message.network,
        seed=message.seed,
        epochs=message.epochs,
        training_rows=message.training_rows,
        test_rows=message.test_rows,
        test_accuracy=message.test_accuracy,
        test_loss=message.test_loss,
    )


def read_predictions(response: PredictResponse) -> Predictions:
    """Read the prediction of each row.

    Raises:
        ServerError: the outputs and the labels are not of the same rows.
    """
    outputs = {tensor.name: tensors.read(tensor) for tensor in response.outputs}
    rows = _read_rows(response.predictions)
    model, rows = response.model, _one_for_each_row(rows, outputs)
    return Predictions(model.name, model.version, rows, outputs, response.digest)


def _read_rows(rows: Iterable[inference_pb2.Prediction]) -> tuple[Prediction, ...]:
    return tuple(Prediction(tuple(Label(label.name, label.index, label.score) for label in row.labels)) for row in rows)


def _one_for_each_row(rows: tuple[Prediction, ...], outputs: Mapping[str, Array]) -> tuple[Prediction, ...]:
    """Check the rows; where no labels were asked there are none, and every row gets an empty prediction."""
    counts = {len(output) if output.ndim else 0 for output in outputs.values()} or {len(rows)}
    if len(counts) > 1 or (rows and counts != {len(rows)}):
        raise ServerError(f"the server answered with outputs of {sorted(counts)} rows and labels of {len(rows)}")
    return rows or (Prediction(()),) * counts.pop()


def read_activations(response: GetActivationsResponse, layers: Sequence[str]) -> Activations:
    """Read the activations, in the order of `layers`.

    Raises:
        ServerError: these are not the layers that were asked, or indices or labels do not fit them.
    """
    names = [tensor.name for tensor in response.activations]
    if names != list(layers):
        raise ServerError(f"the server answered with the layers {names}; asked were {list(layers)}")
    values = {tensor.name: tensors.read(tensor) for tensor in response.activations}
    channels = {tensor.name: tensors.read(tensor) for tensor in response.channels}
    for name, indices in channels.items():
        if name not in values or indices.dtype != np.int32 or indices.shape != values[name].shape:
            raise ServerError(
                f"the server answered with channels {list(indices.shape)} of {indices.dtype} for {name!r}, "
                "which are not those of an activation"
            )
    rows = _read_rows(response.predictions)
    if rows and {len(array) if array.ndim else 0 for array in values.values()} != {len(rows)}:
        raise ServerError(f"the server answered with labels of {len(rows)} rows, which are not those of the layers")
    return Activations(response.model.name, response.model.version, values, channels, rows, response.digest)
