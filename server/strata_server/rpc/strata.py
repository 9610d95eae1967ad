"""strata.v1: the project's own protocol."""

from dataclasses import asdict
from functools import partial

from strata.v1 import catalog_pb2, inference_pb2, repository_pb2, tensor_pb2

from strata_server.catalog import Layer
from strata_server.control import Control
from strata_server.data_types import DTYPES, NAMES
from strata_server.deadline import Deadline
from strata_server.engine import Answer, Engine, Inputs, naming
from strata_server.errors import InvalidArgument, StrataError, quote, unknown
from strata_server.images import Pictures, Preprocessing
from strata_server.labels import Label
from strata_server.manifest import TrainingFigures
from strata_server.plans import DEFAULT_PRIORITY
from strata_server.reductions import WHOLE, Pooling, Reduction, applicable_steps
from strata_server.rpc.calls import PUSHBACK, refuse
from strata_server.rpc.encoding import write_length
from strata_server.rpc.heads import Form, Frame, Heads, Span
from strata_server.rpc.methods import Method, Pending, Rpc, bind_methods
from strata_server.rpc.repository import list_versions, load_model, unload_model
from strata_server.tensors import Array, read_tensor, write_tensor
from strata_server.version import Version

_POOLINGS = {
    inference_pb2.POOLING_UNSPECIFIED: None,
    inference_pb2.POOLING_MEAN: Pooling.MEAN,
    inference_pb2.POOLING_MAX: Pooling.MAX,
}


def strata_services(engine: Engine, control: Control) -> dict[str, list[Method]]:
    """Return the RPCs of strata.v1, by service."""
    catalog = catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"]
    inference = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"]
    repository = repository_pb2.DESCRIPTOR.services_by_name["RepositoryService"]
    return {
        catalog.full_name: bind_methods(
            catalog, engine, {"ListModels": Rpc(list_models), "DescribeModel": Rpc(describe_model)}
        ),
        inference.full_name: bind_methods(
            inference,
            engine,
            {
                "Predict": Rpc(predict, is_heavy=_is_heavy, is_inference=True),
                "GetActivations": Rpc(
                    get_activations,
                    is_heavy=_is_heavy,
                    shortcut=Heads(Form(_find_no_id, _find_values, _frame), engine.repository),
                    is_inference=True,
                ),
                "Stream": Rpc(stream, is_heavy=_streams_heavy, fail=_fail_in_stream, is_inference=True),
            },
        ),
        repository.full_name: bind_methods(
            repository,
            control,
            {"ListVersions": Rpc(list_versions), "LoadModel": Rpc(load_model), "UnloadModel": Rpc(unload_model)},
        ),
    }


def list_models(
    engine: Engine, request: catalog_pb2.ListModelsRequest, deadline: Deadline
) -> catalog_pb2.ListModelsResponse:
    """List the models and versions that are served."""
    return catalog_pb2.ListModelsResponse(models=map(_write_summary, engine.repository.versions))


def describe_model(
    engine: Engine, request: catalog_pb2.DescribeModelRequest, deadline: Deadline
) -> catalog_pb2.DescribeModelResponse:
    """Describe one version of a model."""
    version = _find(engine, request.model)
    description = catalog_pb2.ModelDescription(
        name=version.model,
        version=str(version.number),
        digest=version.digest,
        inputs=[layer.name for layer in version.catalog.inputs],
        layers=[_write_layer(version, layer) for layer in version.catalog.layers],
        classes=version.classes,
        preprocessing=_write_preprocessing(version.preprocessing),
        training=_write_training(version.training),
    )
    return catalog_pb2.DescribeModelResponse(model=description)


def predict(engine: Engine, request: inference_pb2.PredictRequest, deadline: Deadline) -> Pending:
    """Compute the prediction."""
    version = _find(engine, request.model)
    with naming(version):
        inputs = _read_inputs(version, request)
    priority = request.priority or DEFAULT_PRIORITY
    return Pending(
        engine.predict(version, inputs, request.top_k, deadline=deadline, priority=priority), _write_predicted
    )


def _write_predicted(answer: Answer) -> inference_pb2.PredictResponse:
    return inference_pb2.PredictResponse(
        model=_write_reference(answer),
        outputs=[_write_tensor(name, value) for name, value in answer.activations.items()],
        predictions=map(_write_prediction, answer.labels),
        digest=answer.version.digest,
    )


