import io
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from strata_server.deadline import Deadline
from strata_server.errors import DeadlinePassed, InvalidArgument, OverLimit
from strata_server.images import Color, Preprocessing, Resampling, preprocess_images

MAX_PIXELS = 10_000


def preprocess(encoded: bytes, rule: Preprocessing, max_pixels: int) -> npt.NDArray[np.float32]:
    rows = preprocess_images([encoded], rule, max_pixels, Deadline())
    assert len(rows) == 1
    return rows.squeeze(0)


def rule(color: Color = Color.GRAYSCALE, size: tuple[int, int] = (2, 3), **fields: object) -> Preprocessing:
    values = {"resampling": Resampling.NEAREST, "scale": 1.0, **fields}
    return Preprocessing(input="image", size=size, color=color, **values)  # type: ignore[arg-type] # a test's shorthand


def encode(image: Image.Image, format_: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def png(pixels: npt.NDArray[np.generic]) -> bytes:
    return encode(Image.fromarray(pixels))


def test_pixels_are_scaled_then_normalized_by_channel() -> None:
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    normal = rule(Color.RGB, scale=0.5, means=(1.0, 2.0, 3.0), deviations=(1.0, 2.0, 4.0))
    expected = (pixels * 0.5 - np.array([1, 2, 3])) / np.array([1, 2, 4])
    np.testing.assert_allclose(preprocess(png(pixels), normal, MAX_PIXELS), expected, rtol=1e-6)


def test_blue_comes_first_where_the_input_wants_it_so() -> None:
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    reversed_ = rule(Color.BGR, means=(103.939, 116.779, 123.68))
    expected = pixels[..., [2, 1, 0]] - np.array([103.939, 116.779, 123.68])
    np.testing.assert_allclose(preprocess(png(pixels), reversed_, MAX_PIXELS), expected, rtol=1e-6)


def test_a_gray_picture_fills_three_channels() -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    seen = preprocess(png(pixels), rule(Color.RGB), MAX_PIXELS)
    np.testing.assert_array_equal(seen, np.repeat(pixels[..., np.newaxis], 3, axis=2))


def test_a_color_picture_becomes_its_luma() -> None:
    red = np.zeros((2, 3, 3), np.uint8)
    red[..., 0] = 255
    np.testing.assert_array_equal(preprocess(png(red), rule(), MAX_PIXELS), np.full((2, 3, 1), 76))


def test_sixteen_bits_mean_their_upper_eight() -> None:
    pixels = np.array([[0, 255, 256], [32768, 65280, 65535]], np.uint16)
    np.testing.assert_array_equal(preprocess(png(pixels), rule(), MAX_PIXELS)[..., 0], pixels >> 8)


def test_another_size_is_resized_height_first() -> None:
    tall = np.zeros((40, 10), np.uint8)
    tall[20:] = 200
    seen = preprocess(png(tall), rule(size=(4, 2)), MAX_PIXELS)
    np.testing.assert_array_equal(seen[..., 0], [[0, 0], [0, 0], [200, 200], [200, 200]])


def test_jpeg_and_palette_pictures_enter() -> None:
    flat = Image.new("RGB", (30, 20), (90, 90, 90))
    assert np.abs(preprocess(encode(flat, "JPEG"), rule(), MAX_PIXELS) - 90).max() <= 1  # JPEG is lossy
    assert np.unique(preprocess(encode(flat.quantize(4)), rule(), MAX_PIXELS)).tolist() == [90]


def test_only_the_first_frame_is_seen() -> None:
    frames = [Image.new("L", (3, 2), value) for value in (10, 200)]
    animated = encode(frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(preprocess(animated, rule(), MAX_PIXELS), np.full((2, 3, 1), 10))


@pytest.mark.parametrize("format_", ["GIF", "BMP", "TIFF", "WEBP"])
def test_other_formats_are_refused(format_: str) -> None:
    with pytest.raises(InvalidArgument, match="expected a PNG or JPEG file"):
        preprocess(encode(Image.new("L", (3, 2)), format_), rule(), MAX_PIXELS)


def test_the_limit_on_pixels_holds_to_the_pixel() -> None:
    just = png(np.zeros((100, 100), np.uint8))
    over = png(np.zeros((100, 101), np.uint8))
    assert preprocess(just, rule(), MAX_PIXELS).shape == (2, 3, 1)
    with pytest.raises(
        OverLimit, match="at most 10000 pixels in a request, received 10100 in 1 pictures, the largest 101 x 100"
    ):
        preprocess(over, rule(), MAX_PIXELS)


def test_the_limit_on_pixels_counts_all_pictures_of_a_request() -> None:
    picture = png(np.zeros((60, 60), np.uint8))
    assert len(preprocess_images([picture] * 2, rule(), MAX_PIXELS, Deadline())) == 2
    with pytest.raises(OverLimit, match="received 10800 in 3 pictures"):
        preprocess_images([picture] * 3, rule(), MAX_PIXELS, Deadline())


def test_pictures_nobody_waits_for_are_not_decoded() -> None:
    with pytest.raises(DeadlinePassed):
        preprocess_images([png(np.zeros((2, 3), np.uint8))], rule(), MAX_PIXELS, Deadline(0))


def test_a_palette_picture_without_its_palette_is_refused() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (2).to_bytes(4, "big") * 2 + bytes([8, 3, 0, 0, 0])
    pixels = zlib.compress(bytes([0, 1, 0, 0, 1, 0]))
    chunks = [(b"IHDR", header), (b"tRNS", b"\xff\0"), (b"IDAT", pixels), (b"IEND", b"")]
    picture = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)
    with pytest.raises(InvalidArgument, match="picture 0: expected a whole PNG file"):
        preprocess(picture, rule(), MAX_PIXELS)


@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_a_picture_cut_anywhere_is_refused_or_whole(format_: str) -> None:
    whole = encode(Image.effect_noise((20, 20), 50), format_)
    for length in range(0, len(whole) - 20, 7):
        with pytest.raises(InvalidArgument):
            preprocess(whole[:length], rule(), MAX_PIXELS)
