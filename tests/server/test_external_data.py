import os
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from strata_server.errors import ArtifactError
from strata_server.external_data import embed_external_data, refuse_external_data
from strata_server.tensors import Array
from strata_server.weights import all_tensors

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)
STORED = VALUES.tobytes()  # 24 bytes
SECRET = bytes(reversed(STORED))
LONG_NAME = "layer" * 50


def external(
    fields: Mapping[str, str | int] | None = None, *, dims: tuple[int, ...] = (2, 3), data_type: int = TensorProto.FLOAT
) -> TensorProto:
    tensor = TensorProto(name="weights", data_type=data_type, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "weights.bin", **(fields or {})}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def model_of(*initializers: TensorProto) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph([], "weights", [], [], initializers))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a version's folder; beside it lies what it must not reach."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "weights.bin").write_bytes(SECRET)
    folder = tmp_path / "version"
    (folder / "parts").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(STORED)
    (folder / "parts" / "weights.bin").write_bytes(STORED)
    (folder / "parts" / "long.bin").write_bytes(STORED + bytes(8))
    return folder


def embedded(folder: Path, tensor: TensorProto) -> TensorProto:
    model = model_of(tensor)
    embed_external_data(model, folder)
    return model.graph.initializer[0]


def refuse(folder: Path, tensor: TensorProto, reason: str) -> None:
    """Assert that a tensor is refused for a reason, and that the message tells no path of this machine."""
    model = model_of(tensor)
    with pytest.raises(ArtifactError, match=re.escape(reason)) as caught:
        embed_external_data(model, folder)
    assert "'weights'" in str(caught.value)
    assert str(folder.parent) not in str(caught.value)
    assert model == model_of(tensor)


@pytest.mark.parametrize("one_file", [True, False])
def test_what_onnx_saves_beside_a_model_is_what_the_model_held(tmp_path: Path, *, one_file: bool) -> None:
    arrays: dict[str, Array] = {
        "a": np.random.default_rng(1).normal(size=(40, 30)).astype(np.float32),
        "b": np.arange(999, dtype=np.int64),
        "c": np.array([], np.float16),
        "d": np.array(True),
    }
    whole = model_of(*(numpy_helper.from_array(array, name) for name, array in arrays.items()))
    onnx.save_model(
        onnx.ModelProto.FromString(whole.SerializeToString()),
        tmp_path / "model.onnx",
        save_as_external_data=True,
        all_tensors_to_one_file=one_file,
        location="weights.bin" if one_file else None,
        size_threshold=0,
    )
    model = onnx.load_model(tmp_path / "model.onnx", load_external_data=False)
    assert any(tensor.data_location == TensorProto.EXTERNAL for tensor in all_tensors(model))
    embed_external_data(model, tmp_path)
    refuse_external_data(model)
    onnx.checker.check_model(model)
    for tensor in model.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), arrays[tensor.name])


def in_an_initializer() -> onnx.ModelProto:
    return model_of(external())


def in_a_sparse_initializer() -> onnx.ModelProto:
    model = model_of()
    model.graph.sparse_initializer.add(values=external())
    return model


def in_an_attribute() -> onnx.ModelProto:
    return model_with(value=external())


def in_a_list_of_tensors() -> onnx.ModelProto:
    return model_with(values=[external()])


def in_a_sparse_attribute() -> onnx.ModelProto:
    return model_with(sparse_value=onnx.SparseTensorProto(indices=external()))


def in_a_subgraph() -> onnx.ModelProto:
    return model_with(then_branch=in_an_attribute().graph)


def in_a_list_of_subgraphs() -> onnx.ModelProto:
    return model_with(branches=[in_an_initializer().graph])


def in_a_function() -> onnx.ModelProto:
    model = model_of()
    model.functions.append(helper.make_function("local", "F", [], [], in_an_attribute().graph.node, []))
    return model


def in_the_default_of_an_attribute() -> onnx.ModelProto:
    model = model_of()
    default = helper.make_attribute("value", external())
    model.functions.append(helper.make_function("local", "F", [], [], [], [], attribute_protos=[default]))
    return model


