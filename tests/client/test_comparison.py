from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from artifacts import SIDE, WEIGHTS, tiny_answer, tiny_manifest, tiny_model, write_artifact
from onnx import numpy_helper
from PIL import Image
from processes import ServerProcess, serving
from strata.v1.inference_pb2 import GetActivationsRequest
from strata_client import (
    Client,
    DeadlineExceeded,
    Description,
    Difference,
    Differences,
    InvalidArgument,
    Layer,
    NotFound,
    ResourceExhausted,
    StrataError,
    comparison,
)
from strata_client._calls import Call, Line, Take
from strata_client._chunks import Limits

LAYERS = ["image", "double", "flat", "scores", "predictions"]
CHANGED = WEIGHTS.copy()
CHANGED[3, 1] += 0.5
SPOILED = WEIGHTS.copy()
SPOILED[3, 1] = np.nan


def images(rows: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(rows).random((rows, SIDE, SIDE, 1), np.float32)


def descending(rows: int) -> npt.NDArray[np.float32]:
    """Images of which the first has the largest values: what is kept of it must outlast the others."""
    return images(rows) / np.arange(1, rows + 1, dtype=np.float32)[:, None, None, None]


def with_weights(weights: npt.NDArray[np.float32]) -> onnx.ModelProto:
    model = tiny_model()
    (found,) = (one for one in model.graph.initializer if one.name == "weights")
    found.CopyFrom(numpy_helper.from_array(weights, "weights"))
    return model


def renamed(**names: str) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The tiny model and its manifest with other names; it takes no pictures."""
    model, manifest = tiny_model(), tiny_manifest()
    graph = model.graph
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for side in (node.input, node.output):
            side[:] = [names.get(name, name) for name in side]
    for layer in manifest["layers"]:
        layer["name"] = names.get(layer["name"], layer["name"])
    manifest["inputs"] = [names.get(name, name) for name in manifest["inputs"]]
    del manifest["preprocessing"]
    return model, manifest


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Serve the tiny model, one with another weight, and ones that differ in what they are called."""
    models = tmp_path_factory.mktemp("versions") / "models"
    write_artifact(models, version=1)
    write_artifact(models, version=2, model=with_weights(CHANGED))
    write_artifact(models, version=3, model=with_weights(SPOILED))
    model, manifest = renamed(image="pixels", double="twice")
    write_artifact(models, "bare", model=model, manifest=manifest)
    model, manifest = renamed(**{name: f"x{name}" for name in LAYERS})
    write_artifact(models, "other", model=model, manifest=manifest)
    with serving(models) as server:
        yield server


@pytest.fixture
def client(versions: ServerProcess) -> Iterator[Client]:
    with Client(versions.grpc) as client:
        yield client


def test_the_differences_of_each_layer_are_those_that_numpy_finds(client: Client) -> None:
    rows = images(3)
    found = client.diff("tiny:1", "tiny:2", rows)
    assert (found.a, found.b, found.rows, found.tolerance) == ("tiny:1", "tiny:2", 3, 1e-3)
    assert [layer.name for layer in found.layers] == LAYERS
    assert (found.only_a, found.only_b, found.reshaped, found.before_entry) == ((), (), (), ())
    flat = (2 * rows).reshape(3, -1)
    apart = np.abs(flat @ CHANGED - flat @ WEIGHTS)
    scores = found.layers[3]
    # The same sums in another order, beside a difference of about one.
    assert scores.largest == pytest.approx(apart.max(), abs=1e-5)
    assert scores.mean == pytest.approx(apart.mean(), abs=1e-5)
    assert scores.magnitude == pytest.approx(np.abs(tiny_answer(rows)["scores"]).max(), abs=1e-5)
    assert scores.relative == scores.largest / scores.magnitude
    assert found.first_past is scores
    assert not found.agree
    assert [layer.largest for layer in found.layers[:3]] == [0, 0, 0]


def test_a_version_agrees_with_itself(client: Client) -> None:
    found = client.diff("tiny:1", "tiny:1", images(2), tolerance=0)
    assert found.agree
    assert found.first_past is None


def test_the_tolerance_is_a_share_of_the_largest_magnitude(client: Client) -> None:
    (scores,) = client.diff("tiny:1", "tiny:2", images(1), layers=["scores"]).layers
    below, above = (
        client.diff("tiny:1", "tiny:2", images(1), layers=["scores"], tolerance=scores.relative * share)
        for share in (0.99, 1.01)
    )
    assert (below.agree, above.agree) == (False, True)


@pytest.mark.parametrize("max_bytes", [64 * 2**20, 500, 20])
def test_the_size_of_the_requests_changes_nothing(client: Client, max_bytes: int) -> None:
    whole, parts = (compare(client, "tiny:1", "tiny:2", descending(7), size) for size in (2**26, max_bytes))
    assert [layer.name for layer in parts.layers] == LAYERS
    for one, other in zip(whole.layers, parts.layers, strict=True):
        # A row alone and among others is summed in another order.
        figures = [(layer.largest, layer.mean, layer.magnitude) for layer in (one, other)]
        assert figures[0] == pytest.approx(figures[1], abs=1e-6)


def test_what_does_not_fit_an_answer_is_asked_in_parts(versions: ServerProcess, tmp_path: Path) -> None:
    write_artifact(tmp_path / "models", version=1)
    write_artifact(tmp_path / "models", version=2, model=with_weights(CHANGED))
    rows = images(20)  # 1,280 bytes, of which not even a single layer fits
    with (
        serving(tmp_path / "models", "--max-message-bytes", "1024") as small,
        Client(small.grpc) as client,
        Client(versions.grpc) as free,
    ):
        with pytest.raises(ResourceExhausted):
            client.activations({"flat": np.zeros((1, 300), np.float32)}, ["flat"])
        np.testing.assert_array_equal(client.activations(rows, ["double"])["double"], 2 * rows)  # in two requests
        found, expected = (one.diff("tiny:1", "tiny:2", rows) for one in (client, free))
    for layer, other in zip(found.layers, expected.layers, strict=True):
        assert layer.error == ""
        assert (layer.largest, layer.mean) == pytest.approx((other.largest, other.mean), abs=1e-6)


class Recording:
    """A transport that notes which layers are asked, and refuses some."""

    def __init__(self, address: str, refused: Mapping[str, StrataError] | None = None) -> None:
        self._channels = Client(address)._transport
        self.addresses, self.width = self._channels.addresses, self._channels.width
        self.asked: list[tuple[str, list[str], int]] = []
        self._refused = refused or {}

    def begin(self, path: str, take: Take, timeout_s: float) -> Line:
        return self._channels.begin(path, take, timeout_s)

    def perform(self, call: Call[Any], timeout_s: float) -> bytes:
        if call.path.endswith("GetActivations"):
            request = GetActivationsRequest.FromString(call.body)
            rows = request.tensors.tensors[0].shape[0]
            self.asked.append((f"{request.model.name}:{request.model.version}", list(request.layers), rows))
            for layer in request.layers:
                if layer in self._refused:
                    raise self._refused[layer]
        return self._channels.perform(call, timeout_s)

    def close(self) -> None:
        self._channels.close()


def compare(client: Client, a: str, b: str, rows: Any, answer_bytes: int) -> Differences:
    return client._hold(comparison.compare(a, b, rows, limits=Limits(2**26, answer_bytes)), 20)


def test_as_many_layers_as_fit_are_asked_together(versions: ServerProcess) -> None:
    transport = Recording(versions.grpc)
    with Client._over(transport) as client:
        compare(client, "tiny:1", "tiny:2", images(10), 2 * 240)
    asked = [(layers, rows) for model, layers, rows in transport.asked if model == "tiny:1"]
    # A row has 64, 64, 64, 12 and 12 bytes: two of them leave room for the names.
    assert asked == [(["image"], 1), *[(LAYERS, 2)] * 5]


def test_a_layer_that_cannot_be_computed_is_named_and_the_others_are_compared(versions: ServerProcess) -> None:
    with Client._over(Recording(versions.grpc, {"double": InvalidArgument("no kernel for double")})) as client:
        found = client.diff("tiny:1", "tiny:1", images(3))
    assert [(layer.name, layer.error) for layer in found.layers if layer.error] == [("double", "no kernel for double")]
    assert not found.agree
    assert found.first_past is None
    assert [layer.largest for layer in found.layers if not layer.error] == [0] * 4


def test_a_server_that_stops_ends_the_comparison(versions: ServerProcess) -> None:
    with (
        Client._over(Recording(versions.grpc, {"double": DeadlineExceeded("too late")})) as client,
        pytest.raises(DeadlineExceeded, match="too late"),
    ):
        client.diff("tiny:1", "tiny:1", images(3))


def test_an_input_that_does_not_fit_is_refused_at_once(versions: ServerProcess) -> None:
    transport = Recording(versions.grpc)
    with Client._over(transport) as client, pytest.raises(InvalidArgument, match="expected"):
        client.diff("tiny:1", "tiny:2", images(2)[..., :2, :])
    assert len(transport.asked) == 1


def test_not_a_number_differs_from_a_number_without_end(client: Client) -> None:
    found = client.diff("tiny:1", "tiny:3", images(1))
    assert found.first_past
    assert (found.first_past.name, found.first_past.largest, found.first_past.mean) == ("scores", np.inf, np.inf)
    assert client.diff("tiny:3", "tiny:3", images(1)).agree


def test_inputs_of_other_names_are_the_same_input(client: Client) -> None:
    rows = images(2)
    for inputs in (rows, {"image": rows}):
        found = client.diff("tiny:1", "bare", inputs)
        assert [layer.name for layer in found.layers] == ["image", "flat", "scores", "predictions"]
        assert found.agree
        assert (found.only_a, found.only_b) == (("double",), ("twice",))


def test_what_stands_before_the_entry_is_left_out_and_named(client: Client) -> None:
    stored = {"flat": client.activations(images(2), ["flat"], model="tiny:1")["flat"]}
    found = client.diff("tiny:1", "tiny:2", stored)
    assert [layer.name for layer in found.layers] == ["flat", "scores", "predictions"]
    assert found.before_entry == ("image", "double")
    whole = client.diff("tiny:1", "tiny:2", images(2))
    assert found.layers[1].largest == pytest.approx(whole.layers[3].largest, abs=1e-6)


@pytest.mark.parametrize(("a", "b"), [("tiny:1", "bare"), ("bare", "tiny:1")])
def test_what_one_saw_in_a_picture_enters_the_other_that_takes_none(
    client: Client, tmp_path: Path, a: str, b: str
) -> None:
    paths = [tmp_path / f"{place}.png" for place in range(3)]
    for place, path in enumerate(paths):
        Image.fromarray(np.full((SIDE, SIDE), 40 * place + 10, np.uint8)).save(path)
    found = client.diff(a, b, paths)
    assert (found.rows, found.agree) == (3, True)
    assert found.layers[0].magnitude == pytest.approx(90 / 255)
    assert client.diff(a, b, paths[0]).rows == 1


def test_versions_that_have_no_layer_in_common_are_refused(client: Client) -> None:
    found = client.diff("tiny:1", "other", images(1))
    assert [layer.name for layer in found.layers] == ["image"]  # by whatever name
    with pytest.raises(InvalidArgument, match="tiny:1 and other:1 have no layer to compare"):
        client.diff("tiny:1", "other", {"predictions": np.zeros((1, 3), np.float32)})


@pytest.mark.parametrize(("name", "who"), [("nope", "tiny:1"), ("double", "bare:1")])
def test_a_layer_that_one_of_them_lacks_cannot_be_asked(client: Client, name: str, who: str) -> None:
    with pytest.raises(NotFound, match=f"{who} has no layer '{name}'"):
        client.diff("tiny:1", "bare", images(1), layers=["scores", name])


def test_no_layer_of_the_same_depth_is_reached_from_an_entry() -> None:
    depths = {"image": 0, "left": 1, "right": 1, "sum": 2}
    layers = tuple(
        Layer(name, "", None, np.dtype("f4"), 0, 0, depth, default_exit=False) for name, depth in depths.items()
    )
    model = Description("m", "1", "", ("image",), layers, (), None, None)
    entered = {"left": np.zeros((1, 2)), "sum": np.zeros((1, 2))}
    assert comparison._names_before(entered, model) == {"image", "right"}
    assert comparison._names_before(images(1), model) == set()


@pytest.mark.parametrize("tolerance", [-1, np.nan, np.inf])
def test_a_tolerance_that_cannot_be_meant_is_refused(client: Client, tolerance: float) -> None:
    with pytest.raises(InvalidArgument, match="tolerance"):
        client.diff("tiny:1", "tiny:2", images(1), tolerance=tolerance)


@pytest.mark.parametrize(
    ("a", "b", "largest", "mean"),
    [
        ([1, 2, 3], [1, 2, 3], 0, 0),
        ([1, np.nan, np.inf, -np.inf], [1, np.nan, np.inf, -np.inf], 0, 0),
        ([np.nan], [0], np.inf, np.inf),
        ([0], [np.inf], np.inf, np.inf),
        ([np.inf], [-np.inf], np.inf, np.inf),
        ([0, 4], [1, 1], 3, 2),
        ([3e38], [-3e38], 6e38, 6e38),
    ],
)
def test_a_difference_is_a_number_or_infinity(a: list[float], b: list[float], largest: float, mean: float) -> None:
    apart = comparison._subtract(np.array(a, np.float32), np.array(b, np.float32))
    # Of float32 values near the largest there are seven digits.
    assert (apart.max(), apart.mean()) == pytest.approx((largest, mean), rel=1e-6)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16"])
def test_every_type_of_number_is_compared(dtype: str) -> None:
    apart = comparison._subtract(np.array([0, 1]).astype(dtype), np.array([1, 1]).astype(dtype))
    assert apart.tolist() == [1, 0]


@pytest.mark.parametrize(("largest", "magnitude", "relative"), [(0, 0, 0), (1, 0, np.inf), (1, 4, 0.25), (0, 5, 0)])
def test_a_difference_beside_nothing_is_infinite(largest: float, magnitude: float, relative: float) -> None:
    assert Difference("a", "", largest, 0.0, magnitude, past=False).relative == relative


def test_shapes_fit_where_what_is_open_may_be_the_same(client: Client) -> None:
    layer = client.layers("tiny:1")[1]
    shapes = [(-1, 4, 4, 1), (-1, -1, 4, 1), (-1, 4, 4, 2), (-1, 16), None]
    fits = [comparison._fits(layer, replace(layer, shape=shape)) for shape in shapes]
    assert fits == [True, True, False, False, True]
