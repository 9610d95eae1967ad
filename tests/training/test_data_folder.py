"""A folder of pictures as data: what is read, in which order, and what is refused."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from strata_training import data
from strata_training.data import DataSet, Wanted
from strata_training.errors import NotFound, TrainingError, Unreadable

SIZE = (6, 5)  # width and height, as Pillow has them


def draw(path: Path, shade: int = 0, mode: str = "L", size: tuple[int, int] = SIZE) -> Path:
    """Write a picture of one shade."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, shade).convert(mode).save(path)
    return path


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Return a folder of three grayscale pictures each of two classes; the shade is the picture's number."""
    folder = tmp_path / "pets"
    for label, name in enumerate(("cat", "dog")):
        for number in range(3):
            draw(folder / name / f"{number}.png", 10 * label + number)
    return folder


def shades(dataset: DataSet) -> list[int]:
    found: list[int] = dataset.inputs[:, 0, 0, 0].tolist()
    return found


def test_each_folder_is_a_class_and_its_pictures_are_in_order(pets: Path) -> None:
    loaded = data.load(str(pets))
    assert (loaded.name, loaded.classes) == ("pets", ("cat", "dog"))
    assert loaded.inputs.shape == (6, 5, 6, 1)
    assert loaded.inputs.dtype == np.uint8
    assert loaded.is_pictures
    assert shades(loaded) == [0, 1, 2, 10, 11, 12]
    assert loaded.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert loaded.class_counts == {"cat": 3, "dog": 3}
    assert loaded.held_out is None
    assert loaded.skipped == ()


def test_many_pictures_read_in_threads_come_in_the_same_order_each_time(tmp_path: Path) -> None:
    for number in range(200):
        draw(tmp_path / "set" / f"class{number % 2}" / f"{number:03}.png", number)
    loaded = data.load(str(tmp_path / "set"))
    assert shades(loaded) == [*range(0, 200, 2), *range(1, 200, 2)]
    assert data.load(str(tmp_path / "set")).digest == loaded.digest


@pytest.mark.parametrize("written", ["pets", "pets/", "./pets", "../work/pets"])
def test_the_name_is_the_folders_however_the_path_is_written(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    (tmp_path / "work").mkdir()
    pets.rename(tmp_path / "work" / "pets")
    monkeypatch.chdir(tmp_path / "work")
    assert data.load(written).name == "pets"


def test_the_folder_that_one_is_in_has_its_own_name_too(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pets)
    assert data.load(".").name == "pets"
    monkeypatch.chdir(pets / "cat")
    assert data.load("..").name == "pets"


def test_hidden_files_and_files_beside_the_classes_are_ignored(pets: Path) -> None:
    before = data.load(str(pets))
    draw(pets / ".thumbnails" / "0.png")
    (pets / "README.txt").write_text("not a class")
    (pets / "cat" / ".DS_Store").write_bytes(b"not a picture")
    draw(pets / "dog" / ".cache" / "0.png")
    after = data.load(str(pets))
    assert after.classes == ("cat", "dog")
    assert after.digest == before.digest


def test_pictures_in_folders_within_a_class_are_found_in_sorted_order(pets: Path) -> None:
    draw(pets / "cat" / "1a" / "deep" / "b.png", 100)
    draw(pets / "cat" / "1a" / "a.png", 101)
    # '1.png' is before '1a', and a folder's files are where the folder's name is.
    assert shades(data.load(str(pets)))[:5] == [0, 1, 101, 100, 2]


def test_names_of_classes_are_kept_as_they_are(tmp_path: Path) -> None:
    names = ["Größe & <b>", "a b", "猫", "cafe\u0301", "ß\u200d'\""]
    for name in names:
        for number in range(3):
            draw(tmp_path / "odd" / name / f"{number}.png")
    assert data.load(str(tmp_path / "odd")).classes == tuple(sorted(names))


def test_a_name_that_is_not_utf_8_is_refused_and_shown(pets: Path) -> None:
    try:
        (pets / os.fsdecode(b"caf\xe9")).mkdir()
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    with pytest.raises(Unreadable, match=r"expected names of classes in UTF-8, received 'caf\\\\udce9'"):
        data.load(str(pets))


def test_links_to_pictures_and_folders_elsewhere_are_followed(pets: Path, tmp_path: Path) -> None:
    draw(tmp_path / "elsewhere" / "4.png", 40)
    (pets / "cat" / "3.png").symlink_to(tmp_path / "elsewhere" / "4.png")
    for number in range(3):
        draw(tmp_path / "birds" / f"{number}.png", 50 + number)
    (pets / "bird").symlink_to(tmp_path / "birds", target_is_directory=True)
    loaded = data.load(str(pets))
    assert loaded.class_counts == {"bird": 3, "cat": 4, "dog": 3}
    assert shades(loaded)[:7] == [50, 51, 52, 0, 1, 2, 40]


def test_a_link_to_a_folder_that_it_is_in_is_not_followed_for_ever(pets: Path) -> None:
    (pets / "cat" / "again").symlink_to(pets / "cat", target_is_directory=True)
    assert data.load(str(pets)).class_counts == {"cat": 3, "dog": 3}


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "tif", "webp", "ppm"])
def test_any_format_that_pillow_reads_will_do(pets: Path, suffix: str) -> None:
    draw(pets / "dog" / f"3.{suffix}", 200, mode="L" if suffix == "ppm" else "RGB")
    assert data.load(str(pets), Wanted(color="COLOR_GRAYSCALE")).inputs[-1] == pytest.approx(200, abs=1)


