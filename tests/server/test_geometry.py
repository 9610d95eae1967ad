from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from strata_server.catalog import ReceptiveField
from strata_server.geometry import Geometry, measure_geometry
from strata_server.graph import Graph
from strata_server.layouts import find_layouts
from strata_server.windows import find_views

FLOAT = onnx.TensorProto.FLOAT
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
IMAGE = (None, 2, 25, 26)


def node(operator: str, takes: str, gives: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, takes.split(), gives.split(), **attributes)


def build(
    nodes: Sequence[onnx.NodeProto], opset: int = 17, shape: Sequence[int | str | None] = IMAGE, **weights: Any
) -> onnx.ModelProto:
    """Build a network from "x" to "y"; convolutions find weights that see everything: a1, a2, a3, b3 and a5."""
    sizes = {"a1": (2, 2, 1, 1), "a2": (2, 2, 2, 3), "a3": (2, 2, 3, 3), "b3": (2, 2, 3, 3), "a5": (2, 2, 5, 5)}
    random = np.random.default_rng(1)
    # Positive, so that no change of a pixel is lost in a Relu or against another.
    weights |= {name: random.uniform(0.5, 1, size).astype(np.float32) for name, size in sizes.items()}
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items() if name in used],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("elsewhere", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def measure(model: onnx.ModelProto, name: str = "y") -> Geometry:
    return measure_geometry(Graph(model))[name]


def look(model: onnx.ModelProto, channel_axis: int) -> npt.NDArray[np.bool_]:
    """Return which places of "y" change with which pixels of "x": (pixels of 2 dimensions, places of 2 dimensions)."""
    height, width = 25, 26
    image = np.ones((1, 2, height, width), np.float32)
    rows = np.repeat(image, height * width, axis=0)
    pixels = np.arange(height * width)
    rows[pixels, :, pixels // width, pixels % width] += 100
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    if session.get_inputs()[0].shape[3] == 2:
        image, rows = image.transpose(0, 2, 3, 1), rows.transpose(0, 2, 3, 1)
    before, after = (session.run(["y"], {"x": value})[0] for value in (image, rows))
    changed = (np.abs(after - before) > 1e-3).any(axis=channel_axis)
    return np.asarray(changed.reshape(height, width, *changed.shape[1:]))


RESIDUAL = [
    node("Conv", "x a3", "c", pads=[1, 1, 1, 1], strides=[2, 2]),
    node("Relu", "c", "r"),
    node("Conv", "r b3", "d", pads=[1, 1, 1, 1]),
    node("Conv", "x a1", "s", strides=[2, 2]),
    node("Add", "d s", "y"),
]
INCEPTION = [
    node("Conv", "x a1", "one"),
    node("Conv", "x a2", "two", pads=[1, 2, 0, 0]),
    node("Conv", "x a5", "five", pads=[2, 2, 2, 2]),
    node("MaxPool", "x", "pool", kernel_shape=[3, 3], pads=[0, 0, 2, 2]),
    node("Concat", "one two five pool", "y", axis=1),
]
FOCUS = [
    node("Slice", "x from0 to axes by", "a"),
    node("Slice", "x from1 to axes by", "b"),
    node("Concat", "a b", "j", axis=1),
    node("Split", "j", "k l", axis=1),
    node("Max", "k l", "m"),
    node("Conv", "m a3", "y"),
]
SLICES = {
    "from0": np.array([0, 0]),
    "from1": np.array([1, -25]),
    "to": np.array([24, 26]),
    "axes": np.array([2, -1]),
    "by": np.array([2, 2]),
}
CHANNELS_LAST = [
    node("Mul", "x scale", "m"),
    node("Transpose", "m", "t", perm=[0, 3, 1, 2]),
    node("Conv", "t a3", "c", strides=[2, 1]),
    node("Transpose", "c", "u", perm=[0, 2, 3, 1]),
    node("MatMul", "u dense", "y"),
]


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [
        pytest.param([node("Conv", "x a2", "y")], {}, id="valid"),
        pytest.param([node("Conv", "x a5", "y", pads=[2, 1, 0, 3], strides=[2, 3])], {}, id="strides and pads"),
        pytest.param([node("Conv", "x a3", "y", dilations=[2, 3], pads=[1, 0, 0, 0])], {}, id="dilations"),
        pytest.param([node("Conv", "x a2", "y", auto_pad="SAME_UPPER")], {}, id="same upper"),
        pytest.param([node("Conv", "x a2", "y", auto_pad="SAME_LOWER")], {}, id="same lower"),
        pytest.param([node("Conv", "x a5", "y", auto_pad="SAME_UPPER", strides=[2, 2])], {}, id="same, strides"),
        pytest.param([node("Conv", "x a3", "y", auto_pad="VALID", strides=[2, 1])], {}, id="auto valid"),
        pytest.param([node("MaxPool", "x", "y", kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1)], {}, id="ceil"),
        pytest.param(
            [
                node("AveragePool", "x", "p", kernel_shape=[2, 2], strides=[2, 2]),
                node("Conv", "p a3", "y", pads=[1, 1, 1, 1]),
            ],
            {},
            id="pool, then convolution",
        ),
        pytest.param(RESIDUAL, {}, id="residual"),
        pytest.param(INCEPTION, {}, id="inception"),
        pytest.param(FOCUS, SLICES, id="slices"),
        pytest.param([node("SpaceToDepth", "x", "y", blocksize=1)], {}, id="block of 1"),
        pytest.param(
            [node("Pad", "x pads", "p"), node("Conv", "p a3", "y", strides=[2, 2])],
            {"pads": np.array([0, 0, 3, 1, 0, 0, 0, 2])},
            id="pad",
        ),
        pytest.param(CHANNELS_LAST, {"dense": np.ones((2, 3), np.float32), "scale": np.float32(0.5)}, id="last"),
    ],
)
def test_a_place_sees_exactly_its_receptive_field(nodes: list[onnx.NodeProto], weights: dict[str, Any]) -> None:
    shape = (None, 25, 26, 2) if nodes is CHANNELS_LAST else IMAGE
    model = build(nodes, 17, shape, **weights)
    graph = Graph(model)
    view = find_views(graph, find_layouts(graph))["y"]
    measured = measure(model)
    changes = look(model, measured.channel_axis)
    for axis, window in enumerate(window for window in view if window is not None):
        assert window.start is not None
        seen = np.asarray(changes.any(axis=(1 - axis, 3 - axis)))  # (pixels, places) of this dimension
        inside = 0
        for place in range(seen.shape[1]):
            first = window.start + place * window.stride
            if first >= 0 and first + window.size <= seen.shape[0]:
                inside += 1
                pixels = np.flatnonzero(seen[:, place])
                assert (pixels[0], pixels[-1] + 1) == (first, first + window.size)
        assert inside > 1
        assert measured.receptive_field is not None
        assert measured.receptive_field.size[axis] == window.size
        assert measured.receptive_field.stride[axis] == window.stride


def test_receptive_fields_are_as_published() -> None:
    def fields(name: str, kinds: set[str]) -> list[tuple[int, int]]:
        graph = Graph(onnx.load(LIGHT / f"light_{name}.onnx"))
        measured = measure_geometry(graph)
        found = [measured[node.output[0]].receptive_field for node in graph.nodes if node.op_type in kinds]
        return [(field.size[0], field.stride[0]) for field in found if field is not None]

    # Araujo et al., Computing Receptive Fields of Convolutional Neural Networks, 2019; VGG19 has 3 more layers
    # of 3 x 3 than its VGG16 (212), at strides 4, 8 and 16.
    assert fields("vgg19", {"Conv"})[:4] == [(3, 1), (5, 1), (10, 2), (14, 2)]
    assert fields("vgg19", {"MaxPool"}) == [(6, 2), (16, 4), (52, 8), (124, 16), (212 + 2 * (4 + 8 + 16), 32)]
    assert fields("bvlc_alexnet", {"MaxPool"})[-1] == (195, 32)
    assert fields("inception_v2", {"Concat"})[-1] == (699, 32)
    assert fields("resnet50", {"Conv"})[0] == (7, 2)
    assert fields("resnet50", {"MaxPool"}) == [(11, 4)]
    # 3 x 3 convolutions at strides 4; 4, 8; 8, 16; 16, 32 (the first of a stage has the stride).
    assert fields("resnet50", {"Sum"})[-1] == (11 + 2 * (3 * 4 + 4 + 3 * 8 + 8 + 5 * 16 + 16 + 2 * 32), 32)


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [
        ([node("GlobalAveragePool", "x", "y")], {}),
        ([node("Conv", "x a3", "c"), node("Flatten", "c", "y")], {}),
        ([node("Conv", "x a3", "c"), node("ReduceMean", "c", "y", axes=[2, 3])], {}),
        ([node("Conv", "x a3", "c"), node("Softmax", "c", "y", axis=-1)], {}),
        ([node("Conv", "x a3", "c"), node("InstanceNormalization", "c one one", "y")], {"one": np.ones(2, np.float32)}),
        ([node("ConvTranspose", "x a3", "y")], {}),
        ([node("GlobalMaxPool", "x", "g"), node("Mul", "x g", "y")], {}),  # squeeze and excite
        ([node("Conv", "x a1", "c", strides=[25, 26]), node("Add", "c x", "y")], {}),  # one place for all
        (
            [
                node("Conv", "x a1", "c"),
                node("MaxPool", "c", "p", kernel_shape=[25, 26]),
                node("Add", "c p", "y"),  # stride 1 both, but the second has one place
            ],
            {},
        ),
        ([node("Conv", "x a1", "a"), node("Transpose", "a", "t", perm=[0, 1, 3, 2])], {}),
        ([node("Conv", "x a1", "c"), node("Concat", "c c", "y", axis=2)], {}),
        ([node("Conv", "x a1", "c"), node("Pad", "c pads", "y", mode="wrap")], {"pads": np.zeros(8, np.int64)}),
        ([node("Conv", "x a1", "c"), node("Unheard", "c", "y", domain="elsewhere")], {}),
    ],
)
def test_what_sees_no_fixed_window_has_no_receptive_field(nodes: list[onnx.NodeProto], weights: dict[str, Any]) -> None:
    if nodes[-1].op_type == "Transpose":
        square = [*nodes, node("Conv", "t a1", "u"), node("Add", "a u", "y")]  # the two dimensions are exchanged
        assert measure(build(square, shape=("N", 2, 8, 8))).receptive_field is None
        return
    assert measure(build(nodes, **weights)).receptive_field is None


