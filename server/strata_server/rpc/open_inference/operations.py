"""The RPCs that change what a running server logs and traces."""

from strata_server.control import Change, Json
from strata_server.deadline import Deadline
from strata_server.errors import InvalidArgument, quote
from strata_server.logs import SUBJECT as LOG
from strata_server.logs import check_log_setting
from strata_server.rpc.methods import Deferred
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from strata_server.rpc.open_inference.facilities import Facilities
from strata_server.traces import SUBJECT as TRACE
from strata_server.traces import check_trace_setting


def log_settings(
    facilities: Facilities, request: pb.LogSettingsRequest, deadline: Deadline
) -> Deferred | pb.LogSettingsResponse:
    """Set what is given of the log's settings, and return all."""
    if not request.settings:
        return _write_logs(facilities)
    values = {name: _read_log_setting(name, setting) for name, setting in request.settings.items()}
    return Deferred(facilities.control.change(Change(LOG, values)), lambda _: _write_logs(facilities))


def trace_setting(
    facilities: Facilities, request: pb.TraceSettingRequest, deadline: Deadline
) -> Deferred | pb.TraceSettingResponse:
    """Set what is given of the settings of traces, of a model or of all others, and return them."""
    model = request.model_name
    if model:
        model = facilities.engine.repository.find(model).model
    if not request.settings:
        return _write_traces(facilities, model)
    values: dict[str, Json] = {}
    for name, setting in request.settings.items():
        value = list(setting.value) or None
        check_trace_setting(name, value)
        values[f"{model}/{name}"] = list[Json](value) if value else None
    change = Change(TRACE, values)
    return Deferred(facilities.control.change(change), lambda _: _write_traces(facilities, model))


def _read_log_setting(name: str, setting: pb.LogSettingsRequest.SettingValue) -> Json:
    kind = setting.WhichOneof("parameter_choice")
    if kind is None:
        raise InvalidArgument(f"log setting {quote(name)}: expected a value, received none")
    value: bool | int | str = getattr(setting, kind)
    check_log_setting(name, value)
    return value


def _write_logs(facilities: Facilities) -> pb.LogSettingsResponse:
    response = pb.LogSettingsResponse()
    for name, value in facilities.logs.settings.items():
        match value:
            case bool():
                response.settings[name].bool_param = value
            case int():
                response.settings[name].uint32_param = value
            case _:
                response.settings[name].string_param = str(value)
    return response


def _write_traces(facilities: Facilities, model: str) -> pb.TraceSettingResponse:
    response = pb.TraceSettingResponse()
    for name, value in facilities.traces.settings(model).items():
        response.settings[name].value.extend(value)
    return response