@pytest.mark.parametrize(("mode", "suffix"), [("1", "png"), ("L", "jpg"), ("LA", "png"), ("I;16", "png"), ("I", "tif")])
def test_pictures_without_color_have_one_channel(pets: Path, mode: str, suffix: str) -> None:
    draw(pets / "dog" / f"3.{suffix}", 0, mode=mode)
    assert data.load(str(pets)).inputs.shape == (7, 5, 6, 1)


@pytest.mark.parametrize(("mode", "suffix"), [("RGB", "png"), ("RGBA", "png"), ("CMYK", "jpg"), ("YCbCr", "jpg")])
def test_one_picture_with_color_gives_all_three_channels(pets: Path, mode: str, suffix: str) -> None:
    draw(pets / "dog" / f"3.{suffix}", 70, mode=mode)
    loaded = data.load(str(pets))
    assert loaded.inputs.shape == (7, 5, 6, 3)
    assert loaded.inputs[1].tolist() == [[[1, 1, 1]] * 6] * 5


@pytest.mark.parametrize(("palette", "channels"), [([9, 9, 9, 80, 80, 80], 1), ([9, 9, 9, 80, 0, 80], 3)])
def test_a_picture_of_a_palette_has_color_if_the_palette_has(pets: Path, palette: list[int], channels: int) -> None:
    picture = Image.new("P", SIZE, 1)
    picture.putpalette(palette)
    picture.save(pets / "dog" / "3.png")
    loaded = data.load(str(pets))
    assert loaded.inputs.shape == (7, 5, 6, channels)
    assert loaded.inputs[-1, 0, 0].tolist() == palette[3 : 3 + channels]


def test_what_pillow_remarks_about_a_good_picture_is_not_shown(pets: Path) -> None:
    picture = Image.new("P", SIZE, 1)
    picture.putpalette([9, 9, 9, 80, 80, 80])
    # A transparency in bytes, of which it warns; here a warning would be an error.
    picture.save(pets / "dog" / "3.png", transparency=bytes([0, 128]))
    assert shades(data.load(str(pets)))[-1] == 80


def test_only_the_wanted_classes_are_read_in_the_wanted_order(pets: Path) -> None:
    for number in range(3):
        draw(pets / "bird" / f"{number}.png", 20 + number)
    (pets / "cat" / "9.png").write_bytes(b"broken, but not looked at")
    loaded = data.load(str(pets), Wanted(classes=("dog", "bird")))
    assert loaded.classes == ("dog", "bird")
    assert shades(loaded) == [10, 11, 12, 20, 21, 22]
    assert loaded.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_pictures_of_several_sizes_are_refused_by_naming_two(pets: Path) -> None:
    draw(pets / "dog" / "1.png", size=(8, 7))
    with pytest.raises(
        TrainingError,
        match=r"'cat/0.png', 5 pixels high and 6 wide, and 'dog/1.png', 7 high and 8 wide; give --image-size",
    ):
        data.load(str(pets))


