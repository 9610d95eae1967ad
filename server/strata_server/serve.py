"""The life of the server: take the ports, load the models, serve, drain, end."""

import gc
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain

from google.protobuf.internal import api_implementation

from strata_server.addresses import Address, listen, resolve_host
from strata_server.board import State
from strata_server.control import Change, Subject
from strata_server.engine import Engine
from strata_server.errors import StartError
from strata_server.following import Follower, Leader
from strata_server.gauges import Gauges
from strata_server.http.app import make_app
from strata_server.http.metrics import metrics_route
from strata_server.http.rest import Rest
from strata_server.http.server import HttpServer
from strata_server.logs import SUBJECT as LOG
from strata_server.logs import Logs
from strata_server.opening import Opener
from strata_server.regions import SUBJECT as SHARED_MEMORY
from strata_server.regions import Regions
from strata_server.repository import Repository
from strata_server.rpc.open_inference.facilities import Facilities
from strata_server.rpc.open_inference.service import open_inference_services
from strata_server.rpc.server import GrpcServer
from strata_server.rpc.strata import strata_services
from strata_server.runtime import Device, choose_device
from strata_server.settings import Settings
from strata_server.shelf import MODELS, Shelf
from strata_server.stopping import StopSignal
from strata_server.tallies import Tallies
from strata_server.traces import SUBJECT as TRACE
from strata_server.traces import Traces
from strata_server.trials import Trials
from strata_server.version import Version
from strata_server.warming import Warming
from strata_server.worker import Alone, Place, Worker

_PATIENCE_S = 30.0  # for a change of little

log = logging.getLogger(__name__)


def serve(settings: Settings, stop: StopSignal, trials: Trials) -> None:
    """Serve until the signal comes, then finish the open calls.

    Args:
        settings: how the server runs.
        stop: the signal.
        trials: of artifacts, before they are served.

    Raises:
        StartError: a port or the models cannot be had.
        Stopped: the signal came before the server was ready.
    """
    host = resolve_host(settings.host)
    alone, tallies = Alone(), Tallies()
    grpc = _take_port(settings, Address(host, settings.grpc_port), alone.beat, tallies)
    http = HttpServer(listen(Address(host, settings.http_port)))
    _serve(settings, stop, Server(host, grpc, http, alone, Leader(settings, trials), tallies))


def serve_as_worker(settings: Settings, stop: StopSignal, place: Place) -> None:
    """Serve on ports that other processes share; arguments and errors as in `serve`, and the place among them."""
    host = resolve_host(settings.host)
    worker, tallies = Worker(place), Tallies(place.tallies, place.index, place.workers)
    grpc = _take_port(settings, Address(host, place.grpc_port), worker.beat, tallies, shares_port=True)
    http = HttpServer(socket.socket(fileno=place.http_socket))
    _serve(
        settings,
        stop,
        Server(host, grpc, http, worker, Follower(place.control, is_first=bool(place.is_first)), tallies),
    )


@dataclass(frozen=True)
class Server:
    """What a process serves with."""

    host: str
    grpc: GrpcServer
    http: HttpServer
    worker: Worker | Alone
    leader: Leader | Follower
    tallies: Tallies


def _take_port(
    settings: Settings, address: Address, beat: Callable[[], None], tallies: Tallies, *, shares_port: bool = False
) -> GrpcServer:
    return GrpcServer(
        address,
        max_message_bytes=settings.limits.max_message_bytes,
        transport=settings.transport,
        batches=settings.batches,
        shares_port=shares_port,
        beat=beat,
        tallies=tallies,
    )


