"""What an RPC is, apart from how its bytes travel, so that the transport can be exchanged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from strata_server.deadline import Deadline
from strata_server.engine import Engine

Handler = Callable[[Engine, Any, Deadline], Message]
"""Takes the engine, a request message and how long its caller waits; returns a response, raises a StrataError."""


@dataclass(frozen=True)
class Method:
    """One unary RPC."""

    service: str
    """The full name of its service, such as strata.v1.CatalogService."""
    name: str
    request: type[Message]
    handle: Callable[[Message, Deadline], Message]


def bind_methods(service: ServiceDescriptor, engine: Engine, handlers: Mapping[str, Handler]) -> list[Method]:
    """Return the methods of a service, each with the handler of its name.

    Raises:
        KeyError: an RPC without a handler, or a handler without an RPC.
    """
    if set(handlers) != set(service.methods_by_name):
        raise KeyError(f"{service.full_name}: handlers {sorted(handlers)}, RPCs {sorted(service.methods_by_name)}")
    return [
        Method(service.full_name, name, GetMessageClass(rpc.input_type), partial(handlers[name], engine))
        for name, rpc in service.methods_by_name.items()
    ]
