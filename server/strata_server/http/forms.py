"""The bodies of the protocol's extensions, where HTTP has another form than the messages."""

import base64
from collections.abc import Mapping
from typing import Any, TypeAlias

from strata_server.errors import InvalidArgument, quote
from strata_server.http.messages import check_object, check_string, fill_message, show, write_message
from strata_server.rpc.open_inference import open_inference_pb2 as pb

Path: TypeAlias = Mapping[str, str]
"""What stands in the path: name, version."""
Members: TypeAlias = Mapping[str, Any]
"""The members of the body, a JSON object."""

_FILE = "file:"  # a parameter of a load request that brings a file begins so


def read_index(path: Path, members: Members) -> pb.RepositoryIndexRequest:
    """Read what to list."""
    return fill_message(pb.RepositoryIndexRequest(), members)


def write_index(response: pb.RepositoryIndexResponse) -> list[dict[str, Any]]:
    """Write every version, served or not."""
    return [write_message(each) for each in response.models]


def read_load(path: Path, members: Members) -> pb.RepositoryModelLoadRequest:
    """Read what to load."""
    request = pb.RepositoryModelLoadRequest(model_name=path["name"])
    _fill_parameters(request.parameters, members)
    return request


def read_unload(path: Path, members: Members) -> pb.RepositoryModelUnloadRequest:
    """Read what to unload."""
    request = pb.RepositoryModelUnloadRequest(model_name=path["name"])
    _fill_parameters(request.parameters, members)
    return request


def read_trace_settings(path: Path, members: Members) -> pb.TraceSettingRequest:
    """Read settings: strings, lists of them, or null for what holds without any."""
    request = pb.TraceSettingRequest(model_name=path.get("name", ""))
    for name, value in members.items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        request.settings[name].value.extend(check_string(quote(name), each) for each in values)
    return request


def write_trace_settings(response: pb.TraceSettingResponse) -> dict[str, Any]:
    """Write settings as Triton does: trace_level is a list, the others are strings."""
    return {
        name: list(setting.value) if name == "trace_level" or len(setting.value) != 1 else setting.value[0]
        for name, setting in response.settings.items()
    }


def read_log_settings(path: Path, members: Members) -> pb.LogSettingsRequest:
    """Read settings: strings, whole numbers, true and false."""
    request = pb.LogSettingsRequest()
    for name, value in members.items():
        match value:
            case bool():
                request.settings[name].bool_param = value
            case int() if 0 <= value < 2**32:
                request.settings[name].uint32_param = value
            case str():
                request.settings[name].string_param = value
            case _:
                expected = "expected a string, a whole number from 0 up, true or false"
                raise InvalidArgument(f"{quote(name)}: {expected}, received {show(value)}")
    return request


def write_log_settings(response: pb.LogSettingsResponse) -> dict[str, Any]:
    """Write each setting."""
    return {
        name: getattr(setting, setting.WhichOneof("parameter_choice") or "string_param")
        for name, setting in response.settings.items()
    }


def read_system_region(path: Path, members: Members) -> pb.SystemSharedMemoryRegisterRequest:
    """Read a region to register."""
    return fill_message(pb.SystemSharedMemoryRegisterRequest(), {**members, "name": path["name"]})


def read_cuda_region(path: Path, members: Members) -> pb.CudaSharedMemoryRegisterRequest:
    """Read a region of a device to register; its handle comes as base64."""
    given = dict(members)
    handle = check_object("'raw_handle'", given.pop("raw_handle", None))
    raw = _read_base64("'raw_handle'", check_string("'raw_handle': 'b64'", handle.get("b64")))
    return fill_message(pb.CudaSharedMemoryRegisterRequest(raw_handle=raw), {**given, "name": path["name"]})


def write_regions(
    response: pb.SystemSharedMemoryStatusResponse | pb.CudaSharedMemoryStatusResponse,
) -> list[dict[str, Any]]:
    """Write every region."""
    return [write_message(response.regions[name]) for name in response.regions]


def _fill_parameters(message: Any, members: Members) -> None:
    unknown = set(members) - {"parameters"}
    if unknown:
        raise InvalidArgument(f"expected the member parameters, received {quote(min(unknown))}")
    given = members.get("parameters")
    for name, value in ({} if given is None else check_object("'parameters'", given)).items():
        match value:
            case bool():
                message[name].bool_param = value
            case int() if abs(value) < 2**63:
                message[name].int64_param = value
            case str() if name.startswith(_FILE):
                message[name].bytes_param = _read_base64(f"the parameter {quote(name)}", value)
            case str():
                message[name].string_param = value
            case _:
                expected = "expected a string, a whole number, true or false"
                raise InvalidArgument(f"the parameter {quote(name)}: {expected}, received {show(value)}")


def _read_base64(what: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # of characters that are not even ASCII, too
        raise InvalidArgument(f"{what}: expected base64, received {len(text)} characters that are none") from error
