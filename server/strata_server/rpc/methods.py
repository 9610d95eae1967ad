"""What an RPC is, apart from how its bytes travel, so that the transport can be exchanged."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from strata_server.deadline import Deadline
from strata_server.engine import Answer, Question
from strata_server.errors import StrataError


@dataclass(frozen=True, slots=True)
class Pending:
    """A response that waits for a run."""

    question: Question
    write: Callable[[Answer], Message | bytes]


@dataclass(frozen=True, slots=True)
class Deferred:
    """A response that waits for something else than a run, such as a change in all workers."""

    future: Future[Any]
    write: Callable[[Any], Message]
    """Makes the response of the future's result; the future's error is told instead."""


Response: TypeAlias = Message | Pending | Deferred
Handler: TypeAlias = Callable[[Any, Any, Deadline], Response]
"""Takes what its service works with, such as the engine, a request message and how long its caller waits; raises a
StrataError."""


class Shortcut(Protocol):
    """Handles requests that are like one that has come before, without parsing them."""

    @property
    def edition(self) -> int:
        """What was remembered under another number counts no more."""

    def find(self, data: bytes, deadline: Deadline) -> Pending | None:
        """Handle a request by its bytes, or return None: it has to be parsed; errors as a handler's."""

    def keep(self, data: bytes, request: Any, pending: Pending, edition: int) -> None:
        """Remember how a request was handled, which began under an edition."""


def always(request: Any) -> bool:
    """Say that whatever is asked may take its time."""
    return True


@dataclass(frozen=True)
class Rpc:
    """One RPC as a service declares it: how its requests become responses."""

    handler: Handler
    is_heavy: Callable[[Any], bool] = always
    """Whether to handle a request takes more than some hundred microseconds; it is then kept off the receiving
    thread. What is computed by a network does not count."""
    shortcut: Shortcut | None = None
    fail: Callable[[Any, StrataError], Message] | None = None
    """Of a stream: the response that tells an error, if an error does not end the stream."""
    is_inference: bool = False
    """Whether its requests ask for a run, and are counted."""


@dataclass(frozen=True)
class Method:
    """One RPC: a request and a response, or a stream of requests with a response to each."""

    service: str
    """The full name of its service, such as strata.v1.CatalogService."""
    name: str
    request: type[Message]
    handle: Callable[[Message, Deadline], Response]
    is_heavy: Callable[[Any], bool] = always
    shortcut: Shortcut | None = None
    fail: Callable[[Any, StrataError], Message] | None = None
    is_stream: bool = False
    is_inference: bool = False
    ends_with_server: bool = True
    """Whether a server that stops takes no more of them, and waits for those that it has."""

    @property
    def path(self) -> str:
        """As it stands in a call."""
        return f"/{self.service}/{self.name}"


@dataclass(frozen=True)
class Watch:
    """An RPC that answers one request again and again, until its caller hangs up."""

    service: str
    name: str
    request: type[Message]
    begin: Callable[[Message, Callable[[bytes], None]], Callable[[], None]]
    """Takes the request and what sends a response; returns what ends it."""

    @property
    def path(self) -> str:
        """As it stands in a call."""
        return f"/{self.service}/{self.name}"


def bind_methods(service: ServiceDescriptor, works: object, rpcs: Mapping[str, Rpc]) -> list[Method]:
    """Return the methods of a service, each with what handles the RPC of its name.

    Args:
        service: whose RPCs they are.
        works: what each handler takes first.
        rpcs: by name.

    Raises:
        KeyError: an RPC without a handler, or a handler without an RPC.
    """
    if set(rpcs) != set(service.methods_by_name):
        raise KeyError(f"{service.full_name}: handlers {sorted(rpcs)}, RPCs {sorted(service.methods_by_name)}")
    return [
        Method(
            service.full_name,
            name,
            GetMessageClass(declared.input_type),
            partial(rpcs[name].handler, works),
            rpcs[name].is_heavy,
            rpcs[name].shortcut,
            rpcs[name].fail,
            declared.client_streaming,
            rpcs[name].is_inference,
        )
        for name, declared in service.methods_by_name.items()
    ]
