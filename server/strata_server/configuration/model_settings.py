"""How the versions of a model are served, as its folder says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from strata_server.control import Json


@dataclass(frozen=True)
class VersionPolicy:
    """Which versions of a model are served: all, unless one of the fields says otherwise."""

    latest: int | None = None
    """So many, those with the highest numbers."""
    specific: tuple[int, ...] = ()
    """Those with these numbers, in rising order."""

    def choose(self, numbers: Iterable[int]) -> list[int]:
        """Return those of some versions that are served, in rising order."""
        known = sorted(set(numbers))
        if self.specific:
            return [number for number in known if number in self.specific]
        return known if self.latest is None else known[-self.latest :]

    def find_missing(self, numbers: Iterable[int]) -> list[int]:
        """Return the versions that are asked for by number and are not among some."""
        known = set(numbers)
        return [number for number in self.specific if number not in known]


@dataclass(frozen=True)
class TensorDeclaration:
    """An input or output as the folder declares it; it must be so in the artifact as well."""

    name: str
    datatype: str = ""
    """In the protocol's words, such as FP32 or BYTES; empty where nothing is said."""
    dims: tuple[int, ...] | None = None
    """Its sizes, without the batch where there is one; -1 for one that is open. None where nothing is said."""
    channel_axis: int | None = None
    """Which of the dims counts its channels; None where nothing is said."""


@dataclass(frozen=True)
class ModelSettings:
    """How the versions of a model are served. Without a file: all of them, and nothing is said."""

    declared_in: str = ""
    """strata.toml or config.pbtxt; empty where there is neither."""
    versions: VersionPolicy = VersionPolicy()
    """Which versions are served."""
    labels: Mapping[str, int] = field(default_factory=dict)
    """Names for versions, such as stable, that requests may use in place of a number."""
    joins_requests: bool = True
    """Whether rows of different requests may run together."""
    has_batch: bool = False
    """Whether the dims of declared tensors leave the batch out."""
    batch_rows: int = 0
    """Most rows that run together; 0 where nothing is said."""
    batch_wait_us: int | None = None
    """Longest wait of a request for others to run with, in microseconds; None where nothing is said."""
    classes: tuple[str, ...] = ()
    """Names of the prediction's classes, from a label file; empty where there is none."""
    label_file: str = ""
    """The name of that file; empty where there is none."""
    classes_of: str = ""
    """The output that the label file is declared for; empty for the prediction, whatever its name."""
    inputs: tuple[TensorDeclaration, ...] = ()
    """Declared inputs; empty where nothing is said."""
    outputs: tuple[TensorDeclaration, ...] = ()
    """Declared outputs; empty where nothing is said."""
    device: str = ""
    """Where it runs, cpu or cuda; empty where nothing is said."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Passed on to whoever asks for the configuration; nothing here reads them."""

    @property
    def of_versions(self) -> "ModelSettings":
        """What of them each version is opened with: not which versions there are, nor what they are called."""
        return replace(self, versions=VersionPolicy(), labels={}, parameters={})

    def find_missing(self, numbers: Iterable[int]) -> dict[str, int]:
        """Return labels of versions that are not among some."""
        known = set(numbers)
        return {label: number for label, number in self.labels.items() if number not in known}

    def write(self) -> Json:
        """Return the same as JSON has it."""
        return {
            "declared_in": self.declared_in,
            "versions": {"latest": self.versions.latest, "specific": list(self.versions.specific)},
            "labels": dict(self.labels),
            "joins_requests": self.joins_requests,
            "has_batch": self.has_batch,
            "batch_rows": self.batch_rows,
            "batch_wait_us": self.batch_wait_us,
            "classes": list(self.classes),
            "label_file": self.label_file,
            "classes_of": self.classes_of,
            "inputs": [_write_tensor(tensor) for tensor in self.inputs],
            "outputs": [_write_tensor(tensor) for tensor in self.outputs],
            "device": self.device,
            "parameters": dict(self.parameters),
        }

    @classmethod
    def read(cls, written: Json) -> "ModelSettings":
        """Return what was written by `write`, perhaps in another process."""
        values: dict[str, Any] = dict(written) if isinstance(written, dict) else {}
        versions = values.pop("versions")
        return cls(
            versions=VersionPolicy(versions["latest"], tuple(versions["specific"])),
            classes=tuple(values.pop("classes")),
            inputs=tuple(map(_read_tensor, values.pop("inputs"))),
            outputs=tuple(map(_read_tensor, values.pop("outputs"))),
            **values,
        )


def _write_tensor(tensor: TensorDeclaration) -> Json:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "dims": None if tensor.dims is None else list(tensor.dims),
        "channel_axis": tensor.channel_axis,
    }


def _read_tensor(written: Mapping[str, Any]) -> TensorDeclaration:
    dims = written["dims"]
    return TensorDeclaration(
        written["name"], written["datatype"], None if dims is None else tuple(dims), written["channel_axis"]
    )
