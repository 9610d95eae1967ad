import os

# The wheels send telemetry unless this is set before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

import onnxruntime

from strata_server.slicing import Slice


class Sessions:
    """The sessions of one version, one for each slice that was asked for.

    Each is made once, also when many ask for it at the same moment, and kept. Of those that are not pinned,
    the one that was not used for the longest time makes room for a new one.
    """

    def __init__(self, cut: Callable[[Slice], bytes], *, threads: int, most: int) -> None:
        self._cut = cut
        self._threads = threads
        self._most = most
        self._kept: OrderedDict[Slice, Future[onnxruntime.InferenceSession]] = OrderedDict()
        self._pinned: dict[Slice, onnxruntime.InferenceSession] = {}
        self._lock = threading.Lock()

    def pin(self, wanted: Slice) -> None:
        """Make the session for a slice now, and never let it go; to be called before the first `get`."""
        self._pinned[wanted] = self._make(wanted)

    def get(self, wanted: Slice) -> onnxruntime.InferenceSession:
        """Return the session that runs a slice; the first who asks makes it, the others wait."""
        if wanted in self._pinned:
            return self._pinned[wanted]
        with self._lock:
            first = wanted not in self._kept
            session = self._kept.setdefault(wanted, Future())
            self._kept.move_to_end(wanted)
            self._make_room()
        if first:
            self._fulfill(session, wanted)
        return session.result()

    def _make_room(self) -> None:
        """Let the least used sessions go, but none that is being made: others wait for it."""
        idle = [wanted for wanted, session in self._kept.items() if session.done()]
        for wanted in idle[: max(0, len(self._kept) - self._most)]:
            del self._kept[wanted]

    def _fulfill(self, session: Future[onnxruntime.InferenceSession], wanted: Slice) -> None:
        try:
            session.set_result(self._make(wanted))
        except Exception as error:  # noqa: BLE001 - those who wait get it, whatever it is
            with self._lock:
                del self._kept[wanted]  # the next one to ask tries again
            session.set_exception(error)

    def _make(self, wanted: Slice) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # Every session has threads of its own: those of an idle one must not burn the CPU.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(self._cut(wanted), options, providers=["CPUExecutionProvider"])
