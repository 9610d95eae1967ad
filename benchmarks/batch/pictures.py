"""Small pictures in any number: the bundled digits, each moved a little."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

_IN_A_FOLDER = 1000
_SIDE = 28


def make_pictures(folder: Path, count: int) -> Path:
    """Return a folder of that many PNG files of 28x28, made where it is not there yet."""
    if folder.exists():
        return folder
    random = np.random.default_rng(0)
    digits = np.kron(load_digits().images, np.ones((3, 3))) * (255 / 16)
    making = folder.with_suffix(".making")
    for number in range(count):
        if number % _IN_A_FOLDER == 0:
            beneath = making / f"{number // _IN_A_FOLDER:04}"
            beneath.mkdir(parents=True, exist_ok=True)
        picture = np.zeros((_SIDE, _SIDE), np.uint8)
        down, right = random.integers(0, _SIDE - 24 + 1, 2)
        picture[down : down + 24, right : right + 24] = digits[random.integers(len(digits))]
        Image.fromarray(picture).save(beneath / f"{number:07}.png")
    return making.rename(folder)
