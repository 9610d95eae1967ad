"""onnxruntime, set up for slices: one arena for all sessions, and the device they run on."""

import os

# The wheels send telemetry unless this is set before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import importlib.metadata
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnx import helper

from strata_server.errors import StartError
from strata_server.settings import DeviceSettings
from strata_server.slice_cache import GRAPH, WEIGHTS

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_INSTALL = "pip install 'strata-server[cuda]', on a machine with an NVIDIA driver for CUDA 13"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """Where slices run."""

    name: str
    """cpu or cuda."""
    providers: list[tuple[str, dict[str, Any]]]
    """As onnxruntime takes them, the preferred first."""


def choose_device(settings: DeviceSettings) -> Device:
    """Return the device that the settings ask for; `auto` takes CUDA where it works.

    Raises:
        StartError: CUDA is asked for and does not work; the message says what is missing.
    """
    cpu = Device("cpu", [(CPU, {})])
    if settings.device == "cpu":
        return cpu
    cuda = Device("cuda", [(CUDA, _cuda_options(settings)), (CPU, {})])
    problem = _find_problem(cuda)
    if problem is None:
        return cuda
    if settings.device == "cuda":
        raise StartError(f"--device cuda: {problem}")
    if _is_installed("onnxruntime-gpu"):  # it was meant to be used
        log.warning("--device auto takes the CPU: %s", problem)
    return cpu


def _cuda_options(settings: DeviceSettings) -> dict[str, Any]:
    options = {
        # EXHAUSTIVE would measure again for every new input shape, in the middle of a request.
        "cudnn_conv_algo_search": settings.cuda_algorithm_search.upper(),
        # Grow by what is asked, not in powers of two: other programs may be on the device.
        "arena_extend_strategy": "kSameAsRequested",
    }
    if settings.cuda_memory_bytes:
        options["gpu_mem_limit"] = str(settings.cuda_memory_bytes)
    return options


def _find_problem(cuda: Device) -> str | None:
    """Say why CUDA does not work here, or None where it does."""
    if CUDA not in onnxruntime.get_available_providers():
        if _is_installed("onnxruntime-gpu"):
            return (
                "onnxruntime and onnxruntime-gpu are both installed, and the first hides the second: "
                "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'onnxruntime-gpu[cuda,cudnn]'"
            )
        return f"this onnxruntime has no CUDA; {_INSTALL}"
    try:
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # the libraries that pip installs lie where no loader looks
        session = onnxruntime.InferenceSession(_one_node(), _quiet(), providers=cuda.providers)
    except Exception as error:  # noqa: BLE001 - whatever it is, CUDA does not work
        return f"onnxruntime cannot use CUDA: {error}; {_INSTALL}"
    if CUDA not in session.get_providers():  # it falls back without an error
        return f"onnxruntime finds no CUDA device, or not its libraries (CUDA 13, cuDNN 9); {_INSTALL}"
    return None


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _one_node() -> bytes:
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def _quiet() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return options


class Runtime:
    """Makes sessions, all alike."""

    def __init__(self, device: Device, *, threads: int, spinning: bool = False) -> None:
        """Set onnxruntime up.

        Args:
            device: where the sessions run.
            threads: that one run may use on the CPU.
            spinning: whether idle threads wait busily: a little faster, and the CPU is never idle.
        """
        self.device = device
        self._threads = threads
        self._spinning = spinning
        _share_arena()

    def open(
        self, model: bytes, weights: Mapping[str, onnxruntime.OrtValue], keep: Path | None = None
    ) -> onnxruntime.InferenceSession:
        """Return a session for a model whose large weights lie beside it.

        Args:
            model: the graph as an ONNX file.
            weights: those that it refers to.
            keep: a folder to leave the optimized graph and its weights in.
        """
        options = self._options()
        options.add_external_initializers(list(weights), list(weights.values()))
        if keep:
            options.optimized_model_filepath = str(keep / GRAPH)
            options.add_session_config_entry("session.optimized_model_external_initializers_file_name", WEIGHTS)
            options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        return onnxruntime.InferenceSession(model, options, providers=self.device.providers)

    def reopen(self, graph: Path) -> onnxruntime.InferenceSession:
        """Return a session for a graph that `open` has kept: its weights are mapped into memory."""
        options = self._options()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # it is done
        return onnxruntime.InferenceSession(str(graph), options, providers=self.device.providers)

    def _options(self) -> onnxruntime.SessionOptions:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # Every session has threads of its own: those of an idle one must not burn the CPU.
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(self._spinning)))
        # One arena: memory for activations is held once, not by each session; weights stay out of it, so that
        # they go back to the system with their session.
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        options.log_severity_level = 3
        return options


_arena_shared = False


def _share_arena() -> None:
    global _arena_shared  # noqa: PLW0603 - onnxruntime itself keeps one environment for each process
    if not _arena_shared:
        memory = onnxruntime.OrtMemoryInfo(
            "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
        )
        onnxruntime.create_and_register_allocator(memory, None)
        _arena_shared = True
