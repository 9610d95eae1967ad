"""The process in which artifacts are tried; `trials` starts it."""

import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from strata_server.configuration.model_settings import ModelSettings
from strata_server.errors import ArtifactError
from strata_server.opening import Opener
from strata_server.runtime import choose_device
from strata_server.settings import BatchSettings, DeviceSettings, Settings
from strata_server.warming import Warming

_LONGEST_REASON = 2000
_PR_SET_PDEATHSIG = 1


def serve_trials() -> None:
    """Try what the other end of a socket names, until it closes."""
    told = json.loads(sys.argv[2])
    with socket.socket(fileno=int(sys.argv[1])) as orders, orders.makefile("rw", encoding="utf-8") as lines:
        for line in lines:
            verdict = _try(told, json.loads(line), orders)
            with suppress(OSError):
                lines.write(json.dumps(verdict) + "\n")
                lines.flush()


def _try(told: dict[str, Any], order: dict[str, Any], orders: socket.socket) -> dict[str, str]:
    source, sink = os.pipe()
    child = os.fork()
    if not child:
        _die_with_parent()
        os.close(source)
        os.close(orders.fileno())  # whoever waits at the other end is to see when the parent ends
        _end_with(sink, _open(told, order))
    os.close(sink)
    text = _read(source, orders, told["timeout_s"])
    os.close(source)
    if text is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if text is None:
        return {"reason": f"it has not answered within {told['timeout_s']} s"}
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return {"reason": f"it crashes the process that runs it, with {name}"}
    with suppress(ValueError):
        verdict: dict[str, str] = json.loads(text)
        return verdict
    return {"reason": f"the process that ran it ended with status {os.waitstatus_to_exitcode(status)}"}


def _die_with_parent() -> None:
    """Have this process killed when the one that has started it is."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _read(source: int, orders: socket.socket, timeout_s: float) -> bytes | None:
    """Return what is written until the pipe ends; None if it does not end in time, or nobody wants to know."""
    until, parts = time.monotonic() + timeout_s, list[bytes]()
    while True:
        # Of orders there is one at a time: what comes there meanwhile is their end.
        ready = select.select([source, orders.fileno()], [], [], max(0.0, until - time.monotonic()))[0]
        if source not in ready:
            return None
        part = os.read(source, 2**16)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _open(told: dict[str, Any], order: dict[str, Any]) -> dict[str, str]:
    """Return the digest of an artifact that can be served, or the reason why it cannot."""
    devices = DeviceSettings(
        device=told["device"],
        threads=told["threads"],
        spinning=told["spinning"],
        cuda_algorithm_search=told["cuda_algorithm_search"],
        cuda_memory_bytes=told["cuda_memory_bytes"],
    )
    settings = Settings(
        models=Path(told["models"]),
        allow_external_data=told["allow_external_data"],
        devices=devices,
        batches=BatchSettings(rows=told["batch_rows"]),
    )
    try:
        opener = Opener(settings, choose_device(devices))
        path, model_settings = Path(order["path"]), ModelSettings.read(order["settings"])
        version = opener.open(order["model"], order["number"], path, model_settings)
        Warming(told["warm"]).prepare(version)
        return {"digest": version.digest}
    except ArtifactError as error:
        return {"reason": str(error)[:_LONGEST_REASON]}
    except Exception as error:  # noqa: BLE001 - whatever it is, this artifact is not served
        print(f"trial of {order['path']}: {error!r}", file=sys.stderr)
        return {"reason": f"loading it failed unexpectedly: {type(error).__name__}"}


def _end_with(sink: int, verdict: dict[str, str]) -> None:
    with open(sink, "wb") as words:
        words.write(json.dumps(verdict).encode())
    sys.stderr.flush()
    os._exit(0)  # an orderly exit would run what the parent has to run at its own
