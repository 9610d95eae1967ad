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

    threads: int
    """Threads that one run of a network may use."""

    max_slices: int = 16
    """Slices of one version that are kept ready, the prediction not counted."""

    drain_s: int = 30
    """Longest wait for open calls when the server stops, in seconds."""

    limits: Limits = Limits()
    """What one request may ask for."""
