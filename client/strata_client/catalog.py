"""What a server has: its models, and the layers of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Model:
    """One served version of a model, in short."""

    name: str
    version: str
    """A number in decimal digits."""
    layer_count: int
    """The inputs included."""
    parameters: int
    """The learned numbers of the whole network."""
    multiply_adds: int
    """Of a prediction, for one row."""
    class_count: int
    """0 where the model declares no classes."""


@dataclass(frozen=True)
class ReceptiveField:
    """The window of the input that one place of a layer is computed from."""

    size: tuple[int, ...]
    """In pixels of the input, for each dimension of space; it may reach over the border."""
    stride: tuple[int, ...]
    """How far the windows of neighboring places are apart, in pixels of the input."""


@dataclass(frozen=True)
class Layer:
    """A named point in the network."""

    name: str
    kind: str
    """What computes it: the Keras class, such as Conv2D; in a file not from Keras the ONNX operator, such as Conv."""
    shape: tuple[int, ...] | None
    """The size of each dimension of its activation; -1 for one that a request decides, such as the batch, which is
    the first. None where not even the number of dimensions is known before a run."""
    dtype: np.dtype[Any]
    """Of the arrays that its activations arrive in."""
    parameters: int
    """The learned numbers in this layer alone."""
    multiply_adds: int
    """In this layer alone, for one row."""
    depth: int
    """Layers on the longest way from an input to here; an input has 0."""
    default_exit: bool
    """Whether it belongs to the prediction."""
    channel_axis: int = 0
    """The dimension that counts its channels: 3 where height, width, channels follow the batch. 0 where it has none
    that is known."""
    receptive_field: ReceptiveField | None = None
    """What of the input one place of it sees; None where that is no fixed window."""
    reductions: tuple[str, ...] = ()
    """The fields of a `Reduction` that may be set for it."""
    data_type: str = ""
    """The type of its elements in the network: the name of `dtype`, but `bfloat16`, which arrives as float32, and
    `string`, which arrives as objects; empty where nobody says."""

    @property
    def type_name(self) -> str:
        """The type of its elements, by name."""
        return self.data_type or self.dtype.name


@dataclass(frozen=True)
class Preprocessing:
    """How the server makes a picture an input: for each channel (pixel * scale - mean) / deviation."""

    input: str
    """The input that takes the picture."""
    color: str
    """`grayscale`, `rgb` or `bgr`."""
    resampling: str
    """`nearest` or `bilinear`: how a picture of another size is resized."""
    scale: float
    means: tuple[float, ...]
    """One for each channel; empty means 0."""
    deviations: tuple[float, ...]
    """One for each channel; empty means 1."""


@dataclass(frozen=True)
class TrainingFigures:
    """What the training reached."""

    data: str
    data_digest: str
    """SHA-256 of the pictures and labels, in lower-case hexadecimal digits."""
    network: str
    seed: int
    epochs: int
    training_rows: int
    """Pictures that were learned from."""
    test_rows: int
    """Pictures that were held out until the end."""
    test_accuracy: float
    """Share of the held-out pictures that are classified right, 0..1."""
    test_loss: float
    """Mean cross-entropy over the held-out pictures, in nats."""


@dataclass(frozen=True)
class Description:
    """One version of a model, with its catalog."""

    name: str
    version: str
    digest: str
    """SHA-256 of the artifact, in lower-case hexadecimal digits."""
    inputs: tuple[str, ...]
    layers: tuple[Layer, ...]
    """By depth: the inputs first."""
    classes: tuple[str, ...]
    """In the order of the scores; empty where the model declares none."""
    preprocessing: Preprocessing | None
    """None where the model takes no pictures."""
    training: TrainingFigures | None
    """None where the artifact does not say."""

    @property
    def reference(self) -> str:
        """`NAME:VERSION`, as every call takes it."""
        return f"{self.name}:{self.version}"

    @property
    def entry(self) -> str:
        """The input that takes a picture; the first one where none does."""
        return self.preprocessing.input if self.preprocessing else self.inputs[0]

    def find(self, name: str) -> Layer | None:
        """Return the layer of that name; None where there is none."""
        return next((layer for layer in self.layers if layer.name == name), None)

    def channel_axis(self, layer: str, dimensions: int) -> int:
        """Return the axis that counts the channels of an activation with that many dimensions.

        It is the last one where none is known, and where pooling left nothing else.
        """
        found = self.find(layer)
        return found.channel_axis if found and 0 < found.channel_axis < dimensions else -1
