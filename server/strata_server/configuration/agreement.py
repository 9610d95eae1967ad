"""A model's settings held against one of its artifacts."""

from collections.abc import Sequence

from strata_server.catalog import Catalog, Layer
from strata_server.configuration.model_settings import ModelSettings, TensorDeclaration
from strata_server.datatypes import DATATYPES
from strata_server.errors import ArtifactError, NotFound, quote, quote_all


def check_settings(settings: ModelSettings, catalog: Catalog, device: str) -> None:
    """Check that what a model's folder says is so of an artifact, and on this machine.

    Args:
        settings: the model's.
        catalog: the artifact's.
        device: where it runs, cpu or cuda.

    Raises:
        ArtifactError: with the field, what was expected and what was received.
    """
    file = settings.declared_in
    if settings.device not in {"", device}:
        raise ArtifactError(f"{file}: instance_group[0].kind: expected one for {device}, received {settings.device}")
    _check_inputs(settings, catalog)
    for declared in settings.outputs:
        _check_tensor(settings, f"{file}: output", declared, _find(f"{file}: output", declared, catalog))
    if settings.classes:
        _check_classes(settings, catalog)


def _check_inputs(settings: ModelSettings, catalog: Catalog) -> None:
    field = f"{settings.declared_in}: input"
    inputs = {layer.name: layer for layer in catalog.inputs}
    for declared in settings.inputs:
        if declared.name not in inputs:
            expected = quote_all(sorted(inputs))
            raise ArtifactError(f"{field}: expected the network's inputs, {expected}; received {quote(declared.name)}")
        _check_tensor(settings, field, declared, inputs[declared.name])
    undeclared = sorted(set(inputs) - {declared.name for declared in settings.inputs})
    if settings.inputs and undeclared:
        raise ArtifactError(
            f"{field}: expected all of the network's inputs or none, {quote_all(undeclared)} is missing"
        )


def _find(field: str, declared: TensorDeclaration, catalog: Catalog) -> Layer:
    try:
        return catalog.find(declared.name)
    except NotFound as error:
        raise ArtifactError(f"{field}: {error}") from error


def _check_tensor(settings: ModelSettings, field: str, declared: TensorDeclaration, layer: Layer) -> None:
    name = f"{field} {quote(declared.name)}"
    actual = DATATYPES[layer.dtype]
    if declared.datatype not in {"", actual}:
        raise ArtifactError(f"{name}: data_type: the network has {actual}, received {declared.datatype}")
    if declared.dims is not None and layer.shape is not None:
        _check_dims(settings, name, declared.dims, layer.shape)
    if declared.channel_axis is not None and layer.channel_axis:
        axis = declared.channel_axis + settings.has_batch
        if axis != layer.channel_axis:
            raise ArtifactError(
                f"{name}: format: the network has its channels in dimension {layer.channel_axis}, received {axis}"
            )


def _check_dims(settings: ModelSettings, name: str, dims: Sequence[int], shape: tuple[int, ...]) -> None:
    if settings.has_batch:
        if shape[:1] != (-1,):
            raise ArtifactError(
                f"{settings.declared_in}: max_batch_size: expected 0, {name.partition(': ')[2]} of the network has "
                f"the shape {shape}, without an open first size"
            )
        shape = shape[1:]
    if len(dims) != len(shape) or any(-1 not in pair and len(set(pair)) > 1 for pair in zip(dims, shape, strict=True)):
        without = " without the batch" if settings.has_batch else ""
        raise ArtifactError(f"{name}: dims: the network has {list(shape)}{without}, received {list(dims)}")


def _check_classes(settings: ModelSettings, catalog: Catalog) -> None:
    exits = catalog.default_exits
    count = len(settings.classes)
    if len(exits) != 1 or len(exits[0].shape or ()) != 2 or (exits[0].shape or ())[1] != count:
        raise ArtifactError(
            f"{settings.declared_in}: its label file names {count} classes; expected a prediction of one layer "
            f"of shape (-1, {count}), received {_describe(exits)}"
        )
    if settings.classes_of not in {"", exits[0].name}:
        raise ArtifactError(
            f"{settings.declared_in}: label_filename: expected it with the prediction, {quote(exits[0].name)}, "
            f"received {quote(settings.classes_of)}"
        )


def _describe(layers: Sequence[Layer]) -> str:
    return ", ".join(f"{quote(layer.name)} {layer.shape}" for layer in layers)
