"""The life of the server: take the ports, load the models, serve, drain, end."""

import logging
import os
import threading
from functools import partial

from google.protobuf.internal import api_implementation

from strata_server.addresses import Address, resolve_host
from strata_server.engine import Engine
from strata_server.errors import StartError
from strata_server.http.app import make_app
from strata_server.http.server import HttpServer
from strata_server.repository import Repository, load_repository, open_version
from strata_server.rpc.open_inference import open_inference_services
from strata_server.rpc.server import GrpcServer
from strata_server.rpc.strata import strata_services
from strata_server.settings import Settings
from strata_server.stopping import StopSignal

log = logging.getLogger(__name__)


def serve(settings: Settings, stop: StopSignal) -> None:
    """Serve until the signal comes, then finish the open calls.

    Raises:
        StartError: a port or the models cannot be had.
        Stopped: the signal came before the server was ready.
    """
    _check_protobuf()
    ready = threading.Event()
    host = resolve_host(settings.host)
    # Ports first: a taken one is found before minutes of loading. /healthz answers while models load.
    grpc = GrpcServer(Address(host, settings.grpc_port), max_message_bytes=settings.limits.max_message_bytes)
    http = HttpServer(Address(host, settings.http_port))
    http.start(make_app(ready.is_set))
    try:
        _serve(settings, stop, ready, grpc, Address(host, grpc.port), Address(host, http.port))
    finally:
        http.stop()


def _serve(
    settings: Settings,
    stop: StopSignal,
    ready: threading.Event,
    grpc: GrpcServer,
    grpc_address: Address,
    http_address: Address,
) -> None:
    open_one = partial(open_version, threads=settings.threads, max_slices=settings.max_slices)
    repository = load_repository(settings.models, open_one, stop.check)
    stop.check()
    engine = Engine(repository, settings.limits)
    grpc.start({**strata_services(engine), **open_inference_services(engine)})
    ready.set()
    print(f"strata-server ready: grpc {grpc_address}, http {http_address}, models {_list(repository)}", flush=True)
    stop.wait()
    log.info("stopping: waiting for open calls")
    ready.clear()
    if not grpc.stop(settings.drain_s):
        log.warning("calls still open after %d s were cut off", settings.drain_s)
        logging.shutdown()
        # Their threads go on computing, and an orderly exit would wait for them.
        os._exit(0)


def _list(repository: Repository) -> str:
    return ", ".join(f"{version.model}:{version.number}" for version in repository.versions)


def _check_protobuf() -> None:
    """Refuse the slow parser: only upb bounds how deep a message may nest."""
    if api_implementation.Type() != "upb":
        raise StartError(f"expected protobuf's parser upb, found {api_implementation.Type()}; reinstall protobuf")
