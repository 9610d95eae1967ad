from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Content:
    """What an answer consists of."""

    body: bytes
    """JSON, and binary tensors behind it."""
    json_bytes: int | None = None
    """How much of the body is JSON; None for all."""
    status: int = 200
    """Of HTTP."""
