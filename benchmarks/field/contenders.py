"""Who is measured."""

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks.field import wire
from benchmarks.field.cases import Case, Floats
from benchmarks.field.processes import ServerProcess, find_port
from benchmarks.networks import FOLDER, Exports

_PREDICTION = "prediction"


@dataclass(frozen=True)
class Models:
    """The files that are served."""

    exports: dict[str, Exports]
    entries: dict[str, str]
    """The name of the input of each prediction-only export."""


class Contender(ABC):
    """A server that can be asked over gRPC."""

    name: str
    path = wire.OPEN_INFERENCE
    is_http = False
    """Whether it speaks HTTP/1.1 instead of gRPC."""
    is_stream = False
    """Whether it takes all requests on one call."""
    content_type = "application/grpc"
    ready = "ready"
    """What its first line says when it can be asked; empty for one that says nothing."""

    def __init__(self, models: Models, folder: Path) -> None:
        """Start it; errors as of `ServerProcess`."""
        self.models = models
        self.port = find_port()
        self.process = ServerProcess(self.command(), self.ready, folder / f"{self.name}.log", self.environ())
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{self.port}", options=[("grpc.max_receive_message_length", -1)]
        )

    @abstractmethod
    def command(self) -> list[str]:
        """Return what starts it."""

    def environ(self) -> dict[str, str] | None:
        """Return its environment variables; None for those of this process."""
        return None

    def takes(self, case: Case) -> bool:
        """Say whether it can be asked that."""
        return not case.reduction

    def body(self, case: Case, images: Floats) -> bytes:
        """Return a request."""
        return wire.write_infer(case, case.network, self.models.entries[case.network], images)

    def url(self, case: Case) -> str:  # noqa: ARG002 - for those that have several
        """Return where h2load sends it."""
        return f"http://127.0.0.1:{self.port}{self.path}"

    def ask(self, case: Case, images: Floats) -> tuple[Floats, int]:
        """Return the answer to one request and its size on the wire; raises what grpc raises."""
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(
            self.url(case).removeprefix(f"http://127.0.0.1:{self.port}")
        )
        body: bytes = method(self.body(case, images), timeout=60)
        return self.read(case, body), len(wire.frame(body))

    def frame(self, body: bytes) -> bytes:
        """Return a request as it travels."""
        return body if self.is_http else wire.frame(body)

    def read(self, case: Case, body: bytes) -> Floats:  # noqa: ARG002 - as above
        """Return the values of an answer."""
        return wire.read_infer(body)


def write_whole_graph(case: Case, images: Floats) -> bytes:
    """Return a request to one that runs the graph with all layers where a layer is asked."""
    return wire.write_infer(case, f"{case.network}-layers" if case.layer else case.network, "image", images)


class Plain(Contender):
    """What one writes in an afternoon."""

    name = "plain grpc.aio server"

    def command(self) -> list[str]:
        """Serve the prediction-only exports, and the artifacts with every layer an output for layers."""
        models = [f"{name}={each.prediction}" for name, each in self.models.exports.items()]
        models += [f"{name}-layers={each.artifact}" for name, each in self.models.exports.items()]
        return [sys.executable, "-m", "benchmarks.field.plain_server", str(self.port), *models]

    def body(self, case: Case, images: Floats) -> bytes:
        """Ask the all-layers graph for a layer."""
        return write_whole_graph(case, images)


class Strata(Contender):
    """This project's server, as it is installed."""

    name = "Strata"
    ready = "strata-server ready"
    flags: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """Serve the artifacts, on one thread."""
        return [
            str(Path(sys.executable).parent / "strata-server"),
            *("--models", str(FOLDER / "models"), "--grpc-port", str(self.port), "--http-port", "0"),
            *("--threads", "1", *self.flags),
        ]

    def takes(self, case: Case) -> bool:  # noqa: ARG002 - it takes any
        """Say yes."""
        return True

    def body(self, case: Case, images: Floats) -> bytes:
        """Ask by the Open Inference Protocol, and for a reduction by strata.v1."""
        if case.reduction:
            return wire.write_mean(case, case.network, images)
        return wire.write_infer(case, case.network, "", images)

    def url(self, case: Case) -> str:
        """Return the method for the case."""
        path = wire.ACTIVATIONS if case.reduction else wire.OPEN_INFERENCE
        return f"http://127.0.0.1:{self.port}{path}"

    def read(self, case: Case, body: bytes) -> Floats:
        """Return the values of an answer."""
        return wire.read_mean(body) if case.reduction else wire.read_infer(body)


class StrataPublic(Strata):
    """The same over grpcio's public server."""

    name = "Strata, --transport public"
    flags = ("--transport", "public")


class StrataStream(Strata):
    """The same, asked on one long stream."""

    name = "Strata, one stream"
    is_stream = True

    def takes(self, case: Case) -> bool:
        """Take single images, many at a time."""
        return case.rows == 1 and case.concurrency == 64

    def url(self, case: Case) -> str:  # noqa: ARG002 - as in Contender
        """Return the method."""
        return f"http://127.0.0.1:{self.port}{wire.OPEN_INFERENCE_STREAM}"

    def ask(self, case: Case, images: Floats) -> tuple[Floats, int]:
        """Return the answer to one request and its size on the wire."""
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(wire.OPEN_INFERENCE_STREAM)
        (body,) = method(iter([self.body(case, images)]), timeout=60)
        return wire.read_streamed(body), len(wire.frame(body))


class Echo(Contender):
    """The limit of the way: as many bytes there and back, and nothing in between."""

    name = "gRPC echo"

    def command(self) -> list[str]:
        """Answer with the bytes of a prediction; the file is written before it starts."""
        return [sys.executable, "-m", "benchmarks.field.echo_server", str(self.port), str(FOLDER / "echo.body")]

    def takes(self, case: Case) -> bool:
        """Take predictions of digits: for others its answer has the wrong size."""
        return case.network == "digits" and not case.layer and case.rows == 32


CONTENDERS: tuple[type[Contender], ...] = (Plain, Echo, Strata, StrataPublic, StrataStream)
