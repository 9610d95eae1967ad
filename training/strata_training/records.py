"""What a run was told and what it reached, as its `run.json` holds it."""

import dataclasses
import json
import typing
from dataclasses import dataclass
from typing import Any

from strata_training.errors import Unreadable
from strata_training.preprocessing import Preprocessing


@dataclass(frozen=True)
class Plan:
    """All that decides what a run learns."""

    data: str
    network: str
    seed: int = 0
    epochs: int = 8
    """The most that are run."""
    patience: int = 3
    """Epochs without a lower validation loss before it stops."""
    batch_size: int = 64
    learning_rate: float = 0.001
    shift_pixels: int = 2
    """Each picture is also shown moved by this in four directions; 0 shows it once."""


@dataclass(frozen=True)
class Figures:
    """What the training reached."""

    data_digest: str
    """SHA-256 of the pictures and labels, in lower-case hexadecimal digits."""
    epochs: int
    """Epochs that were run."""
    best_epoch: int
    """The one whose weights were kept, from 1."""
    training_rows: int
    """Pictures that were learned from, the moved ones not counted."""
    validation_rows: int
    test_rows: int
    test_accuracy: float
    """Share of the held-out pictures that are classified right, 0..1."""
    test_loss: float
    """Mean cross-entropy over the held-out pictures, in nats."""


@dataclass(frozen=True)
class Record:
    """All that is needed to repeat a run, and to describe what came out."""

    plan: Plan
    training: Figures
    classes: tuple[str, ...]
    preprocessing: Preprocessing
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
    if origin is tuple:
        items = _expect(list, value, where)
        return tuple(_read(arguments[0], item, f"{where}[{place}]") for place, item in enumerate(items))
    if origin is dict:
        return {k: _read(arguments[1], v, f"{where}.{k}") for k, v in _expect(dict, value, where).items()}
    return _expect(kind, value, where)


def _read_dataclass(kind: Any, value: Any, where: str) -> Any:
    fields = _expect(dict, value, where)
    types = typing.get_type_hints(kind)
    missing = sorted(types.keys() - fields.keys())
    if missing:
        raise Unreadable(f"{where} has no {', '.join(missing)}")
    return kind(**{name: _read(types[name], fields[name], f"{where}.{name}") for name in types})


def _expect(kind: Any, value: Any, where: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise Unreadable(f"{where}: expected {kind.__name__}, received {value!r:.80}")
    return value
