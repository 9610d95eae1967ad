from pathlib import Path

import numpy as np
import pytest
from strata_client import Activations, archives


@pytest.mark.parametrize(
    "name",
    [
        "conv1",
        "block/conv:0",
        "../up",
        "/root",
        "file",
        "allow_pickle",
        "arr_0",
        "größe 猫",
        "a.npy",
        "con\\v",
        "x" * 200,
        "",
    ],
)
def test_the_name_of_a_layer_survives(tmp_path: Path, name: str) -> None:
    values = np.arange(6, dtype=np.float32).reshape(1, 6)
    archives.save({name: values, "other": values + 1}, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as back:
        assert back.files == [name, "other"]
        np.testing.assert_array_equal(back[name], values)


def test_a_control_character_which_no_zip_file_holds_is_escaped(tmp_path: Path) -> None:
    archives.save({"a\0b\n": np.zeros(1)}, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as back:
        assert back.files == [r"a\x00b\n"]


def test_the_same_arrays_give_the_same_file(tmp_path: Path) -> None:
    for path in ("a.npz", "b.npz"):
        archives.save({"conv1": np.ones((2, 3))}, tmp_path / path)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_the_channels_of_a_layer_stand_beside_it_under_a_name_that_is_no_layers() -> None:
    values, channels = np.zeros((1, 2)), np.ones((1, 2), np.int32)
    layers = {"a": values, "a.channels": values, "b": values}
    arrays = archives.name_arrays(Activations("m", "1", layers, {"a": channels, "b": channels}))
    assert list(arrays) == ["a", "a.channels", "b", "a.channels_", "b.channels"]
    assert arrays["a.channels"] is values
    assert arrays["a.channels_"] is channels