def in_a_training_graph() -> onnx.ModelProto:
    model = model_of()
    model.training_info.add().algorithm.initializer.append(external())
    return model


def in_the_start_of_a_training() -> onnx.ModelProto:
    model = model_of()
    model.training_info.add().initialization.initializer.append(external())
    return model


def model_with(**attributes: Any) -> onnx.ModelProto:
    """Return a model of one node."""
    return helper.make_model(helper.make_graph([helper.make_node("Any", [], [], **attributes)], "weights", [], []))


@pytest.mark.parametrize(
    "make",
    [
        in_an_initializer,
        in_a_sparse_initializer,
        in_an_attribute,
        in_a_list_of_tensors,
        in_a_sparse_attribute,
        in_a_subgraph,
        in_a_list_of_subgraphs,
        in_a_function,
        in_the_default_of_an_attribute,
        in_a_training_graph,
        in_the_start_of_a_training,
    ],
)
def test_a_tensor_is_found_wherever_it_stands(folder: Path, make: Callable[[], onnx.ModelProto]) -> None:
    model = make()
    with pytest.raises(ArtifactError, match=r"'weights' lies in another file.*--allow-external-data"):
        refuse_external_data(model)
    embed_external_data(model, folder)
    refuse_external_data(model)
    assert [tensor.raw_data for tensor in all_tensors(model) if tensor.name == "weights"] == [STORED]


def test_a_model_without_external_data_needs_no_folder(tmp_path: Path) -> None:
    model = model_of(numpy_helper.from_array(VALUES, "weights"))
    embed_external_data(model, tmp_path / "missing")
    refuse_external_data(model)
    assert model.graph.initializer[0].raw_data == STORED


def test_a_folder_that_is_not_there_is_refused_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="folder cannot be opened") as caught:
        embed_external_data(model_of(external()), tmp_path / "missing")
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "dims", "expected"),
    [
        ({}, (2, 3), STORED),
        ({"location": "parts/weights.bin"}, (2, 3), STORED),
        ({"offset": 8}, (4,), STORED[8:]),
        ({"offset": 8, "length": 4}, (), STORED[8:12]),
        ({"length": "0008", "checksum": "?"}, (2,), STORED[:8]),
        ({"offset": 24}, (0,), b""),
        ({"offset": 24, "length": 0}, (5, 0), b""),
    ],
)
def test_a_tensor_becomes_its_bytes(
    folder: Path, fields: dict[str, str | int], dims: tuple[int, ...], expected: bytes
) -> None:
    tensor = embedded(folder, external(fields, dims=dims))
    assert tensor.raw_data == expected
    assert not tensor.external_data
    assert tensor.data_location == TensorProto.DEFAULT


@pytest.mark.parametrize(
    ("data_type", "count", "length"),
    [
        (TensorProto.INT4, 5, 3),
        (TensorProto.UINT4, 6, 3),
        (TensorProto.FLOAT4E2M1, 1, 1),
        (TensorProto.INT8, 5, 5),
        (TensorProto.BFLOAT16, 5, 10),
        (TensorProto.COMPLEX64, 3, 24),
    ],
)
def test_a_type_says_how_many_bytes_there_are(folder: Path, data_type: int, count: int, length: int) -> None:
    assert (
        embedded(folder, external({"length": length}, dims=(count,), data_type=data_type)).raw_data == STORED[:length]
    )
    refuse(folder, external({"length": length - 1}, dims=(count,), data_type=data_type), f"need {length}")