def test_an_image_size_brings_pictures_of_several_sizes_to_one(pets: Path) -> None:
    draw(pets / "dog" / "1.png", 77, size=(8, 7))
    loaded = data.load(str(pets), Wanted(image_size=(4, 9)))
    assert loaded.inputs.shape == (6, 4, 9, 1)
    assert (loaded.inputs[4] == 77).all()


def test_more_pictures_than_memory_can_hold_are_refused_before_they_are_made(pets: Path) -> None:
    # 6 pictures of 2,000,000 x 2,000,000 bytes, of which no machine has half.
    with pytest.raises(
        TrainingError,
        match=r"6 pictures of 2000000 x 2000000 need 22,351.7 GiB of memory: expected at most [\d.,]+ GiB",
    ):
        data.load(str(pets), Wanted(image_size=(2_000_000, 2_000_000)))


def test_a_path_that_is_not_there_is_told(tmp_path: Path) -> None:
    for missing in (tmp_path / "pets", tmp_path / "pets.npz"):
        with pytest.raises(NotFound, match=f"there is no folder and no .npz file '{missing}'"):
            data.load(str(missing))


def test_no_path_at_all_is_not_the_folder_one_is_in(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pets)
    with pytest.raises(NotFound, match="unknown data set ''; there are 6: "):
        data.load("")


def test_a_link_to_a_class_that_is_gone_is_told(pets: Path) -> None:
    (pets / "bird").symlink_to(pets / "gone")
    with pytest.raises(Unreadable, match="expected links in 'pets' that lead somewhere, received 'bird'"):
        data.load(str(pets))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pets.zip").write_bytes(b"")
    with pytest.raises(Unreadable, match=r"a folder with a folder per class, or a \.npz file, received the file"):
        data.load(str(tmp_path / "pets.zip"))


def test_a_folder_without_class_folders_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "flat" / "0.png")
    draw(tmp_path / "flat" / "1.png")
    with pytest.raises(Unreadable, match="expected a folder per class in 'flat', received 2 files and no folder"):
        data.load(str(tmp_path / "flat"))


def test_an_empty_class_folder_is_named(pets: Path) -> None:
    (pets / "bird").mkdir()
    (pets / "fish" / "inner").mkdir(parents=True)
    with pytest.raises(TrainingError, match=r"in the folder of each class, received none in 'bird', 'fish'$"):
        data.load(str(pets))


def test_one_class_is_too_few(pets: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="expected two classes or more, received 1: 'cat'"):
        data.load(str(pets), Wanted(classes=("cat",)))
    (pets / "dog").rename(tmp_path / "dog")
    with pytest.raises(TrainingError, match="expected two classes or more, received 1: 'cat'"):
        data.load(str(pets))


def test_a_class_that_cannot_be_split_is_refused(pets: Path) -> None:
    (pets / "dog" / "2.png").unlink()
    with pytest.raises(
        TrainingError, match=r"at least 3 examples of each class, one to learn from, .*; received fewer: 'dog' has 2$"
    ):
        data.load(str(pets))


def test_unknown_and_repeated_classes_are_refused(pets: Path) -> None:
    with pytest.raises(NotFound, match="unknown class 'dgo'; nearest: 'dog'"):
        data.load(str(pets), Wanted(classes=("cat", "dgo")))
    with pytest.raises(TrainingError, match="expected each class once, received more than once: 'cat'"):
        data.load(str(pets), Wanted(classes=("cat", "dog", "cat")))


def truncated_png(path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60), np.uint8)
    Image.fromarray(pixels).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:1000])


def truncated_jpeg(path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:1500])


