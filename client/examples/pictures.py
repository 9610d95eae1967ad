"""Make some pictures to try the other scripts with: digits written by hand, three days of them, and printed letters.

python pictures.py pictures

It needs scikit-learn, for the digits, and matplotlib, for the fonts.
"""

import argparse
from pathlib import Path

import numpy as np
import sklearn.datasets
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont, ImageOps

LETTERS = "ABCDEFGHKLMNPRSTUXYZ"
FAMILIES = ("DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono", "STIXGeneral")


def draw_letter(letter: str, random: np.random.Generator) -> Image.Image:
    """Return a letter in some font, a little turned and moved, and as coarse as the digits are."""
    weight = str(random.choice(["normal", "bold"]))
    font = font_manager.findfont(font_manager.FontProperties(family=str(random.choice(FAMILIES)), weight=weight))
    canvas, middle = Image.new("L", (64, 64)), tuple(random.uniform(29, 35, size=2))
    ImageDraw.Draw(canvas).text(middle, letter, 255, ImageFont.truetype(font, int(random.integers(60, 76))), "mm")
    return canvas.rotate(random.uniform(-12, 12)).resize((8, 8), Image.Resampling.BOX)


def write(folder: Path, small: list[Image.Image], light: float = 1.0) -> None:
    """Write pictures of 8x8 as the training has them: every pixel thrice, a border, and here some of the light."""
    folder.mkdir(parents=True)
    for number, picture in enumerate(small):
        large = ImageOps.expand(picture.resize((24, 24), Image.Resampling.NEAREST), 2)
        large.point(lambda pixel: round(pixel * light)).save(folder / f"{number:03}.png")


def main() -> None:
    """Make some pictures to try the other scripts with."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="a new folder")
    folder: Path = parser.parse_args().folder
    source, random = sklearn.datasets.load_digits(), np.random.default_rng(0)
    digits = [Image.fromarray(np.round(image * (255 / 16)).astype(np.uint8)) for image in source.images]
    for digit in range(10):
        of_it = np.flatnonzero(source.target[:1000] == digit)[:40]
        write(folder / "digits" / str(digit), [digits[row] for row in of_it])
    days = random.permutation(np.arange(1000, 1600)).reshape(3, 200)
    for day, rows, light in zip(("monday", "tuesday", "wednesday"), days, (1.0, 1.0, 0.85), strict=True):
        write(folder / day, [digits[row] for row in rows], light)
    for letter in LETTERS:
        write(folder / "letters" / letter, [draw_letter(letter, random) for _ in range(25)])
    for made in sorted(folder.iterdir()):
        print(f"{len(list(made.rglob('*.png')))} pictures in {made}")


if __name__ == "__main__":
    main()