def get_activations(engine: Engine, request: inference_pb2.GetActivationsRequest, deadline: Deadline) -> Pending:
    """Compute the activations of any layers."""
    version = _find(engine, request.model)
    with naming(version):
        version.catalog.check_exit_count(len(request.layers))
        reductions = _read_reductions(request)
        inputs = _read_inputs(version, request)
    priority = request.priority or DEFAULT_PRIORITY
    question = engine.activations(
        version, inputs, list(request.layers), reductions, deadline=deadline, priority=priority
    )
    return Pending(question, _write_activations)


def _write_activations(answer: Answer) -> inference_pb2.GetActivationsResponse:
    return inference_pb2.GetActivationsResponse(
        model=_write_reference(answer),
        activations=[_write_tensor(name, value) for name, value in answer.activations.items()],
        channels=[_write_tensor(name, value) for name, value in answer.channels.items()],
        predictions=map(_write_prediction, answer.labels),
        digest=answer.version.digest,
    )


def _frame(answer: Answer) -> Frame:
    """Return what stands around the values of a response without channels and labels."""
    digest = answer.version.digest
    model = inference_pb2.GetActivationsResponse(model=_write_reference(answer), digest=digest).SerializeToString()
    marks = []
    for name, value in answer.activations.items():
        tensor = tensor_pb2.Tensor(name=name, data_type=NAMES[value.dtype], shape=value.shape).SerializeToString()
        if value.nbytes:
            tensor += write_length(tensor_pb2.Tensor.DATA_FIELD_NUMBER, value.nbytes)
        number = inference_pb2.GetActivationsResponse.ACTIVATIONS_FIELD_NUMBER
        marks.append(write_length(number, len(tensor) + value.nbytes) + tensor)
    return Frame(model, b"", marks)


def _find_no_id(data: bytes) -> Span:
    return Span(0, 0)


def _find_values(request: inference_pb2.GetActivationsRequest, data: bytes) -> Span | None:
    """Return where the values of a request with one tensor are: before what is asked of them."""
    if len(request.tensors.tensors) != 1:
        return None
    length = len(request.tensors.tensors[0].data)
    asked = inference_pb2.GetActivationsRequest()
    asked.CopyFrom(request)
    asked.ClearField("model")
    asked.ClearField("tensors")
    tail = asked.SerializeToString(deterministic=True)
    stop = len(data) - len(tail)
    mark = write_length(tensor_pb2.Tensor.DATA_FIELD_NUMBER, length)
    start = stop - length
    is_there = data[stop:] == tail and data[max(0, start - len(mark)) : start] == mark
    return Span(start, stop) if is_there else None


def stream(engine: Engine, request: inference_pb2.StreamRequest, deadline: Deadline) -> Pending:
    """Compute what one request of a stream asks for."""
    if request.timeout_us:
        deadline = deadline.within(request.timeout_us / 1e6)
    match request.WhichOneof("request"):
        case "predict":
            pending = predict(engine, request.predict, deadline)
        case "get_activations":
            pending = get_activations(engine, request.get_activations, deadline)
        case _:
            raise InvalidArgument("expected a request to predict or to get activations, received neither")
    return Pending(pending.question, partial(_write_in_stream, request))


def _write_in_stream(request: inference_pb2.StreamRequest, answer: Answer) -> inference_pb2.StreamResponse:
    if request.HasField("predict"):
        return inference_pb2.StreamResponse(id=request.id, predict=_write_predicted(answer))
    return inference_pb2.StreamResponse(id=request.id, get_activations=_write_activations(answer))


def _fail_in_stream(request: inference_pb2.StreamRequest, error: StrataError) -> inference_pb2.StreamResponse:
    reply = refuse(error)
    return inference_pb2.StreamResponse(
        id=request.id,
        error=inference_pb2.Error(
            code=reply.code, message=reply.details, retry_after_ms=int(dict(reply.trailers).get(PUSHBACK, 0))
        ),
    )


def _streams_heavy(request: inference_pb2.StreamRequest) -> bool:
    return _is_heavy(request.predict) or _is_heavy(request.get_activations)


def _is_heavy(request: inference_pb2.PredictRequest | inference_pb2.GetActivationsRequest) -> bool:
    """Say whether pictures or strings are to be decoded."""
    return request.HasField("images") or any(
        tensor.data_type == tensor_pb2.DATA_TYPE_STRING for tensor in request.tensors.tensors
    )


def _find(engine: Engine, reference: catalog_pb2.ModelReference) -> Version:
    return engine.repository.find(reference.name, reference.version)


