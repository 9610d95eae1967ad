from strata.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReductionStep(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REDUCTION_STEP_UNSPECIFIED: _ClassVar[ReductionStep]
    REDUCTION_STEP_CHANNELS: _ClassVar[ReductionStep]
    REDUCTION_STEP_SPACE: _ClassVar[ReductionStep]
    REDUCTION_STEP_POOLING: _ClassVar[ReductionStep]
    REDUCTION_STEP_STATISTICS: _ClassVar[ReductionStep]
    REDUCTION_STEP_TOP_CHANNELS: _ClassVar[ReductionStep]
    REDUCTION_STEP_TOP_LABELS: _ClassVar[ReductionStep]
    REDUCTION_STEP_HALF: _ClassVar[ReductionStep]

class Color(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COLOR_UNSPECIFIED: _ClassVar[Color]
    COLOR_GRAYSCALE: _ClassVar[Color]
    COLOR_RGB: _ClassVar[Color]
    COLOR_BGR: _ClassVar[Color]

class Resampling(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESAMPLING_UNSPECIFIED: _ClassVar[Resampling]
    RESAMPLING_NEAREST: _ClassVar[Resampling]
    RESAMPLING_BILINEAR: _ClassVar[Resampling]
REDUCTION_STEP_UNSPECIFIED: ReductionStep
REDUCTION_STEP_CHANNELS: ReductionStep
REDUCTION_STEP_SPACE: ReductionStep
REDUCTION_STEP_POOLING: ReductionStep
REDUCTION_STEP_STATISTICS: ReductionStep
REDUCTION_STEP_TOP_CHANNELS: ReductionStep
REDUCTION_STEP_TOP_LABELS: ReductionStep
REDUCTION_STEP_HALF: ReductionStep
COLOR_UNSPECIFIED: Color
COLOR_GRAYSCALE: Color
COLOR_RGB: Color
COLOR_BGR: Color
RESAMPLING_UNSPECIFIED: Resampling
RESAMPLING_NEAREST: Resampling
RESAMPLING_BILINEAR: Resampling

class ModelReference(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelSummary]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelSummary, _Mapping]]] = ...) -> None: ...

class ModelSummary(_message.Message):
    __slots__ = ("name", "version", "layer_count", "parameters", "multiply_adds", "class_count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LAYER_COUNT_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    MULTIPLY_ADDS_FIELD_NUMBER: _ClassVar[int]
    CLASS_COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    layer_count: int
    parameters: int
    multiply_adds: int
    class_count: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., layer_count: _Optional[int] = ..., parameters: _Optional[int] = ..., multiply_adds: _Optional[int] = ..., class_count: _Optional[int] = ...) -> None: ...

class DescribeModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: ModelReference
    def __init__(self, model: _Optional[_Union[ModelReference, _Mapping]] = ...) -> None: ...

class DescribeModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: ModelDescription
    def __init__(self, model: _Optional[_Union[ModelDescription, _Mapping]] = ...) -> None: ...

class ModelDescription(_message.Message):
    __slots__ = ("name", "version", "digest", "inputs", "layers", "classes", "preprocessing", "training")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    digest: str
    inputs: _containers.RepeatedScalarFieldContainer[str]
    layers: _containers.RepeatedCompositeFieldContainer[Layer]
    classes: _containers.RepeatedScalarFieldContainer[str]
    preprocessing: Preprocessing
    training: TrainingFigures
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., digest: _Optional[str] = ..., inputs: _Optional[_Iterable[str]] = ..., layers: _Optional[_Iterable[_Union[Layer, _Mapping]]] = ..., classes: _Optional[_Iterable[str]] = ..., preprocessing: _Optional[_Union[Preprocessing, _Mapping]] = ..., training: _Optional[_Union[TrainingFigures, _Mapping]] = ...) -> None: ...

class Layer(_message.Message):
    __slots__ = ("name", "kind", "shape", "data_type", "parameters", "multiply_adds", "depth", "default_exit", "channel_axis", "receptive_field", "reductions", "unranked")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_TYPE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    MULTIPLY_ADDS_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_EXIT_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_AXIS_FIELD_NUMBER: _ClassVar[int]
    RECEPTIVE_FIELD_FIELD_NUMBER: _ClassVar[int]
    REDUCTIONS_FIELD_NUMBER: _ClassVar[int]
    UNRANKED_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    data_type: _tensor_pb2.DataType
    parameters: int
    multiply_adds: int
    depth: int
    default_exit: bool
    channel_axis: int
    receptive_field: ReceptiveField
    reductions: _containers.RepeatedScalarFieldContainer[ReductionStep]
    unranked: bool
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., data_type: _Optional[_Union[_tensor_pb2.DataType, str]] = ..., parameters: _Optional[int] = ..., multiply_adds: _Optional[int] = ..., depth: _Optional[int] = ..., default_exit: _Optional[bool] = ..., channel_axis: _Optional[int] = ..., receptive_field: _Optional[_Union[ReceptiveField, _Mapping]] = ..., reductions: _Optional[_Iterable[_Union[ReductionStep, str]]] = ..., unranked: _Optional[bool] = ...) -> None: ...

class ReceptiveField(_message.Message):
    __slots__ = ("size", "stride")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    size: _containers.RepeatedScalarFieldContainer[int]
    stride: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, size: _Optional[_Iterable[int]] = ..., stride: _Optional[_Iterable[int]] = ...) -> None: ...

class Preprocessing(_message.Message):
    __slots__ = ("input", "color", "resampling", "scale", "means", "deviations")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    COLOR_FIELD_NUMBER: _ClassVar[int]
    RESAMPLING_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    MEANS_FIELD_NUMBER: _ClassVar[int]
    DEVIATIONS_FIELD_NUMBER: _ClassVar[int]
    input: str
    color: Color
    resampling: Resampling
    scale: float
    means: _containers.RepeatedScalarFieldContainer[float]
    deviations: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, input: _Optional[str] = ..., color: _Optional[_Union[Color, str]] = ..., resampling: _Optional[_Union[Resampling, str]] = ..., scale: _Optional[float] = ..., means: _Optional[_Iterable[float]] = ..., deviations: _Optional[_Iterable[float]] = ...) -> None: ...

class TrainingFigures(_message.Message):
    __slots__ = ("data", "data_digest", "network", "seed", "epochs", "training_rows", "test_rows", "test_accuracy", "test_loss")
    DATA_FIELD_NUMBER: _ClassVar[int]
    DATA_DIGEST_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    TRAINING_ROWS_FIELD_NUMBER: _ClassVar[int]
    TEST_ROWS_FIELD_NUMBER: _ClassVar[int]
    TEST_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    TEST_LOSS_FIELD_NUMBER: _ClassVar[int]
    data: str
    data_digest: str
    network: str
    seed: int
    epochs: int
    training_rows: int
    test_rows: int
    test_accuracy: float
    test_loss: float
    def __init__(self, data: _Optional[str] = ..., data_digest: _Optional[str] = ..., network: _Optional[str] = ..., seed: _Optional[int] = ..., epochs: _Optional[int] = ..., training_rows: _Optional[int] = ..., test_rows: _Optional[int] = ..., test_accuracy: _Optional[float] = ..., test_loss: _Optional[float] = ...) -> None: ...
