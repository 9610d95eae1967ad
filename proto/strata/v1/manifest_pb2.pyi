from strata.v1 import catalog_pb2 as _catalog_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Manifest(_message.Message):
    __slots__ = ("format", "inputs", "layers", "classes", "preprocessing", "training", "library_versions", "parity")
    class LibraryVersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    LIBRARY_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    PARITY_FIELD_NUMBER: _ClassVar[int]
    format: int
    inputs: _containers.RepeatedScalarFieldContainer[str]
    layers: _containers.RepeatedCompositeFieldContainer[_catalog_pb2.Layer]
    classes: _containers.RepeatedScalarFieldContainer[str]
    preprocessing: _catalog_pb2.Preprocessing
    training: _catalog_pb2.TrainingFigures
    library_versions: _containers.ScalarMap[str, str]
    parity: _containers.RepeatedCompositeFieldContainer[LayerParity]
    def __init__(self, format: _Optional[int] = ..., inputs: _Optional[_Iterable[str]] = ..., layers: _Optional[_Iterable[_Union[_catalog_pb2.Layer, _Mapping]]] = ..., classes: _Optional[_Iterable[str]] = ..., preprocessing: _Optional[_Union[_catalog_pb2.Preprocessing, _Mapping]] = ..., training: _Optional[_Union[_catalog_pb2.TrainingFigures, _Mapping]] = ..., library_versions: _Optional[_Mapping[str, str]] = ..., parity: _Optional[_Iterable[_Union[LayerParity, _Mapping]]] = ...) -> None: ...

class LayerParity(_message.Message):
    __slots__ = ("layer", "largest_difference", "largest_magnitude", "tolerance")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    LARGEST_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    LARGEST_MAGNITUDE_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    layer: str
    largest_difference: float
    largest_magnitude: float
    tolerance: float
    def __init__(self, layer: _Optional[str] = ..., largest_difference: _Optional[float] = ..., largest_magnitude: _Optional[float] = ..., tolerance: _Optional[float] = ...) -> None: ...