BAD_FIELDS: dict[str, tuple[dict[str, str | int], str]] = {
    "a negative offset": ({"offset": -8}, "the offset '-8'"),
    "an offset that is no number": ({"offset": "0x8"}, "the offset '0x8'"),
    "an offset with a space": ({"offset": " 8"}, "the offset ' 8'"),
    "an offset with a line end": ({"offset": "8\n"}, "the offset '8\\n'"),
    "an offset in other digits": ({"offset": "٨"}, "the offset '٨'"),
    "an offset of thousands of digits": ({"offset": "9" * 5000}, "expected decimal digits"),
    "an offset beyond the end": ({"offset": 25}, "begins at byte 25 of 'weights.bin', which has 24"),
    "an offset that leaves too little": ({"offset": 4}, "has 20 bytes in 'weights.bin'; its shape and type need 24"),
    "a negative length": ({"length": -24}, "the length '-24'"),
    "an empty length": ({"length": ""}, "the length ''"),
    "a short length": ({"length": 20}, "need 24"),
    "a long length": ({"location": "parts/long.bin", "length": 25}, "need 24"),
    "a long file": ({"location": "parts/long.bin"}, "has 32 bytes in 'parts/long.bin'; its shape and type need 24"),
    "a length beyond the end": ({"length": 25}, "has 25 bytes from byte 0 of 'weights.bin', which has 24"),
    "offset and length beyond the end": ({"offset": 4, "length": 24}, "has 24 bytes from byte 4"),
    "a sum beyond 64 bits": ({"offset": 8, "length": 2**63 + 24}, "from byte 8 of 'weights.bin', which has 24"),
}


