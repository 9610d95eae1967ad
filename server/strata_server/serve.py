"""The life of the server: take the ports, load the models, serve, drain, end."""

import logging
import signal
import threading
from functools import partial
from types import FrameType

from strata_server.engine import Engine
from strata_server.errors import StartError
from strata_server.http.app import make_app
from strata_server.http.server import HttpServer
from strata_server.repository import Repository, load_repository, open_version
from strata_server.rpc.open_inference import open_inference_methods
from strata_server.rpc.server import GrpcServer
from strata_server.rpc.strata import strata_methods
from strata_server.settings import Settings

log = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish the running calls.

    Raises:
        StartError: a port or the models cannot be had.
    """
    stop = _stop_signal()
    ready = threading.Event()
    # Ports first: a taken one is found before minutes of loading. /healthz answers while models load.
    grpc = GrpcServer(
        f"{settings.host}:{settings.grpc_port}", max_message_bytes=settings.limits.max_message_bytes
    )
    http = HttpServer(settings.host, settings.http_port)
    http.start(make_app(ready.is_set))
    try:
        repository = load_repository(
            settings.models,
            partial(open_version, threads=settings.threads, max_slices=settings.max_slices),
        )
        engine = Engine(repository, settings.limits)
        grpc.start([*strata_methods(engine), *open_inference_methods(engine)])
        ready.set()
        _announce(settings, repository, grpc.port, http.port)
        stop.wait()
        log.info("stopping: waiting for running calls")
    except StartError:
        http.stop()
        raise
    ready.clear()
    if not grpc.stop(settings.drain_s):
        log.warning("calls still running after %g s were cut off", settings.drain_s)
    http.stop()


def _stop_signal() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a signal handler
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop


def _announce(settings: Settings, repository: Repository, grpc_port: int, http_port: int) -> None:
    """Print the one line that says where to ask, and for what."""
    models = ", ".join(f"{version.model}:{version.number}" for version in repository.versions)
    ports = f"grpc {settings.host}:{grpc_port}, http {settings.host}:{http_port}"
    print(f"strata-server ready: {ports}, models {models}", flush=True)
