"""Messages as JSON, and small messages from it, by their descriptors."""

import base64
from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from strata_server.errors import InvalidArgument, quote

_Any = TypeVar("_Any", bound=Message)

_TYPES: dict[int, tuple[type, str]] = {
    FieldDescriptor.CPPTYPE_BOOL: (bool, "true or false"),
    FieldDescriptor.CPPTYPE_STRING: (str, "a string"),
}
_INTEGER = (int, "a whole number")


def write_message(message: Message) -> dict[str, Any]:
    """Return a message as JSON has it: every field under its own name, whole numbers as numbers, enums by name.

    A message or a choice that is not there is left out.
    """
    return {
        field.name: _write_field(message, field)
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def fill_message(message: _Any, values: Mapping[str, Any]) -> _Any:
    """Return a message whose simple fields have got values from JSON.

    Raises:
        InvalidArgument: it has no such field, or another value was expected.
    """
    fields = message.DESCRIPTOR.fields_by_name
    for name, value in values.items():
        field = fields.get(name)
        if field is None:
            raise InvalidArgument(f"expected members of {', '.join(fields)}; received {quote(name)}")
        kind, words = _TYPES.get(field.cpp_type, _INTEGER)
        if type(value) is not kind:
            raise InvalidArgument(f"{quote(name)}: expected {words}, received {show(value)}")
        try:
            setattr(message, name, value)
        except (ValueError, TypeError) as error:
            raise InvalidArgument(f"{quote(name)}: expected {words} that fits, received {show(value)}") from error
    return message


def read_json(text: bytes) -> Any:
    """Return what a stranger's JSON says.

    Raises:
        InvalidArgument: it is none, or nested too deep.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument(f"expected JSON, received {len(text)} bytes that are none: {error.msg}") from error


def read_object(text: bytes) -> dict[str, Any]:
    """Return the members of a JSON object; none of an empty text.

    Raises:
        InvalidArgument: it is another thing.
    """
    return check_object("the body", read_json(text)) if text.strip() else {}


def check_object(what: str, value: Any) -> dict[str, Any]:
    """Return a value that must be a JSON object.

    Raises:
        InvalidArgument: it is another thing.
    """
    if not isinstance(value, dict):
        raise InvalidArgument(f"{what}: expected an object, received {show(value)}")
    return value


def check_string(what: str, value: Any) -> str:
    """Return a value that must be a string.

    Raises:
        InvalidArgument: it is another thing.
    """
    if not isinstance(value, str):
        raise InvalidArgument(f"{what}: expected a string, received {show(value)}")
    return value


def show(value: Any) -> str:
    """Return a stranger's value for a message: a simple one as it is, quoted, of another its kind."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return quote(value) if isinstance(value, str) else orjson.dumps(value).decode()


def _write_field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if not field.is_repeated:
        return _write_value(field, value)
    entry = field.message_type
    if entry and entry.GetOptions().map_entry:
        values = entry.fields_by_name["value"]
        return {str(key): _write_value(values, value[key]) for key in value}
    return [_write_value(field, each) for each in value]


def _write_value(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type:
        return write_message(value)
    if field.enum_type:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else value
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
