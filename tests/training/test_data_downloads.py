"""The data sets that Keras downloads: its own code fetches and parses small files in the same formats."""

import functools
import gzip
import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from strata_training import data
from strata_training.data import NAMES, Wanted
from strata_training.errors import TrainingError

Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that Keras downloads from, in place of the addresses in its code."""
    folder = tmp_path / "site"
    cache = tmp_path / "cache"
    folder.mkdir()
    cache.mkdir()  # or Keras would keep them where it does by default
    fetch = keras.utils.get_file

    def get_file(fname: str, origin: str, file_hash: str | None = None, **options: Any) -> str:
        # The hashes are of the whole files.
        assert file_hash is None or len(file_hash) == 64
        near = (folder / origin.rpartition("/")[2]).as_uri()
        path: str = fetch(fname, origin=near, cache_dir=cache, **options)
        return path

    for name in ("mnist", "fashion_mnist", "cifar10", "cifar100"):
        monkeypatch.setattr(f"keras.src.datasets.{name}.get_file", get_file)
    return folder


def draw(rows: int, *shape: int) -> Pixels:
    return np.random.default_rng(rows).integers(0, 256, (rows, *shape), np.uint8)


def write_mnist(site: Path, learned: Pixels, held_out: Pixels) -> None:
    own, theirs = cycle(learned), cycle(held_out)
    np.savez(site / "mnist.npz", x_train=learned, y_train=own, x_test=held_out, y_test=theirs)


def write_fashion_mnist(site: Path, learned: Pixels, held_out: Pixels) -> None:
    for part, pictures in (("train", learned), ("t10k", held_out)):
        for kind, header, values in (("images-idx3", 16, pictures), ("labels-idx1", 8, cycle(pictures))):
            (site / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(bytes(header) + values.tobytes()))


def cycle(pictures: Pixels, classes: int = 10) -> Pixels:
    return (np.arange(len(pictures)) % classes).astype(np.uint8)


def write_tar(path: Path, members: dict[str, dict[bytes, Any]]) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            pickled = pickle.dumps(content, protocol=3)
            member.size = len(pickled)
            file.addfile(member, io.BytesIO(pickled))


@pytest.mark.parametrize(("name", "write"), [("mnist", write_mnist), ("fashion_mnist", write_fashion_mnist)])
def test_grayscale_data_sets_are_fetched_with_their_own_test_part(
    site: Path, name: str, write: Callable[[Path, Pixels, Pixels], None]
) -> None:
    learned, held_out = draw(40, 28, 28), draw(20, 28, 28)
    write(site, learned, held_out)
    loaded = data.load(name)
    assert loaded.name == name
    assert loaded.inputs.dtype == np.uint8
    np.testing.assert_array_equal(loaded.inputs[..., 0], np.concatenate([learned, held_out]))
    assert loaded.labels.tolist() == [*range(10)] * 6
    assert loaded.held_out is not None
    assert loaded.held_out.tolist() == list(range(40, 60))
    assert data.split(loaded, seed=0).test.tolist() == list(range(40, 60))


def test_cifar10_is_fetched_with_the_names_of_its_classes(site: Path) -> None:
    # Keras expects 10,000 rows in a batch; here they are ten that repeat.
    ten = draw(10, 3, 32, 32)
    rows = np.broadcast_to(ten, (1000, 10, 3, 32, 32)).reshape(10_000, -1)
    batch = {b"data": rows, b"labels": [*range(10)] * 1000}
    test = {b"data": rows[:10], b"labels": [*range(10)]}
    folder = "cifar-10-batches-py"
    members = {f"{folder}/data_batch_{number}": batch for number in range(1, 6)} | {f"{folder}/test_batch": test}
    write_tar(site / "cifar-10-python.tar.gz", members)
    loaded = data.load("cifar10")
    assert loaded.classes[:4] == ("airplane", "automobile", "bird", "cat")
    assert loaded.classes[9] == "truck"
    assert loaded.inputs.shape == (50_010, 32, 32, 3)
    np.testing.assert_array_equal(loaded.inputs[49_990:50_000], ten.transpose(0, 2, 3, 1))
    assert loaded.held_out is not None
    assert loaded.held_out.tolist() == list(range(50_000, 50_010))
    assert loaded.class_counts["frog"] == 5001


def test_cifar100_is_fetched_with_its_fine_labels(site: Path) -> None:
    learned, held_out = draw(300, 3, 32, 32), draw(100, 3, 32, 32)
    parts = {"train": learned, "test": held_out}
    members = {
        f"cifar-100-python/{part}": {
            b"data": pictures.reshape(len(pictures), -1),
            b"fine_labels": cycle(pictures, 100).tolist(),
            b"coarse_labels": cycle(pictures, 20).tolist(),
        }
        for part, pictures in parts.items()
    }
    write_tar(site / "cifar-100-python.tar.gz", members)
    loaded = data.load("cifar100", Wanted(classes=("worm", "apple", "lawn_mower")))
    assert loaded.class_counts == {"worm": 4, "apple": 4, "lawn_mower": 4}
    for label, place in enumerate((99, 0, 41)):
        expected = np.concatenate([learned, held_out])[place::100].transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(loaded.inputs[loaded.labels == label], expected)
    assert loaded.held_out is not None
    assert loaded.held_out.tolist() == [9, 10, 11]


def test_the_classes_of_cifar100_are_a_hundred_in_alphabetical_order() -> None:
    classes = data.downloads.DOWNLOADS["cifar100"]
    assert len(set(classes)) == 100
    assert list(classes) == sorted(classes)


def test_fetched_pictures_are_brought_into_the_wanted_form(site: Path) -> None:
    write_mnist(site, draw(40, 28, 28), draw(20, 28, 28))
    assert data.load("mnist", Wanted((32, 40), "COLOR_RGB")).inputs.shape == (60, 32, 40, 3)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_a_download_that_fails_is_told_in_one_line_with_what_to_do_instead(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fname: str, origin: str, **options: Any) -> str:
        # Port 9 of this machine, on which nothing listens.
        near = f"http://127.0.0.1:9/{origin.rpartition('/')[2]}"
        return functools.partial(keras.utils.get_file, cache_dir=tmp_path)(fname, origin=near, **options)  # type: ignore[no-any-return]

    monkeypatch.setattr(f"keras.src.datasets.{name}.get_file", refuse)
    with pytest.raises(TrainingError) as failed:
        data.load(name)
    message = str(failed.value)
    assert message.startswith(f"the data set '{name}' cannot be fetched: URL fetch failure on http://127.0.0.1:9/")
    assert message.endswith("a folder of pictures or a .npz file can be given in its place, by its path")
    assert "\n" not in message


def test_a_damaged_download_is_told(site: Path) -> None:
    (site / "mnist.npz").write_bytes(b"<html>\n<h1>log in to this network\n")
    with pytest.raises(TrainingError, match="the data set 'mnist' cannot be fetched: ") as failed:
        data.load("mnist")
    assert "\n" not in str(failed.value)


def test_every_source_with_a_name_is_listed() -> None:
    assert NAMES == ("digits", "circles", "mnist", "fashion_mnist", "cifar10", "cifar100")
