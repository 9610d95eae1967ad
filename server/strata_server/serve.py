"""The life of the server: take the ports, load the models, serve, drain, end."""

import gc
import logging
import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from google.protobuf.internal import api_implementation

from strata_server.addresses import Address, listen, resolve_host
from strata_server.artifact import read_artifact
from strata_server.board import State
from strata_server.engine import Engine
from strata_server.errors import StartError, StrataError
from strata_server.http.app import make_app
from strata_server.http.server import HttpServer
from strata_server.repository import Repository, load_repository, warm_version
from strata_server.rpc.open_inference.service import open_inference_services
from strata_server.rpc.server import GrpcServer
from strata_server.rpc.strata import strata_services
from strata_server.runtime import Device, Runtime, choose_device
from strata_server.sessions import Sessions
from strata_server.settings import Settings, SliceSettings
from strata_server.slice_cache import SliceCache
from strata_server.stopping import StopSignal
from strata_server.version import Version
from strata_server.worker import Alone, Place, Worker

log = logging.getLogger(__name__)


def serve(settings: Settings, stop: StopSignal, place: Place | None = None) -> None:
    """Serve until the signal comes, then finish the open calls.

    Args:
        settings: how the server runs.
        stop: the signal.
        place: among the processes that share the ports; None for one that has them alone.

    Raises:
        StartError: a port or the models cannot be had.
        Stopped: the signal came before the server was ready.
    """
    _check_protobuf()
    host = resolve_host(settings.host)
    worker = Worker(place) if place else Alone()
    # Ports first: a taken one is found before minutes of loading. /healthz answers while models load.
    grpc = GrpcServer(
        Address(host, place.grpc_port if place else settings.grpc_port),
        max_message_bytes=settings.limits.max_message_bytes,
        transport=settings.transport,
        batches=settings.batches,
        shares_port=place is not None,
        beat=worker.beat,
    )
    listening = socket.socket(fileno=place.http_socket) if place else listen(Address(host, settings.http_port))
    http = HttpServer(listening)
    http.start(make_app(worker.lack))
    try:
        _serve(settings, stop, worker, grpc, Address(host, grpc.port), Address(host, http.port))
    finally:
        http.stop()


def _serve(
    settings: Settings,
    stop: StopSignal,
    worker: Worker | Alone,
    grpc: GrpcServer,
    grpc_address: Address,
    http_address: Address,
) -> None:
    device = choose_device(settings.devices)
    repository = load_repository(settings.models, _version_opener(settings, device), stop.check)
    stop.check()
    _warm(repository, settings.slices.warm)
    engine = Engine(repository, settings.limits)
    # What was loaded stays: looking through it for garbage again and again would hold requests up.
    gc.collect()
    gc.freeze()
    grpc.start({**strata_services(engine), **open_inference_services(engine)})
    worker.set(State.READY)
    ports = f"grpc {grpc_address}, http {http_address}"
    print(f"strata-server ready: {ports}, device {device.name}, models {_list(repository)}", flush=True)
    stop.wait()
    log.info("stopping: waiting for open calls")
    worker.set(State.STOPPING)
    if not grpc.stop(settings.drain_s):
        log.warning("calls still open after %d s were cut off", settings.drain_s)
        logging.shutdown()
        # Their threads go on computing, and an orderly exit would wait for them.
        os._exit(0)


def _version_opener(settings: Settings, device: Device) -> Callable[[str, int, Path], Version]:
    """Return what loads one version, beside all others that it loads.

    Raises:
        StartError: the slice cache cannot be had.
    """
    runtime = Runtime(device, threads=settings.devices.threads, spinning=settings.devices.spinning)
    sessions = Sessions(settings.slices.memory_bytes)
    cache = _open_cache(settings.slices) if device.name == "cpu" else None

    def open_version(model: str, number: int, path: Path) -> Version:
        artifact = read_artifact(path, allow_external_data=settings.allow_external_data)
        return warm_version(Version(model, number, artifact, runtime, sessions, cache), settings.batches.rows)

    return open_version


def _open_cache(settings: SliceSettings) -> SliceCache | None:
    if settings.cache is None:
        return None
    try:
        return SliceCache(settings.cache, settings.cache_bytes)
    except OSError as error:
        raise StartError(f"--slice-cache {str(settings.cache)!r}: {error.strerror}") from error


def _warm(repository: Repository, wanted: Iterable[tuple[str, str]]) -> None:
    for reference, layers in wanted:
        model, _, version = reference.partition(":")
        names = [name.strip() for name in layers.split(",")]
        try:
            if not model or not all(names) or len(set(names)) < len(names):
                raise StartError("expected a model and the names of layers, each once, joined with commas")
            repository.find(model, version).prepare(names)
        except StrataError as error:
            raise StartError(f"--warm {reference} {layers}: {error}") from error


def _list(repository: Repository) -> str:
    return ", ".join(f"{version.model}:{version.number}" for version in repository.versions)


def _check_protobuf() -> None:
    """Refuse the slow parser: only upb bounds how deep a message may nest."""
    if api_implementation.Type() != "upb":
        raise StartError(f"expected protobuf's parser upb, found {api_implementation.Type()}; reinstall protobuf")
