"""What can be asked over HTTP: one table, of which the routes, the OpenAPI document and its page are made."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from google.protobuf.message import Message

from strata_server.errors import InvalidArgument, quote_all
from strata_server.http import forms
from strata_server.http.content import Content
from strata_server.http.forms import Members, Path
from strata_server.http.inference import Inference
from strata_server.http.messages import fill_message, read_object, write_message
from strata_server.rpc.open_inference import open_inference_pb2 as pb

MODEL = "/v2/models/{name}"
VERSION = MODEL + "/versions/{version}"


class Conversion(Protocol):
    """One request of HTTP as a call of the protocol."""

    def read(self) -> Message:
        """Return the message of the request; raises a StrataError."""

    def write(self, response: Any) -> Content:
        """Return the answer that a response is; raises a StrataError."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One thing that can be asked, at one path or several."""

    method: str
    """GET or POST."""
    paths: tuple[str, ...]
    rpc: str
    """The name of the RPC that answers it."""
    tag: str
    """The part of the protocol that it belongs to."""
    summary: str
    read: Callable[[Path, Members], Message]
    """Makes the message of what stands in the path and the body."""
    write: Callable[[Any], Any] = write_message
    """Makes JSON of the response."""
    status: Callable[[Any], int] = lambda response: 200
    """Says the status of a response that is no error."""
    body: str = ""
    """The schema of the body; nothing for none."""
    answer: str
    """The schema of the answer."""

    def begin(self, path: Path, header_length: str | None, body: bytes) -> Conversion:
        """Return the conversion of one request.

        Raises:
            InvalidArgument: there is a body where none is read.
        """
        if self.method == "GET" and body:
            raise InvalidArgument(f"expected no body with GET, received {len(body)} bytes")
        if self.rpc == "ModelInfer":
            return Inference(path["name"], path.get("version", ""), body, header_length)
        return _Simple(self, path, body)


class _Simple:
    """A request whose JSON is small."""

    def __init__(self, operation: Operation, path: Path, body: bytes) -> None:
        self._operation = operation
        self._path = path
        self._body = body

    def read(self) -> Message:
        return self._operation.read(self._path, read_object(self._body))

    def write(self, response: Any) -> Content:
        return Content(orjson.dumps(self._operation.write(response)), status=self._operation.status(response))


def _by_path(kind: type[Message]) -> Callable[[Path, Members], Message]:
    """Return what makes a message of what stands in the path alone."""

    def read(path: Path, members: Members) -> Message:
        if members:
            raise InvalidArgument(f"expected no members, received {quote_all(list(members))}")
        return fill_message(kind(), path)

    return read


def _nothing(response: Message) -> dict[str, Any]:
    return {}


def _write_ready(response: pb.ModelReadyResponse) -> dict[str, Any]:
    return write_message(response) if response.ready else {"ready": False, "error": "the model is not ready"}


def _status_of_ready(response: pb.ModelReadyResponse) -> int:
    return 200 if response.ready else 503


def _write_config(response: pb.ModelConfigResponse) -> dict[str, Any]:
    return write_message(response.config)


def _write_load(response: pb.RepositoryModelLoadResponse) -> dict[str, Any]:
    return {"name": response.model_name, "load": response.isLoaded}


def _write_unload(response: pb.RepositoryModelUnloadResponse) -> dict[str, Any]:
    return {"name": response.model_name, "unload": response.isUnloaded}


def _no_members(path: Path, members: Members) -> Message:
    raise NotImplementedError  # an inference has a conversion of its own


_SYSTEM, _CUDA = "/v2/systemsharedmemory", "/v2/cudasharedmemory"