def _read_inputs(
    version: Version, request: inference_pb2.PredictRequest | inference_pb2.GetActivationsRequest
) -> Inputs:
    match request.WhichOneof("inputs"):
        case "tensors":
            return _read_tensors(version, request.tensors)
        case "images":
            return Pictures(list(request.images.encoded))
        case _:
            raise InvalidArgument("expected inputs as tensors or images, received neither")


def _read_reductions(request: inference_pb2.GetActivationsRequest) -> dict[str, Reduction]:
    """Return what is done to each layer asked."""
    for name in request.layer_reductions:
        if name not in request.layers:
            raise unknown("layer among those asked", name, request.layers)
    general = _read_reduction(request.reduction) if request.HasField("reduction") else WHOLE
    single = {name: _read_reduction(each) for name, each in request.layer_reductions.items()}
    return {name: single.get(name, general) for name in request.layers}


def _read_reduction(message: inference_pb2.Reduction) -> Reduction:
    if message.pooling not in _POOLINGS:
        raise InvalidArgument(f"expected a pooling, received {message.pooling}")
    return Reduction(
        channels=(message.channels.start, message.channels.stop) if message.HasField("channels") else None,
        space=tuple((each.start, each.stop) for each in message.space),
        pooling=_POOLINGS[message.pooling],
        statistics=message.statistics,
        top_channels=message.top_channels,
        top_labels=message.top_labels,
        half=message.half,
    )


def _read_tensors(version: Version, message: tensor_pb2.Tensors) -> dict[str, Array]:
    version.catalog.check_entry_count(len(message.tensors))
    inputs = version.catalog.inputs
    # An empty name means the only input; messages shall say which.
    only = inputs[0].name if len(inputs) == 1 else ""
    arrays = {tensor.name: _read_tensor(tensor, tensor.name or only) for tensor in message.tensors}
    if len(arrays) != len(message.tensors):
        raise InvalidArgument("expected each input once, received one of them twice or more")
    return arrays


def _read_tensor(message: tensor_pb2.Tensor, name: str) -> Array:
    dtype = DTYPES.get(message.data_type)
    if dtype is None:
        raise InvalidArgument(f"{quote(name)}: expected a data type, received {message.data_type}")
    return read_tensor(name, dtype, tuple(message.shape), message.data)


def _write_tensor(name: str, value: Array) -> tensor_pb2.Tensor:
    data_type = NAMES[value.dtype]
    return tensor_pb2.Tensor(name=name, data_type=data_type, shape=value.shape, data=write_tensor(value))


def _write_reference(answer: Answer) -> catalog_pb2.ModelReference:
    return catalog_pb2.ModelReference(name=answer.version.model, version=str(answer.version.number))


def _write_prediction(labels: list[Label]) -> inference_pb2.Prediction:
    written = [inference_pb2.Label(name=label.name, index=label.index, score=label.score) for label in labels]
    return inference_pb2.Prediction(labels=written)


def _write_summary(version: Version) -> catalog_pb2.ModelSummary:
    return catalog_pb2.ModelSummary(
        name=version.model,
        version=str(version.number),
        layer_count=len(version.catalog.layers),
        parameters=version.catalog.parameters,
        multiply_adds=version.catalog.multiply_adds,
        class_count=len(version.classes),
    )


def _write_layer(version: Version, layer: Layer) -> catalog_pb2.Layer:
    field = layer.receptive_field
    is_prediction = version.catalog.default_exits == (layer,)
    steps = applicable_steps(layer.shape, layer.channel_axis, layer.dtype, is_prediction=is_prediction)
    return catalog_pb2.Layer(
        name=layer.name,
        kind=layer.kind,
        shape=layer.shape or (),
        data_type=NAMES[layer.dtype],
        parameters=layer.parameters,
        multiply_adds=layer.multiply_adds,
        depth=layer.depth,
        default_exit=layer.default_exit,
        channel_axis=layer.channel_axis,
        receptive_field=catalog_pb2.ReceptiveField(size=field.size, stride=field.stride) if field else None,
        reductions=[f"REDUCTION_STEP_{step.name}" for step in steps],
        unranked=layer.shape is None,
    )


def _write_preprocessing(rule: Preprocessing | None) -> catalog_pb2.Preprocessing | None:
    if rule is None:
        return None
    return catalog_pb2.Preprocessing(
        input=rule.input,
        color=f"COLOR_{rule.color.name}",
        resampling=f"RESAMPLING_{rule.resampling.name}",
        scale=rule.scale,
        means=rule.means,
        deviations=rule.deviations,
    )


def _write_training(training: TrainingFigures | None) -> catalog_pb2.TrainingFigures | None:
    return None if training is None else catalog_pb2.TrainingFigures(**asdict(training))
