"""The parameters of requests and of their tensors."""

from collections.abc import Iterable, Mapping

from strata_server.errors import InvalidArgument, quote
from strata_server.rpc.open_inference import open_inference_pb2 as pb

Parameters = Mapping[str, pb.InferParameter]

_LONGEST_TEXT = 1024
_LARGEST = 2**63 - 1


def check_names(where: str, parameters: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a parameter that nothing would heed: whoever sends it believes that something does.

    Args:
        where: what they belong to, for the message.
        parameters: their names.
        known: the names that may be there.

    Raises:
        InvalidArgument: with the unknown name, and the known ones.
    """
    known = tuple(known)
    for name in parameters:
        if name not in known:
            raise InvalidArgument(f"{where}: unknown parameter {quote(name)}; known are {', '.join(known)}")


def read_count(parameters: Parameters, name: str) -> int:
    """Return a number from 0 up; 0 where it is not there.

    Raises:
        InvalidArgument: it is something else.
    """
    value = _read(parameters, name)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
        raise _unfit(name, "a whole number from 0 up", value)
    return value


def read_flag(parameters: Parameters, name: str) -> bool:
    """Return whether something is true; it is not where it is not there.

    Raises:
        InvalidArgument: it is something else than true or false.
    """
    value = _read(parameters, name)
    if value is not None and not isinstance(value, bool):
        raise _unfit(name, "true or false", value)
    return bool(value)


def read_text(parameters: Parameters, name: str) -> str:
    """Return a text; an empty one where it is not there.

    Raises:
        InvalidArgument: it is something else, or longer than anything that is meant.
    """
    value = _read(parameters, name)
    if value is not None and (not isinstance(value, str) or len(value) > _LONGEST_TEXT):
        raise _unfit(name, f"a text of at most {_LONGEST_TEXT} characters", value)
    return str(value or "")


def read_choice(parameters: Parameters, name: str, choices: Iterable[str]) -> str:
    """Return one of some texts; an empty one where it is not there.

    Raises:
        InvalidArgument: it is none of them.
    """
    choices = tuple(choices)
    value = _read(parameters, name)
    if value is not None and value not in choices:
        raise _unfit(name, " or ".join(choices), value)
    return str(value or "")


def read_ranges(parameters: Parameters, name: str) -> tuple[tuple[int, int], ...]:
    """Return ranges such as `0:4,2:6`, each from its start up to but without its stop; none where it is not there.

    Raises:
        InvalidArgument: it is something else.
    """
    text = read_text(parameters, name)
    if not text:
        return ()
    ranges = []
    for part in text.split(","):
        start, _, stop = part.strip().partition(":")
        if not all(each.isascii() and each.isdecimal() and len(each) < 19 for each in (start, stop)):
            raise _unfit(name, "START:STOP for each dimension, with commas between them", text)
        ranges.append((int(start), int(stop)))
    return tuple(ranges)


def _read(parameters: Parameters, name: str) -> bool | int | float | str | None:
    if name not in parameters:
        return None
    parameter = parameters[name]
    kind = parameter.WhichOneof("parameter_choice")
    if kind is None:
        raise InvalidArgument(f"the parameter {name!r}: expected a value, received none")
    value: bool | int | float | str = getattr(parameter, kind)
    return value


def _unfit(name: str, expected: str, value: object) -> InvalidArgument:
    received = quote(value) if isinstance(value, str) else repr(value)
    return InvalidArgument(f"the parameter {name!r}: expected {expected}, received {received}")
