import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from strata.v1 import inference_pb2
from strata.v1.inference_pb2 import GetActivationsRequest, PredictRequest
from strata_client import InvalidArgument, Reduction, ResourceExhausted, _chunks, _shared
from strata_client._questions import Prediction
from strata_client._rows import enter

ROWS = np.zeros((2, 4), np.float32)


def write(inputs: Any, model: str = "", top: int = 5, max_bytes: int = 2**20) -> PredictRequest:
    rows = enter(inputs, max_bytes)
    fields, stop = rows.write(0, rows.count, max_bytes)
    assert stop == rows.count
    return PredictRequest.FromString(_chunks.write(Prediction(top), fields, model, max_bytes))


def ask(layers: Any = ("a", "b"), reduce: Any = "none") -> GetActivationsRequest:
    fields, _ = enter(ROWS, 2**20).write(0, 2, 2**20)
    return _shared.write_activations(fields, "", layers, reduce)


def test_an_array_goes_to_the_only_input_and_so_has_no_name() -> None:
    request = write(ROWS, top=3)
    (tensor,) = request.tensors.tensors
    assert (tensor.name, list(tensor.shape), request.top_k) == ("", [2, 4], 3)


def test_a_mapping_names_its_inputs() -> None:
    request = write({"left": ROWS, "right": ROWS.astype(np.float64)})
    assert [(one.name, one.data_type) for one in request.tensors.tensors] == [("left", 11), ("right", 12)]


@pytest.mark.parametrize("form", [str, Path, Path.read_bytes, lambda path: bytearray(path.read_bytes())])
def test_a_picture_travels_as_the_file_it_is(picture: Path, form: Any) -> None:
    assert list(write(form(picture)).images.encoded) == [picture.read_bytes()]


def test_a_list_of_pictures_is_a_row_each(picture: Path) -> None:
    data = picture.read_bytes()
    assert list(write([picture, data, Image.open(picture)]).images.encoded)[:2] == [data, data]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_pil_image_travels_as_png_without_a_change(mode: str) -> None:
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20).convert("L").convert(mode)
    (data,) = write(image).images.encoded
    back = Image.open(io.BytesIO(data))
    assert (back.format, back.mode, back.tobytes()) == ("PNG", mode, image.tobytes())


def test_a_pil_image_that_png_cannot_hold_is_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidArgument, match="mode CMYK cannot be sent: convert it to L or RGB first"):
        write(Image.new("CMYK", (2, 2)))


@pytest.mark.parametrize(
    ("inputs", "received"),
    [
        ([1.0, 2.0], "list of float"),
        ([[0.5]], "list of list"),
        ([ROWS], "list of ndarray"),
        (7, "int"),
        (None, "NoneType"),
        ({"image": [1.0]}, "list"),
        ({1: ROWS}, "int"),
    ],
)
def test_anything_else_is_a_type_error_that_says_what_is_expected(inputs: object, received: str) -> None:
    with pytest.raises(TypeError, match=rf"expected .*; received {received}$"):
        write(inputs)


@pytest.mark.parametrize(
    ("model", "name", "version"),
    [("", "", ""), ("digits", "digits", ""), ("digits:12", "digits", "12")],
)
def test_a_model_is_a_name_or_a_name_with_a_version(model: str, name: str, version: str) -> None:
    reference = write(ROWS, model).model
    assert (reference.name, reference.version) == (name, version)


@pytest.mark.parametrize("model", ["digits:", ":", "a\udcff"])
def test_a_model_that_cannot_be_meant_is_refused(model: str) -> None:
    with pytest.raises(InvalidArgument, match="model: expected"):
        write(ROWS, model)


@pytest.mark.parametrize("top", [-1, 2**31])
def test_a_number_of_labels_that_cannot_travel_is_refused(top: int) -> None:
    with pytest.raises(InvalidArgument, match=f"received {top}"):
        write(ROWS, top=top)


def test_layers_are_asked_in_their_order() -> None:
    request = ask(("conv2", "conv1"))
    assert list(request.layers) == ["conv2", "conv1"]


@pytest.mark.parametrize("layers", ["conv1", [1]])
def test_layers_that_are_no_list_of_names_are_a_type_error(layers: Any) -> None:
    with pytest.raises(TypeError, match=r"layer.*: expected"):
        ask(layers)


def test_a_reduction_for_all_layers_is_written_once() -> None:
    request = ask(reduce="channels:1-3+space:0-2,4-8+mean+half")
    assert request.reduction == inference_pb2.Reduction(
        channels={"start": 1, "stop": 3},
        space=[{"start": 0, "stop": 2}, {"start": 4, "stop": 8}],
        pooling=inference_pb2.POOLING_MEAN,
        half=True,
    )
    assert not request.layer_reductions


def test_reductions_of_single_layers_are_written_under_their_names() -> None:
    request = ask(reduce={"a": "statistics", "b": Reduction(top_channels=3, top_labels=4, pooling="max")})
    assert not request.HasField("reduction")
    assert request.layer_reductions["a"] == inference_pb2.Reduction(statistics=True)
    assert request.layer_reductions["b"] == inference_pb2.Reduction(
        top_channels=3, top_labels=4, pooling=inference_pb2.POOLING_MAX
    )


def test_without_a_reduction_there_is_none_in_the_request() -> None:
    assert not ask().HasField("reduction")
    assert not ask(reduce={}).layer_reductions


@pytest.mark.parametrize(
    "reduction",
    [Reduction(top_channels=2**31), Reduction(channels=(0, 2**63)), Reduction(pooling="sum")],
)
def test_a_reduction_that_cannot_travel_is_refused(reduction: Reduction) -> None:
    with pytest.raises(InvalidArgument, match="expected"):
        ask(reduce=reduction)


def test_a_mapping_names_layers_as_well_as_inputs() -> None:
    (tensor,) = write({"block/pool:0": ROWS}).tensors.tensors
    assert tensor.name == "block/pool:0"


def test_a_request_over_the_limit_is_refused_with_both_numbers() -> None:
    with pytest.raises(ResourceExhausted, match=r"has 4,0\d\d bytes, and max_message_bytes is 1,000"):
        write(np.zeros((1, 1000), np.float32), max_bytes=1000)


def test_of_a_file_over_the_limit_no_more_is_read_than_shows_it() -> None:
    with pytest.raises(ResourceExhausted, match="/dev/zero is larger than a message may be: 1,000 bytes"):
        write("/dev/zero", max_bytes=1000)


def test_a_missing_file_is_the_error_it_always_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "none.png")
