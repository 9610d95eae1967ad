"""An inference in JSON, with binary tensors behind it, as messages of the protocol."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from strata_server.errors import InvalidArgument, OverLimit, quote
from strata_server.http.content import Content
from strata_server.http.elements import encode, pack, unpack
from strata_server.http.messages import check_object, check_string, read_json, show
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from strata_server.rpc.open_inference.datatypes import CONTENTS

# JSON is read and written while nothing else in the process is: a tenth of a second for so much.
MOST_JSON_BYTES = 16 * 2**20

_REGION = "shared_memory_region"
_SIZE = "binary_data_size"
_BINARY, _ALL_BINARY = "binary_data", "binary_data_output"
_MEMBERS = ("id", "parameters", "inputs", "outputs", "model_name", "model_version")
_INPUT_MEMBERS = ("name", "shape", "datatype", "parameters", "data")
_OUTPUT_MEMBERS = ("name", "parameters")


class Inference:
    """One request, and the form in which its outputs are wanted."""

    def __init__(self, model: str, version: str, body: bytes, header_length: str | None) -> None:
        """Take a request as it came.

        Args:
            model: its name, from the path.
            version: the same; empty for the default one.
            body: JSON, and binary tensors behind it.
            header_length: the header Inference-Header-Content-Length: how many bytes are JSON; None for all.
        """
        self._model = model
        self._version = version
        self._body = body
        self._header_length = header_length
        self._all_binary = False
        self._binary: dict[str, bool] = {}

    def read(self) -> pb.ModelInferRequest:
        """Return the message.

        Raises:
            InvalidArgument: the request cannot be meant.
            OverLimit: its JSON is too long.
        """
        length = self._read_header_length()
        if length > MOST_JSON_BYTES:
            raise OverLimit(
                f"expected JSON of at most {MOST_JSON_BYTES} bytes, received {length}; send tensors as binary data"
            )
        json = check_object("the body", read_json(self._body[:length]))
        _check_members("the request", json, _MEMBERS)
        _check_path("model_name", self._model, json)
        _check_path("model_version", self._version, json)
        request = pb.ModelInferRequest(model_name=self._model, model_version=self._version)
        if json.get("id") is not None:
            request.id = check_string("'id'", json["id"])
        parameters = _read_parameters("the request", json)
        self._all_binary = _take_flag(parameters, _ALL_BINARY) or False
        _fill_parameters(request.parameters, parameters)
        raw = _Binary(self._body, length)
        for each in _read_list("inputs", json):
            _read_input(request, each, raw)
        raw.check_end()
        for each in _read_list("outputs", json):
            self._read_output(request, each)
        return request

    def write(self, response: pb.ModelInferResponse) -> Content:
        """Return the answer.

        Raises:
            InvalidArgument: an output is wanted in JSON that JSON has no form for.
            OverLimit: so many values are wanted in JSON.
        """
        json: dict[str, Any] = {"model_name": response.model_name, "model_version": response.model_version}
        if response.id:
            json["id"] = response.id
        if response.parameters:
            json["parameters"] = _write_parameters(response.parameters)
        tail: list[bytes] = []
        in_json = 0
        json["outputs"] = outputs = []
        for output, raw in _pair(response):
            described: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
            parameters = _write_parameters(output.parameters)
            if raw is not None and self._binary.get(output.name, self._all_binary):
                parameters[_SIZE] = len(raw)
                tail.append(raw)
            elif raw is not None:
                in_json += len(raw)
                if in_json > MOST_JSON_BYTES:
                    raise OverLimit(
                        f"expected at most {MOST_JSON_BYTES} bytes of outputs in JSON, received a request for more; "
                        "ask for binary data"
                    )
                described["data"] = unpack(output.name, output.datatype, raw)
            if parameters:
                described["parameters"] = parameters
            outputs.append(described)
        head = orjson.dumps(json, option=orjson.OPT_SERIALIZE_NUMPY)
        return Content(b"".join([head, *tail]), len(head)) if tail else Content(head)

    def _read_header_length(self) -> int:
        if self._header_length is None:
            return len(self._body)
        expected = f"the header Inference-Header-Content-Length: expected a number from 1 to {len(self._body)}"
        text = self._header_length.strip()
        if not (text.isascii() and text.isdigit() and len(text) < 12 and 1 <= int(text) <= len(self._body)):
            raise InvalidArgument(f"{expected}, received {quote(self._header_length)}")
        return int(text)

    def _read_output(self, request: pb.ModelInferRequest, value: Any) -> None:
        json = check_object("an output", value)
        _check_members("an output", json, _OUTPUT_MEMBERS)
        output = request.outputs.add(name=check_string("the name of an output", json.get("name")))
        parameters = _read_parameters(quote(output.name), json)
        flag = _take_flag(parameters, _BINARY)
        if flag is not None:
            self._binary[output.name] = flag
        _fill_parameters(output.parameters, parameters)


class _Binary:
    """The tensors behind the JSON, one after the other."""

    def __init__(self, body: bytes, start: int) -> None:
        self._body = body
        self._place = start

    def take(self, name: str, size: Any) -> bytes:
        """Return the bytes of the next one."""
        left = len(self._body) - self._place
        if type(size) is not int or not 0 <= size <= left:
            expected = f"{quote(name)}: expected {_SIZE} to be a number of bytes up to {left}, which is what is left"
            raise InvalidArgument(f"{expected} behind the JSON, received {show(size)}")
        self._place += size
        return self._body[self._place - size : self._place]

    def check_end(self) -> None:
        """Refuse bytes that no input has asked for."""
        if self._place < len(self._body):
            left = len(self._body) - self._place
            raise InvalidArgument(f"expected as many bytes behind the JSON as the inputs have, received {left} more")


def _read_input(request: pb.ModelInferRequest, value: Any, binary: _Binary) -> None:
    json = check_object("an input", value)
    _check_members("an input", json, _INPUT_MEMBERS)
    name = check_string("the name of an input", json.get("name"))
    datatype = check_string(f"the datatype of {quote(name)}", json.get("datatype"))
    shape = json.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and abs(size) < 2**63 for size in shape):
        raise InvalidArgument(f"{quote(name)}: expected shape to be a list of whole numbers, received {show(shape)}")
    parameters = _read_parameters(quote(name), json)
    size = parameters.pop(_SIZE, None)
    places = [place for place, there in (("data", json.get("data")), (_SIZE, size)) if there is not None]
    places += [_REGION] if _REGION in parameters else []
    if len(places) != 1:
        received = " and ".join(places) or "none"
        raise InvalidArgument(f"{quote(name)}: expected data, {_SIZE} or {_REGION}, received {received}")
    tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
    _fill_parameters(tensor.parameters, parameters)
    if size is not None:
        request.raw_input_contents.append(binary.take(name, size))
    elif _REGION not in parameters:
        request.raw_input_contents.append(pack(name, datatype, shape, json["data"]))


def _pair(
    response: pb.ModelInferResponse,
) -> Iterator[tuple[pb.ModelInferResponse.InferOutputTensor, bytes | None]]:
    """Yield each output with its bytes; None where they lie in shared memory."""
    raw = list(response.raw_output_contents)
    for place, output in enumerate(response.outputs):
        if _REGION in output.parameters:  # which has an entry that is empty
            yield output, None
        else:
            yield output, raw[place] if raw else _read_contents(output)


def _read_contents(output: pb.ModelInferResponse.InferOutputTensor) -> bytes:
    """Return the bytes of values that came one by one, as they do where nothing came in bytes."""
    return encode(output.datatype, list(getattr(output.contents, CONTENTS[output.datatype])))


def _check_members(what: str, json: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in json:
        if name not in known:
            raise InvalidArgument(f"{what}: expected members of {', '.join(known)}; received {quote(name)}")


def _check_path(name: str, in_path: str, json: Mapping[str, Any]) -> None:
    """Refuse a body that means another model or version than the path, which is the one that is asked."""
    value = json.get(name)
    if value is not None and check_string(repr(name), value) not in {"", in_path}:
        raise InvalidArgument(f"{name!r}: expected what the path says, {quote(in_path)}; received {quote(value)}")


def _read_list(name: str, json: Mapping[str, Any]) -> list[Any]:
    value = json.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidArgument(f"{name!r}: expected a list, received {show(value)}")
    return value


def _read_parameters(what: str, json: Mapping[str, Any]) -> dict[str, Any]:
    value = json.get("parameters")
    return {} if value is None else check_object(f"the parameters of {what}", value)


def _take_flag(parameters: dict[str, Any], name: str) -> bool | None:
    value = parameters.pop(name, None)
    if value is not None and not isinstance(value, bool):
        raise InvalidArgument(f"the parameter {name!r}: expected true or false, received {show(value)}")
    return value


def _fill_parameters(message: Any, parameters: Mapping[str, Any]) -> None:
    for name, value in parameters.items():
        match value:
            case bool():
                message[name].bool_param = value
            case int() if value >= 2**63:
                message[name].uint64_param = value
            case int():
                message[name].int64_param = value
            case float():
                message[name].double_param = value
            case str():
                message[name].string_param = value
            case _:
                expected = "expected a string, a number, true or false"
                raise InvalidArgument(f"the parameter {quote(name)}: {expected}, received {show(value)}")


def _write_parameters(parameters: Mapping[str, pb.InferParameter]) -> dict[str, Any]:
    written = {}
    for name, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind:
            written[name] = getattr(parameter, kind)
    return written