OPERATIONS = (
    Operation(
        method="GET",
        paths=("/v2",),
        rpc="ServerMetadata",
        tag="server",
        summary="The server's name, version and extensions of the protocol",
        read=_by_path(pb.ServerMetadataRequest),
        answer="ServerMetadataResponse",
    ),
    Operation(
        method="GET",
        paths=("/v2/models/stats", MODEL + "/stats", VERSION + "/stats"),
        rpc="ModelStatistics",
        tag="models",
        summary="How many inferences there were, and how long they took",
        read=_by_path(pb.ModelStatisticsRequest),
        answer="ModelStatisticsResponse",
    ),
    Operation(
        method="GET",
        paths=(MODEL, VERSION),
        rpc="ModelMetadata",
        tag="models",
        summary="A model's inputs and default outputs",
        read=_by_path(pb.ModelMetadataRequest),
        answer="ModelMetadataResponse",
    ),
    Operation(
        method="GET",
        paths=(MODEL + "/ready", VERSION + "/ready"),
        rpc="ModelReady",
        tag="models",
        summary="Whether a model takes requests",
        read=_by_path(pb.ModelReadyRequest),
        write=_write_ready,
        status=_status_of_ready,
        answer="ModelReadyResponse",
    ),
    Operation(
        method="GET",
        paths=(MODEL + "/config", VERSION + "/config"),
        rpc="ModelConfig",
        tag="models",
        summary="A model's configuration, in Triton's words",
        read=_by_path(pb.ModelConfigRequest),
        write=_write_config,
        answer="ModelConfig",
    ),
    Operation(
        method="POST",
        paths=(MODEL + "/infer", VERSION + "/infer"),
        rpc="ModelInfer",
        tag="inference",
        summary="Compute layers, or the prediction where no outputs are named",
        read=_no_members,
        body="InferRequest",
        answer="InferResponse",
    ),
    Operation(
        method="POST",
        paths=("/v2/repository/index",),
        rpc="RepositoryIndex",
        tag="repository",
        summary="Every version in the model repository, served or not",
        read=forms.read_index,
        write=forms.write_index,
        body="RepositoryIndexRequest",
        answer="RepositoryIndex",
    ),
    Operation(
        method="POST",
        paths=("/v2/repository/models/{name}/load",),
        rpc="RepositoryModelLoad",
        tag="repository",
        summary="Serve what the model repository holds of a model now",
        read=forms.read_load,
        write=_write_load,
        body="RepositoryParameters",
        answer="RepositoryModelLoadResponse",
    ),
    Operation(
        method="POST",
        paths=("/v2/repository/models/{name}/unload",),
        rpc="RepositoryModelUnload",
        tag="repository",
        summary="Serve a model no longer",
        read=forms.read_unload,
        write=_write_unload,
        body="RepositoryParameters",
        answer="RepositoryModelUnloadResponse",
    ),
    Operation(
        method="GET",
        paths=("/v2/trace/setting", MODEL + "/trace/setting"),
        rpc="TraceSetting",
        tag="operations",
        summary="What is traced",
        read=forms.read_trace_settings,
        write=forms.write_trace_settings,
        answer="TraceSettings",
    ),
    Operation(
        method="POST",
        paths=("/v2/trace/setting", MODEL + "/trace/setting"),
        rpc="TraceSetting",
        tag="operations",
        summary="Change what is traced",
        read=forms.read_trace_settings,
        write=forms.write_trace_settings,
        body="TraceSettings",
        answer="TraceSettings",
    ),
    Operation(
        method="GET",
        paths=("/v2/logging",),
        rpc="LogSettings",
        tag="operations",
        summary="What is logged",
        read=forms.read_log_settings,
        write=forms.write_log_settings,
        answer="LogSettings",
    ),
    Operation(
        method="POST",
        paths=("/v2/logging",),
        rpc="LogSettings",
        tag="operations",
        summary="Change what is logged",
        read=forms.read_log_settings,
        write=forms.write_log_settings,
        body="LogSettings",
        answer="LogSettings",
    ),
    Operation(
        method="GET",
        paths=(_SYSTEM + "/status", _SYSTEM + "/region/{name}/status"),
        rpc="SystemSharedMemoryStatus",
        tag="shared memory",
        summary="The regions of system memory that are registered",
        read=_by_path(pb.SystemSharedMemoryStatusRequest),
        write=forms.write_regions,
        answer="SystemRegions",
    ),
    Operation(
        method="POST",
        paths=(_SYSTEM + "/region/{name}/register",),
        rpc="SystemSharedMemoryRegister",
        tag="shared memory",
        summary="Register a region of system memory",
        read=forms.read_system_region,
        write=_nothing,
        body="SystemRegion",
        answer="Nothing",
    ),
    Operation(
        method="POST",
        paths=(_SYSTEM + "/unregister", _SYSTEM + "/region/{name}/unregister"),
        rpc="SystemSharedMemoryUnregister",
        tag="shared memory",
        summary="Unregister a region of system memory, or all",
        read=_by_path(pb.SystemSharedMemoryUnregisterRequest),
        write=_nothing,
        body="Nothing",
        answer="Nothing",
    ),
    Operation(
        method="GET",
        paths=(_CUDA + "/status", _CUDA + "/region/{name}/status"),
        rpc="CudaSharedMemoryStatus",
        tag="shared memory",
        summary="The regions of CUDA memory that are registered",
        read=_by_path(pb.CudaSharedMemoryStatusRequest),
        write=forms.write_regions,
        answer="CudaRegions",
    ),
    Operation(
        method="POST",
        paths=(_CUDA + "/region/{name}/register",),
        rpc="CudaSharedMemoryRegister",
        tag="shared memory",
        summary="Register a region of CUDA memory",
        read=forms.read_cuda_region,
        write=_nothing,
        body="CudaRegion",
        answer="Nothing",
    ),
    Operation(
        method="POST",
        paths=(_CUDA + "/unregister", _CUDA + "/region/{name}/unregister"),
        rpc="CudaSharedMemoryUnregister",
        tag="shared memory",
        summary="Unregister a region of CUDA memory, or all",
        read=_by_path(pb.CudaSharedMemoryUnregisterRequest),
        write=_nothing,
        body="Nothing",
        answer="Nothing",
    ),
)
