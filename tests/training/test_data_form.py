"""A picture that is learned from is the picture that the server sees: same color, same size, bit for bit."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from strata_server.deadline import Deadline
from strata_server.images import Color, Preprocessing, Resampling, preprocess_images
from strata_training import data
from strata_training.data import Wanted

HEIGHT, WIDTH = 13, 17
SIZES = {"smaller": (5, 8), "same": (HEIGHT, WIDTH), "larger": (28, 31)}
COLORS = {"COLOR_GRAYSCALE": Color.GRAYSCALE, "COLOR_RGB": Color.RGB}


def noise(channels: int, dtype: type[np.uint8 | np.uint16] = np.uint8) -> npt.NDArray[np.uint8 | np.uint16]:
    """Return pixels of which no two are alike, so that any other way of resizing shows."""
    shape = (HEIGHT, WIDTH, channels) if channels > 1 else (HEIGHT, WIDTH)
    return np.random.default_rng(channels).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def encode(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def with_palette() -> bytes:
    picture = Image.fromarray(noise(3)).quantize(16)
    # Transparency of some colors, in bytes, of which Pillow warns when it is dropped.
    return encode(picture, transparency=bytes(range(0, 256, 16)))


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    return encode(Image.fromarray(noise(3)), "JPEG", exif=exif)


def png_of_48_bits() -> bytes:
    """Return 16 bits in each of three channels, which Pillow reads but does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in noise(3, np.uint16).astype(">u2"))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PICTURES: dict[str, Callable[[], bytes]] = {
    "1 bit": lambda: encode(Image.fromarray(noise(1)).convert("1")),
    "grayscale": lambda: encode(Image.fromarray(noise(1))),
    "grayscale with alpha": lambda: encode(Image.fromarray(noise(2))),
    "16 bits": lambda: encode(Image.fromarray(noise(1, np.uint16))),
    "color": lambda: encode(Image.fromarray(noise(3))),
    "color with alpha": lambda: encode(Image.fromarray(noise(4))),
    "3 x 16 bits": png_of_48_bits,
    "palette": with_palette,
    "grayscale jpeg": lambda: encode(Image.fromarray(noise(1)), "JPEG"),
    "color jpeg": lambda: encode(Image.fromarray(noise(3)), "JPEG"),
    "cmyk jpeg": lambda: encode(Image.fromarray(noise(4)).convert("CMYK"), "JPEG"),
    "rotated jpeg": rotated,
}


def serve(encoded: bytes, size: tuple[int, int], color: str) -> npt.NDArray[np.float32]:
    """Return what the server makes of a picture before it scales: (height, width, channels)."""
    rule = Preprocessing("image", size, COLORS[color], Resampling.BILINEAR, scale=1)
    (seen,) = preprocess_images([encoded], rule, max_pixels=10**6, deadline=Deadline())
    return np.asarray(seen)


# Where the server drops the transparency of a palette, Pillow remarks on it.
@pytest.mark.filterwarnings("ignore:Palette images with Transparency:UserWarning")
@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_picture_in_a_folder_is_what_the_server_sees(tmp_path: Path, size: tuple[int, int], color: str) -> None:
    encoded = {kind: make() for kind, make in PICTURES.items()}
    for number, content in enumerate(encoded.values()):
        for name in ("a", "b"):
            (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / name / f"{number:02}").write_bytes(content)
    loaded = data.load(str(tmp_path / "set"), Wanted(image_size=size, color=color))
    for (kind, content), learned in zip(encoded.items(), loaded.inputs[: len(encoded)], strict=True):
        np.testing.assert_array_equal(learned, serve(content, size, color), err_msg=kind)


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_picture_in_an_array_is_what_the_server_sees(
    tmp_path: Path, channels: int, size: tuple[int, int], color: str
) -> None:
    pixels = noise(channels)
    np.savez(tmp_path / "set.npz", x=np.stack([pixels] * 6), y=[0, 1] * 3)
    loaded = data.load(str(tmp_path / "set.npz"), Wanted(image_size=size, color=color))
    seen = serve(encode(Image.fromarray(pixels)), size, color)
    np.testing.assert_array_equal(loaded.inputs, np.stack([seen] * 6))


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_blue_first_is_red_first_reversed(tmp_path: Path, size: tuple[int, int]) -> None:
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "set" / name / f"{number}.png").write_bytes(encode(Image.fromarray(noise(3))))
    np.savez(tmp_path / "set.npz", x=np.stack([noise(3)] * 6), y=[0, 1] * 3)
    for source in (tmp_path / "set", tmp_path / "set.npz"):
        red, blue = (data.load(str(source), Wanted(size, color)).inputs for color in ("COLOR_RGB", "COLOR_BGR"))
        np.testing.assert_array_equal(blue, red[..., ::-1])
        assert (red != blue).any()


@pytest.mark.parametrize(("channels", "kept"), [(1, 1), (2, 1), (3, 3), (4, 3)])
def test_without_a_wanted_form_an_array_loses_only_its_alpha(tmp_path: Path, channels: int, kept: int) -> None:
    pixels = noise(channels).reshape(HEIGHT, WIDTH, channels)
    np.savez(tmp_path / "set.npz", x=np.stack([pixels] * 6), y=[0, 1] * 3)
    np.testing.assert_array_equal(data.load(str(tmp_path / "set.npz")).inputs[5], pixels[..., :kept])


def test_bundled_pictures_are_brought_into_a_form_too() -> None:
    loaded = data.load("digits", Wanted(image_size=(8, 9), color="COLOR_RGB"))
    assert loaded.inputs.shape == (1797, 8, 9, 3)
    np.testing.assert_array_equal(loaded.inputs[..., 0], loaded.inputs[..., 2])
