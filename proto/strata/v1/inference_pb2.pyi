from strata.v1 import catalog_pb2 as _catalog_pb2
from strata.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Pooling(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POOLING_UNSPECIFIED: _ClassVar[Pooling]
    POOLING_MEAN: _ClassVar[Pooling]
    POOLING_MAX: _ClassVar[Pooling]
POOLING_UNSPECIFIED: Pooling
POOLING_MEAN: Pooling
POOLING_MAX: Pooling

class StreamRequest(_message.Message):
    __slots__ = ("id", "predict", "get_activations", "timeout_us")
    ID_FIELD_NUMBER: _ClassVar[int]
    PREDICT_FIELD_NUMBER: _ClassVar[int]
    GET_ACTIVATIONS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_US_FIELD_NUMBER: _ClassVar[int]
    id: str
    predict: PredictRequest
    get_activations: GetActivationsRequest
    timeout_us: int
    def __init__(self, id: _Optional[str] = ..., predict: _Optional[_Union[PredictRequest, _Mapping]] = ..., get_activations: _Optional[_Union[GetActivationsRequest, _Mapping]] = ..., timeout_us: _Optional[int] = ...) -> None: ...

class StreamResponse(_message.Message):
    __slots__ = ("id", "predict", "get_activations", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    PREDICT_FIELD_NUMBER: _ClassVar[int]
    GET_ACTIVATIONS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    predict: PredictResponse
    get_activations: GetActivationsResponse
    error: Error
    def __init__(self, id: _Optional[str] = ..., predict: _Optional[_Union[PredictResponse, _Mapping]] = ..., get_activations: _Optional[_Union[GetActivationsResponse, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "message", "retry_after_ms")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    retry_after_ms: int
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class PredictRequest(_message.Message):
    __slots__ = ("model", "tensors", "images", "top_k", "priority")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    model: _catalog_pb2.ModelReference
    tensors: _tensor_pb2.Tensors
    images: _tensor_pb2.Images
    top_k: int
    priority: int
    def __init__(self, model: _Optional[_Union[_catalog_pb2.ModelReference, _Mapping]] = ..., tensors: _Optional[_Union[_tensor_pb2.Tensors, _Mapping]] = ..., images: _Optional[_Union[_tensor_pb2.Images, _Mapping]] = ..., top_k: _Optional[int] = ..., priority: _Optional[int] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("model", "outputs", "predictions", "digest")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    model: _catalog_pb2.ModelReference
    outputs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Tensor]
    predictions: _containers.RepeatedCompositeFieldContainer[Prediction]
    digest: str
    def __init__(self, model: _Optional[_Union[_catalog_pb2.ModelReference, _Mapping]] = ..., outputs: _Optional[_Iterable[_Union[_tensor_pb2.Tensor, _Mapping]]] = ..., predictions: _Optional[_Iterable[_Union[Prediction, _Mapping]]] = ..., digest: _Optional[str] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("labels",)
    LABELS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedCompositeFieldContainer[Label]
    def __init__(self, labels: _Optional[_Iterable[_Union[Label, _Mapping]]] = ...) -> None: ...

class Label(_message.Message):
    __slots__ = ("name", "index", "score")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    name: str
    index: int
    score: float
    def __init__(self, name: _Optional[str] = ..., index: _Optional[int] = ..., score: _Optional[float] = ...) -> None: ...

class GetActivationsRequest(_message.Message):
    __slots__ = ("model", "tensors", "images", "layers", "reduction", "layer_reductions", "priority")
    class LayerReductionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Reduction
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Reduction, _Mapping]] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    REDUCTION_FIELD_NUMBER: _ClassVar[int]
    LAYER_REDUCTIONS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    model: _catalog_pb2.ModelReference
    tensors: _tensor_pb2.Tensors
    images: _tensor_pb2.Images
    layers: _containers.RepeatedScalarFieldContainer[str]
    reduction: Reduction
    layer_reductions: _containers.MessageMap[str, Reduction]
    priority: int
    def __init__(self, model: _Optional[_Union[_catalog_pb2.ModelReference, _Mapping]] = ..., tensors: _Optional[_Union[_tensor_pb2.Tensors, _Mapping]] = ..., images: _Optional[_Union[_tensor_pb2.Images, _Mapping]] = ..., layers: _Optional[_Iterable[str]] = ..., reduction: _Optional[_Union[Reduction, _Mapping]] = ..., layer_reductions: _Optional[_Mapping[str, Reduction]] = ..., priority: _Optional[int] = ...) -> None: ...

class Reduction(_message.Message):
    __slots__ = ("channels", "space", "pooling", "statistics", "top_channels", "top_labels", "half")
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    POOLING_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    TOP_CHANNELS_FIELD_NUMBER: _ClassVar[int]
    TOP_LABELS_FIELD_NUMBER: _ClassVar[int]
    HALF_FIELD_NUMBER: _ClassVar[int]
    channels: Range
    space: _containers.RepeatedCompositeFieldContainer[Range]
    pooling: Pooling
    statistics: bool
    top_channels: int
    top_labels: int
    half: bool
    def __init__(self, channels: _Optional[_Union[Range, _Mapping]] = ..., space: _Optional[_Iterable[_Union[Range, _Mapping]]] = ..., pooling: _Optional[_Union[Pooling, str]] = ..., statistics: _Optional[bool] = ..., top_channels: _Optional[int] = ..., top_labels: _Optional[int] = ..., half: _Optional[bool] = ...) -> None: ...

class Range(_message.Message):
    __slots__ = ("start", "stop")
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    start: int
    stop: int
    def __init__(self, start: _Optional[int] = ..., stop: _Optional[int] = ...) -> None: ...

class GetActivationsResponse(_message.Message):
    __slots__ = ("model", "activations", "channels", "predictions", "digest")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ACTIVATIONS_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    model: _catalog_pb2.ModelReference
    activations: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Tensor]
    channels: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Tensor]
    predictions: _containers.RepeatedCompositeFieldContainer[Prediction]
    digest: str
    def __init__(self, model: _Optional[_Union[_catalog_pb2.ModelReference, _Mapping]] = ..., activations: _Optional[_Iterable[_Union[_tensor_pb2.Tensor, _Mapping]]] = ..., channels: _Optional[_Iterable[_Union[_tensor_pb2.Tensor, _Mapping]]] = ..., predictions: _Optional[_Iterable[_Union[Prediction, _Mapping]]] = ..., digest: _Optional[str] = ...) -> None: ...
