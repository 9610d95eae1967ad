"""One settings object, built from the command line and passed down; nothing else reads the environment."""

from dataclasses import dataclass
from pathlib import Path

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request may ask for."""

    max_message_bytes: int = 64 * MIB
    """Largest request, largest decoded input and largest answer, in bytes."""

    max_image_pixels: int = 32_000_000
    """Largest pictures of one request together, in pixels."""

    max_multiply_adds: int = 10**12
    """Most that the run of one request may compute."""

    max_activation_bytes: int = 2048 * MIB
    """Most that the run of one request may hold at a time, in bytes: the layers asked, whole, and what is between."""


@dataclass(frozen=True, kw_only=True)
class DeviceSettings:
    """Where slices run, and how."""

    device: str = "auto"
    """auto, cpu or cuda."""

    threads: int = 1
    """Threads that one run of a network may use on the CPU."""

    spinning: bool = False
    """Whether idle threads wait busily for the next run."""

    cuda_algorithm_search: str = "heuristic"
    """How cuDNN chooses a convolution: heuristic, exhaustive or default."""

    cuda_memory_bytes: int = 0
    """Largest arena on the CUDA device, in bytes; 0 for all that is there."""


@dataclass(frozen=True, kw_only=True)
class SliceSettings:
    """Which slices are kept ready."""

    memory_bytes: int = 1024 * MIB
    """Memory for the slices beside the predictions, in bytes."""

    cache: Path | None = None
    """A folder for optimized slices; None for none."""

    cache_bytes: int = 4096 * MIB
    """Largest size of that folder, in bytes."""

    warm: tuple[tuple[str, str], ...] = ()
    """Slices to make before the server is ready: NAME[:VERSION], and layers with commas between them."""


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """How rows of several requests run together, and how many may wait."""

    rows: int = 0
    """Largest batch, in rows, and the size of the tiles of a larger request; 0 for the fastest, which is measured."""

    wait_us: int = 0
    """Longest wait of a request for others to run with, in microseconds; 0 for none."""

    queue_rows: int = 4096
    """Most rows that wait for one model."""

    queue_bytes: int = 512 * MIB
    """Most bytes of rows that wait for one model."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the server runs."""

    models: Path
    """The model repository: models/NAME/VERSION/model.onnx."""

    host: str = "127.0.0.1"
    """The address to listen on."""

    grpc_port: int = 8001
    """Port for gRPC; 0 takes a free one."""

    http_port: int = 8000
    """Port for HTTP; 0 takes a free one."""

    repository: str = "fixed"
    """fixed, explicit or watch: whether models change by calls, with the folder, or not at all."""

    repository_poll_s: int = 5
    """How often a watched folder is looked through where the file system tells nothing, in seconds."""

    load_timeout_s: int = 300
    """Longest time that loading a version may take, in seconds."""

    http_hosts: tuple[str, ...] = ()
    """Names under which the HTTP port may be asked, beside this machine's own; * for any."""

    allow_external_data: bool = False
    """Whether weights may lie in other files than model.onnx, inside the version's folder."""

    allow_shared_memory: bool = False
    """Whether clients may register shared memory of this machine for inputs and outputs."""

    shared_memory_prefix: str = "strata"
    """What the keys of such memory begin with."""

    drain_s: int = 30
    """Longest wait for open calls when the server stops, in seconds."""

    transport: str = "queue"
    """queue drives grpcio's completion queue directly; public is grpcio's public server, a thread for each call."""

    workers: int = 1
    """Processes that share the gRPC port."""

    worker_timeout_s: int = 10
    """Longest silence of a worker before it is replaced, in seconds."""

    limits: Limits = Limits()
    """What one request may ask for."""

    devices: DeviceSettings = DeviceSettings()
    """Where slices run."""

    slices: SliceSettings = SliceSettings()
    """Which slices are kept ready."""

    batches: BatchSettings = BatchSettings()
    """How rows of several requests run together."""