@pytest.mark.parametrize(("fields", "reason"), BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_a_region_that_is_not_the_tensor_is_refused(folder: Path, fields: dict[str, str | int], reason: str) -> None:
    refuse(folder, external(fields), reason)


@pytest.mark.parametrize(
    ("dims", "reason"),
    [
        ((3, 3), "need 36"),
        ((-2, -3), "a shape that is none: '(-2, -3)'"),
        ((2**62, 4), f"need {2**66}"),  # 0 in 64 bits
        ((1,) * 65, "a shape that is none"),
    ],
)
def test_a_shape_that_is_not_the_bytes_is_refused(folder: Path, dims: tuple[int, ...], reason: str) -> None:
    refuse(folder, external(dims=dims), reason)


@pytest.mark.parametrize(
    ("data_type", "reason"),
    [
        (TensorProto.STRING, "holds strings"),
        (TensorProto.UNDEFINED, "is of no known type"),
        (999, "is of no known type"),
    ],
)
def test_a_type_without_a_size_is_refused(folder: Path, data_type: int, reason: str) -> None:
    refuse(folder, external(data_type=data_type), reason)


@pytest.mark.parametrize(
    "location",
    [
        "",
        ".",
        "..",
        "../outside/weights.bin",
        "parts/../weights.bin",
        "parts/../../outside/weights.bin",
        "./weights.bin",
        "parts//weights.bin",
        "parts/",
        "parts\\weights.bin",
        "weights.bin\0",
        "/etc/hostname",
        "a/" * 600 + "weights.bin",
    ],
)
def test_a_name_that_could_lead_elsewhere_is_refused(folder: Path, location: str) -> None:
    refuse(folder, external({"location": location}), "expected the name of a file in the version's folder")


def test_the_absolute_path_of_the_right_file_is_refused(folder: Path) -> None:
    model = model_of(external({"location": str(folder / "weights.bin")}))
    with pytest.raises(ArtifactError, match="expected the name of a file"):
        embed_external_data(model, folder)


@pytest.mark.parametrize("location", ["missing.bin", "weights.bin/inner", "x" * 256, "\ud7ff\U0010ffff"])
def test_a_file_that_cannot_be_opened_is_refused(folder: Path, location: str) -> None:
    refuse(folder, external({"location": location}), "which cannot be opened")


@pytest.mark.parametrize("target", ["../outside/weights.bin", "parts/weights.bin"])
def test_a_link_in_place_of_the_file_is_refused(folder: Path, target: str) -> None:
    (folder / "link.bin").symlink_to(target)
    assert (folder / "link.bin").read_bytes() in {STORED, SECRET}
    refuse(folder, external({"location": "link.bin"}), "no part of its name a link")


@pytest.mark.parametrize("target", ["../outside", "parts"])
def test_a_link_in_place_of_a_folder_is_refused(folder: Path, target: str) -> None:
    (folder / "link").symlink_to(target, target_is_directory=True)
    assert (folder / "link" / "weights.bin").read_bytes() in {STORED, SECRET}
    refuse(folder, external({"location": "link/weights.bin"}), "no part of its name a link")


def test_a_file_with_another_name_is_refused(folder: Path) -> None:
    (folder / "hard.bin").hardlink_to(folder.parent / "outside" / "weights.bin")
    refuse(folder, external({"location": "hard.bin"}), "expected one hard link")


def test_a_pipe_is_refused_without_waiting(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(10)
    try:
        refuse(folder, external({"location": "pipe"}), "no regular file")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def give_up(*_: object) -> None:
    pytest.fail("it waited for a writer")


def test_a_folder_in_place_of_the_file_is_refused(folder: Path) -> None:
    refuse(folder, external({"location": "parts"}), "no regular file")


def test_the_folder_of_the_version_may_be_a_link(folder: Path) -> None:
    (folder.parent / "current").symlink_to(folder.name, target_is_directory=True)
    assert embedded(folder.parent / "current", external()).raw_data == STORED


def test_a_folder_that_is_swapped_for_a_link_meanwhile_leads_nowhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_really = os.open

    def swap(path: str | bytes | Path, flags: int, *, dir_fd: int | None = None) -> int:
        if path == b"weights.bin" and not (folder / "moved").exists():
            (folder / "parts").rename(folder / "moved")
            (folder / "parts").symlink_to("../outside", target_is_directory=True)
        return open_really(path, flags, dir_fd=dir_fd)

    model = model_of(external({"location": "parts/weights.bin"}))
    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(ArtifactError, match="no part of its name a link"):
        embed_external_data(model, folder)
    assert (folder / "parts" / "weights.bin").read_bytes() == SECRET
    assert model == model_of(external({"location": "parts/weights.bin"}))


def test_a_file_that_shrinks_meanwhile_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_really = os.fstat

    def shrink(descriptor: int) -> os.stat_result:
        status = look_really(descriptor)
        os.truncate(folder / "weights.bin", 8)
        return status

    monkeypatch.setattr(os, "fstat", shrink)
    refuse(folder, external(), "which changed while it was read")


def test_weights_may_be_shared_but_not_a_thousand_times(folder: Path) -> None:
    model = model_of(*[external()] * 4)
    embed_external_data(model, folder)
    assert [tensor.raw_data for tensor in model.graph.initializer] == [STORED] * 4
    with pytest.raises(ArtifactError, match="have 120 bytes together; expected at most 4 times the 24 bytes"):
        embed_external_data(model_of(*[external()] * 5), folder)
    # Another file that is read once makes room: what counts is the whole.
    embed_external_data(model_of(*[external()] * 5, external({"location": "parts/weights.bin"})), folder)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (["offset"], "does not say which"),
        (["location", "location"], "says something twice"),
    ],
)
def test_a_tensor_that_does_not_say_where_it_lies_is_refused(folder: Path, keys: list[str], reason: str) -> None:
    tensor = external()
    del tensor.external_data[:]
    for key in keys:
        tensor.external_data.add(key=key, value="weights.bin")
    refuse(folder, tensor, reason)


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("weights.bin", "'weights' lies in '\ufffd\ufffd\ufffdghts.bin', which cannot be opened"),
        ("location", "'weights' lies in another file, but does not say which"),
        (LONG_NAME, "…' lies in 'missing'"),
    ],
)
def test_text_that_is_no_utf_8_is_refused(folder: Path, field: str, reason: str) -> None:
    tensor = external({"location": "missing"}) if field == LONG_NAME else external()
    tensor.name = LONG_NAME if field == LONG_NAME else "weights"
    data = model_of(tensor).SerializeToString().replace(field.encode(), b"\xff" * 3 + field.encode()[3:])
    with pytest.raises(ArtifactError, match=re.escape(reason)):
        embed_external_data(onnx.load_model_from_string(data), folder)


def test_no_descriptor_stays_open(folder: Path) -> None:
    count = len(list(Path("/proc/self/fd").iterdir()))
    for location in ("weights.bin", "parts/weights.bin", "parts", "missing/weights.bin", "parts/missing"):
        model = model_of(external({"location": location}))
        try:
            embed_external_data(model, folder)
        except ArtifactError:
            continue
        assert model.graph.initializer[0].raw_data == STORED
    assert len(list(Path("/proc/self/fd").iterdir())) == count
