"""What of a source is wanted, and in which form."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Wanted:
    """The form that a source is brought into; by default it stays as it is."""

    image_size: tuple[int, int] | None = None
    """Height and width, in pixels; None: as the pictures are."""
    color: str | None = None
    """COLOR_GRAYSCALE, COLOR_RGB, or COLOR_BGR, which is RGB reversed; None: as the pictures are."""
    classes: tuple[str, ...] = ()
    """Only these, in this order; empty: all."""
    skip_bad: bool = False
    """Whether files that cannot be read are left out instead of refused."""