@pytest.mark.parametrize(
    ("nodes", "axes"),
    [
        ([node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Conv", "t c", "y")], {"x": 3, "t": 1, "y": 1}),
        (
            [
                node("Mul", "x scale", "m"),
                node("Add", "m scale", "a"),
                node("Transpose", "a", "t", perm=[0, 3, 1, 2]),
                node("Conv", "t c", "u"),
                node("Transpose", "u", "y", perm=[0, 2, 3, 1]),
            ],
            {"x": 3, "m": 3, "a": 3, "t": 1, "u": 1, "y": 3},
        ),
        ([node("Relu", "x", "r"), node("Reshape", "r sizes", "t"), node("Conv", "t c", "y")], {"x": 3, "r": 3, "t": 1}),
        ([node("Relu", "x", "y")], {"x": 0, "y": 0}),
        ([node("MatMul", "x dense", "y")], {"x": 3, "y": 3}),
    ],
)
def test_channels_are_found_forward_and_backward(nodes: list[onnx.NodeProto], axes: dict[str, int]) -> None:
    weights: dict[str, Any] = {
        "scale": np.float32(0.5),
        "sizes": np.array([-1, 1, 8, 8]),
        "c": np.ones((4, 1, 3, 3), np.float32),
        "dense": np.ones((1, 5), np.float32),
    }
    measured = measure_geometry(Graph(build(nodes, shape=("N", 8, 8, 1), **weights)))
    assert {name: measured[name].channel_axis for name in axes} == axes
    if "c" in nodes[-1].input:
        assert measured["y"].receptive_field == ReceptiveField((3, 3), (1, 1))


def test_features_of_rows_are_channels() -> None:
    nodes = [node("Gemm", "x w", "y")]
    measured = measure(build(nodes, shape=("N", 4), w=np.ones((4, 5), np.float32)))
    assert (measured.channel_axis, measured.receptive_field) == (1, None)


def test_shuffled_channels_keep_the_receptive_field() -> None:
    nodes = [
        node("Conv", "x a3", "c"),
        node("Reshape", "c split", "s"),
        node("Transpose", "s", "t", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "t join", "j"),
        node("Conv", "j a3", "y"),
    ]
    split, join = np.array([-1, 2, 1, 23, 24]), np.array([-1, 2, 23, 24])
    assert measure(build(nodes, split=split, join=join)).receptive_field == ReceptiveField((5, 5), (1, 1))


def test_a_pad_is_read_from_where_its_version_has_it() -> None:
    shortcut = [node("Conv", "p a3", "c"), node("Conv", "x a1", "s"), node("Add", "c s", "y")]
    as_attribute = build([node("Pad", "x", "p", pads=[0, 0, 2, 1, 0, 0, 0, 1]), *shortcut], opset=10)
    as_input = build([node("Pad", "x pads", "p"), *shortcut], pads=np.array([0, 0, 2, 1, 0, 0, 0, 1]))
    some_axes = [helper.make_node("Pad", ["x", "pads", "", "axes"], ["p"]), *shortcut]
    with_axes = build(some_axes, 18, pads=np.array([2, 1, 0, 1]), axes=np.array([2, -1]))
    for model in (as_attribute, as_input, with_axes):
        assert measure(model).receptive_field == ReceptiveField((3, 3), (1, 1))


def test_open_sizes_of_space_keep_the_receptive_field() -> None:
    model = build(RESIDUAL, shape=("N", 2, "H", "W"))
    assert measure(model).receptive_field == ReceptiveField((7, 7), (2, 2))


def test_what_depends_on_the_sizes_only_changes_no_window() -> None:
    nodes = [
        node("Conv", "x a3", "c"),
        node("Shape", "c", "sizes"),
        node("ConstantOfShape", "sizes", "zeros"),
        node("Add", "c zeros", "y"),
    ]
    assert measure(build(nodes)).receptive_field == ReceptiveField((3, 3), (1, 1))


def test_two_images_have_no_window_in_common() -> None:
    nodes = [node("Conv", "x a3", "c"), node("Conv", "z a3", "d"), node("Add", "c d", "y")]
    model = build(nodes)
    model.graph.input.append(helper.make_tensor_value_info("z", FLOAT, IMAGE))
    measured = measure_geometry(Graph(model))
    assert measured["d"].receptive_field == ReceptiveField((3, 3), (1, 1))
    assert measured["y"].receptive_field is None


def test_hostile_strides_end_the_window() -> None:
    nodes = [node("MaxPool", "x", "t0", kernel_shape=[1, 1], strides=[2**40, 2**40])]
    nodes += [node("MaxPool", f"t{i}", f"t{i + 1}", kernel_shape=[1, 1], strides=[2**40, 2**40]) for i in range(50)]
    measured = measure_geometry(Graph(build([*nodes, node("Relu", "t50", "y")])))
    assert measured["t50"].receptive_field is None


@pytest.mark.parametrize(
    "broken",
    [
        node("Conv", "x", "y"),
        node("Conv", "x a3", "y", strides=[1]),
        node("Conv", "x a3", "y", strides=[0, 0]),
        node("Conv", "x a3", "y", pads=[1], auto_pad="NOTSET"),
        node("Conv", "x a3", "y", auto_pad="SAME_UPPER", kernel_shape=[3]),
        node("MaxPool", "x", "y"),
        node("MaxPool", "x", "y", kernel_shape=[0, 0]),
        node("Transpose", "x", "y", perm=[0, 0, 7]),
        node("Softmax", "x", "y", axis=9),
        node("MatMul", "x", "y"),
        node("Slice", "x a3", "y"),
        node("SpaceToDepth", "x", "y"),
        node("Reshape", "x a3", "y z"),
    ],
)
def test_a_damaged_operator_has_no_window(broken: onnx.NodeProto) -> None:
    nodes = [node("Relu", "x", "r"), broken, node("Conv", "x a1", "image")]  # the last says that x is one
    assert measure(build(nodes)).receptive_field is None