def flipped_bits(path: Path) -> None:
    draw(path)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"IDAT") + 6] ^= 0xFF
    path.write_bytes(damaged)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "not a picture in a format that can be read"),
    "text": (lambda path: path.write_text("<html>404</html>"), "not a picture in a format that can be read"),
    "half a png": (truncated_png, "damaged, or cannot be read: "),
    "half a jpeg": (truncated_jpeg, "damaged, or cannot be read: "),
    "flipped bits": (flipped_bits, "damaged, or cannot be read: "),
    "a link to nothing": (lambda path: path.symlink_to("gone"), "no file"),
    "a pipe": (os.mkfifo, "expected a file"),
    "a huge picture": (
        lambda path: draw(path, mode="1", size=(10_000, 9_000)),
        r"expected at most 89,478,485 pixels, received 90,000,000",
    ),
    "floating point": (
        lambda path: Image.new("F", SIZE, 0.5).save(path, "TIFF"),
        "expected 8 or 16 bits, received floating-point numbers",
    ),
    "more than 16 bits": (
        lambda path: Image.new("I", SIZE, 70_000).save(path, "TIFF"),
        "expected 8 or 16 bits, received values from 70000 to 70000",
    ),
}


@pytest.mark.parametrize(("spoil", "reason"), BAD.values(), ids=BAD)
def test_a_bad_file_is_named_with_its_reason_and_can_be_skipped(
    pets: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    spoil(pets / "dog" / "bad.png")
    size = Wanted(image_size=(5, 6))
    with pytest.raises(
        Unreadable, match=f"in 'pets', received 1 of 7 files that cannot be read: 'dog/bad.png': {reason}.*; --skip-bad"
    ) as refused:
        data.load(str(pets), size)
    assert "\n" not in str(refused.value)
    loaded = data.load(str(pets), Wanted(image_size=(5, 6), skip_bad=True))
    assert shades(loaded) == [0, 1, 2, 10, 11, 12]
    (skipped,) = loaded.skipped
    assert skipped.startswith("dog/bad.png: ")


def test_a_picture_over_pillows_own_limit_is_a_bad_file(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    draw(pets / "dog" / "bad.png", size=(20, 20))
    loaded = data.load(str(pets), Wanted(skip_bad=True))
    assert loaded.skipped == ("dog/bad.png: expected at most 89,478,485 pixels, received more than twice as many",)


def test_all_bad_files_are_counted_and_the_first_five_named(pets: Path) -> None:
    for number in range(6):
        (pets / "dog" / f"bad{number}.png").write_bytes(b"no picture")
    truncated_png(pets / "cat" / "half.png")
    with pytest.raises(
        Unreadable, match=r"received 7 of 13 files that cannot be read: 'cat/half\.png'.*; and 2 more; "
    ) as bad:
        data.load(str(pets))
    assert "bad3.png" in str(bad.value)
    assert "bad4.png" not in str(bad.value)


def test_a_skipped_file_decides_neither_on_the_size_nor_on_the_color(pets: Path) -> None:
    truncated_jpeg(pets / "cat" / "0.jpg")
    loaded = data.load(str(pets), Wanted(skip_bad=True))
    assert loaded.inputs.shape == (6, 5, 6, 1)
    assert len(loaded.skipped) == 1


def test_a_class_of_which_nothing_is_left_is_an_error(pets: Path) -> None:
    for path in (pets / "dog").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(TrainingError, match="that can be read in the folder of each class, received none in 'dog'"):
        data.load(str(pets), Wanted(skip_bad=True))


def test_a_class_of_which_too_little_is_left_is_an_error(pets: Path) -> None:
    (pets / "dog" / "0.png").write_bytes(b"no picture")
    with pytest.raises(TrainingError, match="received fewer: 'dog' has 2"):
        data.load(str(pets), Wanted(skip_bad=True))


def test_the_name_of_a_skipped_file_can_be_printed(pets: Path) -> None:
    try:
        (pets / "dog" / os.fsdecode(b"\xe9.png")).write_bytes(b"no picture")
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    (skipped,) = data.load(str(pets), Wanted(skip_bad=True)).skipped
    assert skipped.encode() == rb"dog/\udce9.png: not a picture in a format that can be read"


def test_a_path_longer_than_any_can_be_is_one_line() -> None:
    with pytest.raises(TrainingError, match="cannot be read: File name too long"):
        data.load("a" * 5000)


def test_an_impossible_form_is_refused(pets: Path) -> None:
    with pytest.raises(NotFound, match="unknown color 'COLOR_RBG'; nearest: 'COLOR_RGB'"):
        data.load(str(pets), Wanted(color="COLOR_RBG"))
    with pytest.raises(TrainingError, match=r"a height and a width of 1 or more, received \(0, 5\)"):
        data.load(str(pets), Wanted(image_size=(0, 5)))