def _serve(settings: Settings, stop: StopSignal, server: Server) -> None:
    """Serve with ports that are taken: a taken one was found before minutes of loading."""
    _check_protobuf()
    rest = Rest(server.worker.lack, settings.limits.max_message_bytes)
    # /healthz answers while models load.
    hosts = [settings.host, *settings.http_hosts]
    server.http.start(make_app(server.worker.lack, rest, hosts, [metrics_route(server.tallies)]))
    try:
        device = choose_device(settings.devices)
        repository = Repository()
        facilities = _equip(settings, Engine(repository, settings.limits, server.tallies), server)
        shelf = _load(settings, device, facilities, server, stop)
        open_inference = open_inference_services(facilities)
        server.leader.go_on()
        _drop_lost_regions(facilities)
        server.grpc.start({**strata_services(facilities.engine, facilities.control), **open_inference})
        rest.open(chain(*open_inference.values()), server.grpc.dispatcher, server.grpc.calls)
        repository.follow(partial(_tell_state, server.worker, shelf))
        _tell_state(server.worker, shelf)
        ports = f"grpc {Address(server.host, server.grpc.port)}, http {Address(server.host, server.http.port)}"
        print(f"strata-server ready: {ports}, device {device.name}, models {_list(repository)}", flush=True)
        stop.wait()
        log.info("stopping: waiting for open calls")
        server.worker.set(State.STOPPING)
        rest.drain.begin()
        server.leader.end()
        if not server.grpc.stop(settings.drain_s):
            log.warning("calls still open after %d s were cut off", settings.drain_s)
            rest.drain.cut_off()
            server.http.stop()
            logging.shutdown()
            # Their threads go on computing, and an orderly exit would wait for them.
            os._exit(0)
    finally:
        server.leader.end()
        server.http.stop()


def _drop_lost_regions(facilities: Facilities) -> None:
    """Unregister in all processes what this one cannot open any more: what one has, all have."""
    if facilities.regions and facilities.regions.lost:
        change = Change(SHARED_MEMORY, dict.fromkeys(facilities.regions.lost))
        facilities.control.change(change).result(_PATIENCE_S)


def _equip(settings: Settings, engine: Engine, server: Server) -> Facilities:
    """Return what the Open Inference RPCs work with."""
    regions = None
    if settings.allow_shared_memory:
        regions = Regions(settings.shared_memory_prefix, settings.limits.max_message_bytes)
    return Facilities(engine, server.leader.control, Logs(logging.getLogger().handlers), Traces(), regions)


def _tell_state(worker: Worker | Alone, shelf: Shelf) -> None:
    """Tell whether requests are answered as the other workers answer them."""
    worker.set(State.LACKING if shelf.lacks else State.READY)


def _load(settings: Settings, device: Device, facilities: Facilities, server: Server, stop: StopSignal) -> Shelf:
    """Let all that can be changed follow changes, the repository with the models that are there at the start."""
    repository = facilities.engine.repository
    opener = Opener(settings, device)
    warming = Warming(settings.slices.warm)

    def prepare(version: Version) -> None:
        server.tallies.admit(version.model, version.number)
        warming.prepare(version)

    def retire(version: Version) -> None:
        server.grpc.batcher.retire(version, partial(release, version))

    def release(version: Version) -> None:
        opener.sessions.release(version)
        server.tallies.retire(version.model, version.number)

    shelf = Shelf(repository, opener, prepare, retire)
    subjects: dict[str, Subject] = {MODELS: shelf, LOG: facilities.logs, TRACE: facilities.traces}
    if facilities.regions:
        subjects[SHARED_MEMORY] = facilities.regions
    server.leader.begin(subjects, stop.check)
    stop.check()
    if server.leader.is_first:
        if settings.repository == "fixed" and not repository.versions:
            raise StartError("none of the models could be opened; the log says why")
        _check_warming(settings, warming, repository)
    server.tallies.sweep()
    Gauges(server.tallies, opener.sessions, lambda: server.grpc.calls.open).start()
    # What was loaded stays for long: looking through it for garbage again and again would hold requests up.
    gc.collect()
    gc.freeze()
    return shelf


def _check_warming(settings: Settings, warming: Warming, repository: Repository) -> None:
    """Refuse to start where a slice is to be warm that no model has; where models change, one may come that has it."""
    try:
        warming.check(repository)
    except StartError as error:
        if settings.repository == "fixed":
            raise
        log.warning("%s", error)


def _list(repository: Repository) -> str:
    return ", ".join(f"{version.model}:{version.number}" for version in repository.versions) or "none"


def _check_protobuf() -> None:
    """Refuse the slow parser: only upb bounds how deep a message may nest."""
    if api_implementation.Type() != "upb":
        raise StartError(f"expected protobuf's parser upb, found {api_implementation.Type()}; reinstall protobuf")
