"""What a run was told and what it reached, as its `run.json` holds it."""

import dataclasses
import json
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from strata_training.errors import Unreadable
from strata_training.preprocessing import Preprocessing

STRATEGIES = ("none", "mirrored")


@dataclass(frozen=True)
class Tuning:
    """How a trained network is changed and which of its layers learn again."""

    origin: str
    """A run, a .keras file or a backbone."""
    pixel_scale: float = 0.0
    """What a file's network wants pixels of 0..255 to be multiplied by; 0 to guess."""
    keep_head: bool = False
    """Whether the last layer stays, for the same classes."""
    freeze: tuple[str, ...] = ()
    """Patterns of the names of layers that do not learn; `none` alone lets every layer learn."""
    freeze_until: str = ""
    """This layer and those before it never learn."""
    unfreeze_last: int = 0
    """Layers before the head that learn in a second stage."""
    unfreeze_epochs: int = 0
    """The most epochs of the second stage; 0 for as many as the first."""
    unfreeze_learning_rate: float = 0.0
    """Of the second stage; 0 for a tenth of the first."""


@dataclass(frozen=True)
class Plan:
    """All that decides what a run learns."""

    data: str
    network: str = ""
    """Its name; empty where another one is tuned."""
    options: dict[str, Any] = field(default_factory=dict)
    """Those of the network that were given."""
    image_size: tuple[int, ...] = ()
    """Height and width; empty for the network's own, or that of the pictures."""
    classes: tuple[str, ...] = ()
    """Only these, in this order; empty for all."""
    samples_per_class: int = 0
    """The most that are learned from; 0 for all."""
    skip_bad: bool = False
    """Whether files that cannot be read are left out."""
    augment: tuple[str, ...] = ()
    """Random changes of the pictures while they are learned from."""
    shift_pixels: int | None = None
    """Each picture is also shown moved by this in four directions; None for 2 with the few digits, else 0."""
    seed: int = 0
    epochs: int = 8
    """The most that are run."""
    patience: int = 3
    """Epochs without a lower validation loss before it stops."""
    batch_size: int = 64
    learning_rate: float = 0.001
    strategy: str = "none"
    """mirrored: the same step on all GPUs, each with a part of the batch."""
    tuning: Tuning | None = None

    @property
    def shift(self) -> int:
        """The pixels that pictures are moved by."""
        if self.shift_pixels is None:
            return 2 if self.data == "digits" else 0
        return self.shift_pixels


@dataclass(frozen=True)
class Figures:
    """What the training reached."""

    data: str
    """The name of what was learned from, without the folder that it is in."""
    data_digest: str
    """SHA-256 of the pictures and labels, in lower-case hexadecimal digits."""
    epochs: int
    """Epochs that were run."""
    best_epoch: int
    """The one whose weights were kept, from 1."""
    class_counts: dict[str, int]
    """Examples of each class, in all parts together."""
    skipped: tuple[str, ...]
    """Files that were left out, each with the reason."""
    training_rows: int
    """Examples that were learned from, the moved ones not counted."""
    validation_rows: int
    test_rows: int
    test_accuracy: float
    """Share of the held-out examples that are classified right, 0..1."""
    test_loss: float
    """Mean loss over the held-out examples: cross-entropy, in nats."""


@dataclass(frozen=True)
class Record:
    """All that is needed to repeat a run, and to describe what came out."""

    plan: Plan
    network: str
    """Its name; empty where a file was tuned."""
    training: Figures
    classes: tuple[str, ...]
    preprocessing: Preprocessing | None
    """None where no pictures were learned from."""
    library_versions: dict[str, str]

    def to_json(self) -> str:
        """Return it as `run.json` holds it."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def read_record(text: str) -> Record:
    """Return the record that a `run.json` holds.

    Raises:
        Unreadable: it is not JSON, or a field is missing or of another type.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Unreadable(f"not JSON: {error}") from error
    record: Record = _read(Record, value, "run")
    return record


def _read(kind: Any, value: Any, where: str) -> Any:
    """Return a JSON value as the declared type, whose parts are read the same way."""
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _read(arguments[0], value, where)
    if origin is tuple:
        items = _expect(list, value, where)
        return tuple(_read(arguments[0], item, f"{where}[{place}]") for place, item in enumerate(items))
    if origin is dict:
        return {k: _read(arguments[1], v, f"{where}.{k}") for k, v in _expect(dict, value, where).items()}
    return value if kind is Any else _expect(kind, value, where)


def _read_dataclass(kind: Any, value: Any, where: str) -> Any:
    fields = _expect(dict, value, where)
    hints = typing.get_type_hints(kind)
    missing = sorted(hints.keys() - fields.keys())
    if missing:
        raise Unreadable(f"{where} has no {', '.join(missing)}")
    return kind(**{name: _read(hint, fields[name], f"{where}.{name}") for name, hint in hints.items()})


def _expect(kind: Any, value: Any, where: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise Unreadable(f"{where}: expected {kind.__name__}, received {value!r:.80}")
    return value
