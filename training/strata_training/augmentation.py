"""More pictures to learn from, made of those there are."""

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
_DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def add_shifted(images: Images, labels: npt.NDArray[np.int64], pixels: int) -> tuple[Images, npt.NDArray[np.int64]]:
    """Return the pictures, then each again moved right, left, down and up; what moves in is zero.

    1,797 digits are few: without the moved ones 0.98 is missed for some seeds, with them for none that was tried.
    """
    if not pixels:
        return images, labels
    moved = [_shift(images, pixels * down, pixels * right) for down, right in _DIRECTIONS]
    return np.concatenate([images, *moved]), np.tile(labels, 1 + len(moved))


def _shift(images: Images, down: int, right: int) -> Images:
    margin = max(abs(down), abs(right))
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    top, left = margin - down, margin - right
    height, width = images.shape[1:3]
    return padded[:, top : top + height, left : left + width]
