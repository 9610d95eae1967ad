from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from artifacts import CLASSES, SIDE, assert_close, tiny_answer
from PIL import Image
from processes import ServerProcess
from strata.v1.inference_pb2 import GetActivationsRequest, PredictRequest
from strata_client import (
    Activations,
    Client,
    Description,
    InvalidArgument,
    Layer,
    NotFound,
    Reduction,
    ResourceExhausted,
    StrataError,
    _chunks,
    _sizes,
    tensors,
)
from strata_client._calls import Call, Line, Take
from strata_client._questions import Activation
from strata_client._rows import enter

ROW_BYTES = SIDE * SIDE * 4


def images(rows: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(rows).random((rows, SIDE, SIDE, 1), np.float32)


class Counting:
    """A transport that notes what is asked: methods, rows and models; and does something before a call."""

    def __init__(self, address: str, max_message_bytes: int = 2**26) -> None:
        self._channels = Client(address, max_message_bytes=max_message_bytes)._transport
        self.addresses, self.width = self._channels.addresses, self._channels.width
        self.asked: list[str] = []
        self.rows: list[int] = []
        self.models: list[str] = []
        self.longest = 0
        self.most_rows = 2**63
        self.refusals: dict[int, StrataError] = {}
        """By the number of the call, from 1."""

    def begin(self, path: str, take: Take, timeout_s: float) -> Line:
        return self._channels.begin(path, take, timeout_s)

    def perform(self, call: Call[Any], timeout_s: float) -> bytes:
        self.asked.append(call.path.rpartition("/")[2])
        if self.asked[-1] in {"Predict", "GetActivations"}:
            kind = PredictRequest if self.asked[-1] == "Predict" else GetActivationsRequest
            request: Any = kind.FromString(call.body)
            pictures = len(request.images.encoded)
            self.rows.append(pictures or request.tensors.tensors[0].shape[0])
            self.models.append(f"{request.model.name}:{request.model.version}")
            self.longest = max(self.longest, len(call.body))
            if self.rows[-1] > self.most_rows:
                raise ResourceExhausted("too many rows")
        if len(self.asked) in self.refusals:
            raise self.refusals[len(self.asked)]
        return self._channels.perform(call, timeout_s)

    def close(self) -> None:
        self._channels.close()


@pytest.fixture
def transport(tiny: ServerProcess) -> Counting:
    return Counting(tiny.grpc)


def connect(transport: Counting, *, max_message_bytes: int = 2**26, answer_bytes: int = 2**25) -> Client:
    client = Client._over(transport, max_message_bytes=max_message_bytes)
    client._limits.answer_bytes = answer_bytes
    return client


@pytest.mark.parametrize("rows", [1, 2, _chunks.FEW_ROWS])
def test_a_few_rows_are_one_call(transport: Counting, rows: int) -> None:
    with connect(transport) as client:
        client.predict(images(rows))
    assert (transport.asked, transport.rows) == (["Predict"], [rows])


def test_many_rows_are_one_call_where_the_answer_is_small_and_the_catalog_is_asked_once(transport: Counting) -> None:
    with connect(transport) as client:
        for _ in range(2):
            client.predict(images(1000))
    assert transport.asked == ["DescribeModel", "Predict", "Predict"]
    assert set(transport.models) == {":"}


def test_answers_stay_near_their_size_and_are_one(transport: Counting) -> None:
    rows = images(50)
    with connect(transport, answer_bytes=8 * ROW_BYTES) as client:
        found = client.activations(rows, ["double", "predictions"])
        reduced = client.activations(rows, ["double"], reduce="mean+half")
    assert sorted(transport.rows[:-1]) == [2, *[6] * 8]  # 76 bytes a row
    assert transport.rows[-1] == 50
    assert (found.model, found.version, list(found)) == ("tiny", "12", ["double", "predictions"])
    expected = tiny_answer(rows)
    for name, values in found.items():
        assert_close(values, expected[name])
    np.testing.assert_array_equal(reduced["double"], expected["double"].mean((1, 2)).astype(np.float16))


def test_all_parts_come_from_the_version_that_answered_first(transport: Counting) -> None:
    with connect(transport, answer_bytes=30 * 12) as client:
        found = client.predict(images(100), model="tiny")
    assert transport.models[0] == "tiny:"
    assert set(transport.models[1:]) == {"tiny:12"}
    assert found.version == "12"


def test_labels_channels_and_rows_keep_their_order(transport: Counting) -> None:
    rows = images(40)
    expected = tiny_answer(rows)
    with connect(transport, answer_bytes=100) as client:
        predictions = client.predict(rows, top=1)
        top = client.activations(rows, ["scores", "predictions"], reduce={"scores": "top:2", "predictions": "labels:1"})
    assert len(transport.rows) > 10
    best = [CLASSES[row.argmax()] for row in expected["predictions"]]
    assert [row.label for row in predictions] == [row.label for row in top.predictions] == best
    assert_close(predictions.outputs["predictions"], expected["predictions"])
    np.testing.assert_array_equal(top.channels["scores"], np.argsort(-expected["scores"], axis=1)[:, :2])


def test_requests_stay_under_the_largest_message(transport: Counting) -> None:
    rows = images(100)
    with connect(transport, max_message_bytes=1024) as client:
        found = client.activations({"image": rows}, ["scores"], model="tiny:1")
    assert_close(found["scores"], tiny_answer(rows)["scores"])
    assert transport.longest <= 1024
    assert len(transport.rows) < 14  # of 16 rows each at best


def test_a_row_larger_than_a_message_is_refused_with_both_numbers(transport: Counting) -> None:
    with connect(transport, max_message_bytes=1000) as client:
        for rows in (1, 20):
            with pytest.raises(ResourceExhausted, match=r"has 4,\d\d\d bytes, and max_message_bytes is 1,000"):
                client.predict({"flat": np.zeros((rows, 1000), np.float32)})


@pytest.mark.parametrize(("count", "most", "asked"), [(7, 2, [7, 3, 1]), (100, 30, [100, 50, 25])])
def test_what_a_server_has_no_room_for_is_asked_in_smaller_parts(
    transport: Counting, count: int, most: int, asked: list[int]
) -> None:
    rows = images(count)
    transport.most_rows = most
    with connect(transport) as client:
        assert_close(client.activations(rows, ["double"])["double"], 2 * rows)
    assert transport.rows[: len(asked)] == asked
    assert max(transport.rows[len(asked) :]) <= asked[-1]


def test_a_part_that_is_too_much_is_halved_alone(transport: Counting, pictures: list[Path]) -> None:
    with connect(transport, max_message_bytes=1024) as client:
        transport.refusals[4] = ResourceExhausted("too many pixels")  # the catalog, the first part, one, this one
        seen = client.activations(pictures, ["image"])["image"]
    assert_close(seen[:, 0, 0, 0] * 255, np.arange(30))


def test_who_is_told_when_to_come_back_is_not_asked_for_less(transport: Counting) -> None:
    busy = ResourceExhausted("busy")
    busy.retry_after_s = 60.0
    transport.refusals[1] = busy
    with connect(transport) as client, pytest.raises(ResourceExhausted, match="busy"):
        client.predict(images(4))
    assert transport.rows == [4]


def test_a_version_replaced_meanwhile_is_asked_again_as_a_whole_once(transport: Counting) -> None:
    rows = images(20)
    with connect(transport, answer_bytes=5 * ROW_BYTES) as client:
        transport.refusals[3] = NotFound("unknown version")  # the catalog, the first part, this one
        assert_close(client.activations(rows, ["double"])["double"], 2 * rows)
        transport.refusals = {number: NotFound("unknown version") for number in range(len(transport.asked) + 2, 99)}
        with pytest.raises(NotFound):
            client.activations(rows, ["double"])
        began = len(transport.asked)
        transport.refusals = {began + 3: NotFound("unknown version")}
        with pytest.raises(NotFound):
            client.activations(rows, ["double"], model="tiny:12")
        assert transport.asked[began] == "DescribeModel"


def test_a_newer_version_makes_the_client_ask_for_its_catalog(transport: Counting) -> None:
    with connect(transport) as client:
        client.predict(images(9))
        old = client._limits.descriptions[""]
        client._limits.descriptions[""] = Description(old.name, "1", "", old.inputs, old.layers, (), None, None)
        client.predict(images(9))
        assert "" not in client._limits.descriptions
    assert transport.asked == ["DescribeModel", "Predict", "Predict"]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Pictures of one gray each, by their numbers."""
    paths = [tmp_path / f"{number}.png" for number in range(30)]
    for number, path in enumerate(paths):
        Image.fromarray(np.full((SIDE, SIDE), number, np.uint8)).save(path)
    return paths


def test_pictures_are_sent_in_parts_in_their_order(transport: Counting, pictures: list[Path]) -> None:
    with connect(transport, max_message_bytes=1024) as client:
        seen = client.activations(pictures, ["image"])["image"]
    assert len(transport.rows) > 2
    assert_close(seen[:, 0, 0, 0] * 255, np.arange(30))


@pytest.mark.parametrize("place", [0, 3, 17, 29])
def test_a_picture_that_is_refused_is_named_by_its_row(transport: Counting, pictures: list[Path], place: int) -> None:
    pictures[place].write_bytes(b"no picture")
    with connect(transport, max_message_bytes=1024) as client:
        with pytest.raises(InvalidArgument, match=rf"picture {place}: expected a PNG or JPEG file"):
            client.predict(pictures)
        if place:  # the first one is tried before all others, and ends the comparison
            error = client.diff("tiny:1", "tiny:12", pictures, layers=["double"]).layers[0].error
            assert f"picture {place}: expected a PNG or JPEG file" in error


def test_a_row_without_labels_is_named_as_its_caller_counts(transport: Counting) -> None:
    rows = images(40)
    rows[33, 1, 2] = np.nan
    with connect(transport, answer_bytes=100) as client:
        with pytest.raises(InvalidArgument, match=r"holds nan in row 33, at \(33, 1, 2, 0\)"):
            client.predict(rows)
        assert len(transport.rows) > 3


def test_a_picture_that_cannot_be_read_ends_the_request(transport: Counting, pictures: list[Path]) -> None:
    pictures[20].unlink()
    with connect(transport, max_message_bytes=1024) as client, pytest.raises(FileNotFoundError, match=r"20\.png"):
        client.predict(pictures)


def test_text_is_cut_where_it_fits_whatever_its_length() -> None:
    texts = np.array([["x" * length] for length in (1, 1, 500, 1, 900, 1, 1)], object)
    rows = enter({"text": texts}, 1000)
    parts, first = [], 0
    while first < rows.count:
        fields, stop = rows.write(first, rows.count, 1000)
        assert fields["tensors"].ByteSize() <= 1000
        parts += tensors.read(fields["tensors"].tensors[0]).tolist()
        first = stop
    assert parts == texts.tolist()


@pytest.mark.parametrize("flat", [np.zeros((30, 16), np.float32), np.zeros((), np.float32)])
def test_arrays_that_do_not_fit_together_are_left_whole_for_the_server_to_judge(
    transport: Counting, flat: npt.NDArray[np.float32]
) -> None:
    with connect(transport, answer_bytes=1) as client, suppress(InvalidArgument):
        client.activations({"image": images(20), "flat": flat}, ["scores"])
    assert transport.asked == ["GetActivations"]


def test_an_answer_that_has_no_row_for_each_row_cannot_be_put_together() -> None:
    parts = [Activations("m", "1", {"sum": np.zeros((1, 3), np.float32)}) for _ in range(2)]
    with pytest.raises(InvalidArgument, match="'sum' has no row for each row that enters"):
        Activation(["sum"], "none").join(parts, [5, 5])


LAYER = Layer("a", "", (-1, 10, 12, 8), np.dtype("f4"), 0, 0, 1, default_exit=False, channel_axis=3)


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        (Reduction(), 10 * 12 * 8 * 4),
        (Reduction(half=True), 10 * 12 * 8 * 2),
        (Reduction(pooling="mean"), 8 * 4),
        (Reduction(statistics=True), 5 * 8 * 4),
        (Reduction(channels=(2, 5)), 10 * 12 * 3 * 4),
        (Reduction(space=((0, 2), (4, 8))), 2 * 4 * 8 * 4),
        (Reduction(top_channels=3), 10 * 12 * 3 * (4 + 4)),
        (Reduction(top_channels=99, pooling="max"), 8 * (4 + 4)),
        (Reduction(channels=(0, 4), pooling="max", half=True), 4 * 2),
    ],
)
def test_the_size_of_a_reduced_layer_is_known_before_it_is_asked(reduction: Reduction, expected: int) -> None:
    assert _sizes.row_bytes(LAYER, reduction) == expected


@pytest.mark.parametrize(
    ("layer", "reduction", "expected"),
    [
        (replace(LAYER, shape=None), Reduction(), 0),
        (replace(LAYER, dtype=np.dtype("O")), Reduction(), 0),
        (replace(LAYER, shape=(-1, -1, 12, 8)), Reduction(), 0),
        (replace(LAYER, shape=(-1, -1, 12, 8)), Reduction(pooling="mean"), 8 * 4),
        (replace(LAYER, shape=(-1, 10, 12, -1)), Reduction(pooling="mean"), 0),
        (replace(LAYER, shape=(-1, 10, 12, -1)), Reduction(top_channels=2), 10 * 12 * 2 * 8),
        (replace(LAYER, channel_axis=0), Reduction(half=True), 10 * 12 * 8 * 2),
        (replace(LAYER, shape=(-1,), channel_axis=0), Reduction(), 4),
    ],
)
def test_what_a_request_decides_leaves_a_size_open(layer: Layer, reduction: Reduction, expected: int) -> None:
    assert _sizes.row_bytes(layer, reduction) == expected


def test_layers_of_unknown_size_are_asked_whole(transport: Counting) -> None:
    with connect(transport, answer_bytes=10) as client:
        description = client.describe()
        layers = tuple(replace(layer, shape=None) for layer in description.layers)
        client._limits.descriptions[""] = replace(description, layers=layers)
        client.activations(images(20), ["double"])
    assert transport.rows == [20]
