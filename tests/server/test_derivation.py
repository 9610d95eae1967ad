"""What is written of a file that brings no manifest: each figure worked out by hand."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper, parser
from strata_server.catalog import Catalog, Layer, ReceptiveField
from strata_server.derivation import derive_catalog
from strata_server.elements import name_type
from strata_server.errors import ArtifactError
from strata_server.graph import Graph


def build(text: str, ir_version: int = 8, **weights: Any) -> onnx.ModelProto:
    """Build a network of opset 17 from ONNX's own notation, and weights beside it."""
    imports = '["" : 17, "elsewhere" : 1, "com.microsoft" : 1]'
    model = parser.parse_model(f"<ir_version: {ir_version}, opset_import: {imports}> {text}")
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items())
    return model


def derive(text: str, ir_version: int = 8, **weights: Any) -> Catalog:
    return derive_catalog(Graph(build(text, ir_version, **weights)))


def refusal(text: str, **weights: Any) -> str:
    with pytest.raises(ArtifactError) as caught:
        derive(text, **weights)
    return str(caught.value)


def names(catalog: Catalog) -> list[str]:
    return [layer.name for layer in catalog.layers]


def figures(catalog: Catalog) -> dict[str, tuple[int, int]]:
    """Return the parameters and the multiply-adds of each layer that has any."""
    found = {layer.name: (layer.parameters, layer.multiply_adds) for layer in catalog.layers}
    return {name: figure for name, figure in found.items() if figure != (0, 0)}


def weight(*sizes: int) -> npt.NDArray[np.float32]:
    return np.ones(sizes, np.float32)


def test_a_layer_is_described_by_its_node_and_its_tensor() -> None:
    catalog = derive(
        "net (float[N, 3, 8, 8] x) => (float[] y) { c = Conv <strides = [2, 2]> (x, w)  y = Relu (c) }",
        w=weight(4, 3, 3, 3),
    )
    # (8 - 3) // 2 + 1 = 3 places in each dimension; 4 * 3 * 3 * 3 weights, each used at 9 of them.
    seen = ReceptiveField((3, 3), (2, 2))
    real = np.dtype(np.float32)
    assert catalog.layers == (
        Layer("x", "Input", (-1, 3, 8, 8), real, 0, 0, 0, False, 1, ReceptiveField((1, 1), (1, 1))),
        Layer("c", "Conv", (-1, 4, 3, 3), real, 108, 972, 1, False, 1, seen),
        Layer("y", "Relu", (-1, 4, 3, 3), real, 0, 0, 2, True, 1, seen),
    )
    assert catalog.inputs == catalog.layers[:1]
    assert catalog.default_exits == catalog.layers[2:]


def test_integers_between_are_no_layers_and_integers_that_come_out_are() -> None:
    catalog = derive(
        """
        net (float[N, 4] x) => (float[] y, int64[] top) {
            top = ArgMax <axis = 1> (x)  low = ArgMin <axis = 1> (x)  y = Cast <to = 1> (low)
        }
        """
    )
    assert names(catalog) == ["x", "top", "y"]
    assert [(layer.name, layer.dtype.name) for layer in catalog.default_exits] == [("top", "int64"), ("y", "float32")]


def test_half_and_double_precision_are_layers() -> None:
    catalog = derive(
        "net (float[N, 4] x) => (float[] y) { half = Cast <to = 10> (x) double = Cast <to = 11> (half) "
        "truth = Cast <to = 9> (double) y = Cast <to = 1> (truth) }"
    )
    assert [(layer.name, layer.dtype.name) for layer in catalog.layers] == [
        ("x", "float32"),
        ("half", "float16"),
        ("double", "float64"),
        ("y", "float32"),
    ]


def test_what_is_the_same_for_every_request_is_neither_layer_nor_exit() -> None:
    catalog = derive(
        "net (float[N, 4] x) => (float[] y, float[] n) { n = Neg (w) y = Add (x, n) }",
        w=weight(4),
    )
    assert names(catalog) == ["x", "y"]
    assert [layer.name for layer in catalog.default_exits] == ["y"]


def test_names_are_kept_as_they_are() -> None:
    model = build("net (float[N, 4] x) => (float[] y) { y = Relu (x) }")
    model.graph.input[0].name = model.graph.node[0].input[0] = "serving/x:0"
    model.graph.output[0].name = model.graph.node[0].output[0] = "/head/Relu_output_0"
    catalog = derive_catalog(Graph(model))
    assert names(catalog) == ["serving/x:0", "/head/Relu_output_0"]


def test_inputs_and_outputs_keep_the_order_of_the_file() -> None:
    catalog = derive(
        "net (float[N, 2] z, float[N, 2] a) => (float[] late, float[] early) { early = Neg (a) late = Add (early, z) }"
    )
    assert [layer.name for layer in catalog.inputs] == ["z", "a"]
    # By depth, whatever the order of the outputs.
    assert [layer.name for layer in catalog.default_exits] == ["early", "late"]


def test_an_input_that_comes_out_again_is_one_layer() -> None:
    catalog = derive("net (float[N, 2] x) => (float[N, 2] x, float[] y) { y = Neg (x) }")
    assert [(layer.name, layer.kind, layer.default_exit) for layer in catalog.layers] == [
        ("x", "Input", True),
        ("y", "Neg", True),
    ]


def test_an_output_that_a_node_leaves_out_is_no_layer() -> None:
    model = build("net (float[N, 4] x) => (float[] high, float[] low) { high, between, low = Split <axis = 1> (x, s) }")
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 2, 1]), "s"))
    model.graph.node[0].output[1] = ""
    assert names(derive_catalog(Graph(model))) == ["x", "high", "low"]


def test_layers_are_ordered_by_depth_and_then_as_in_the_file() -> None:
    catalog = derive(
        """
        net (float[N, 2] x) => (float[] y) {
            deep = Relu (x)  deeper = Relu (deep)  flat = Neg (x)  y = Add (flat, deeper)
        }
        """
    )
    assert [(layer.name, layer.depth) for layer in catalog.layers] == [
        ("x", 0),
        ("deep", 1),
        ("flat", 1),
        ("deeper", 2),
        ("y", 3),
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("[N, 3, H, W]", (-1, 3, -1, -1)),
        ("[?, 3]", (-1, 3)),
        ("[2, 3]", (2, 3)),
        ("[N]", (-1,)),
        ("", ()),
        ("[]", None),
    ],
)
def test_an_open_size_is_minus_one(given: str, expected: tuple[int, ...] | None) -> None:
    catalog = derive(f"net (float{given} x) => (float[] y) {{ y = Relu (x) }}")
    assert [layer.shape for layer in catalog.layers] == [expected, expected]


def test_a_rank_that_only_a_request_decides_leaves_the_shape_open() -> None:
    catalog = derive(
        """
        net (float[N, 4] x, int64[R] form) => (float[] y, float[] free) {
            y = ReduceMax <keepdims = 0> (x)  free = Reshape (x, form)
        }
        """
    )
    assert [layer.shape for layer in catalog.default_exits] == [(), None]


def test_a_claim_of_the_file_does_not_stand_against_what_follows() -> None:
    catalog = derive("net (float[N, 4] x) => (float[N, 9] y) { y = Relu (x) }")
    assert catalog.find("y").shape == (-1, 4)


def test_channels_and_windows_are_those_of_the_tensor() -> None:
    catalog = derive(
        """
        net (float[N, 8, 8, 3] x) => (float[] y, float[] mean) {
            t = Transpose <perm = [0, 3, 1, 2]> (x)  c = Conv (t, w)  y = Transpose <perm = [0, 2, 3, 1]> (c)
            g = GlobalAveragePool (c)  mean = Flatten (g)
        }
        """,
        w=weight(2, 3, 3, 5),
    )
    assert {layer.name: layer.channel_axis for layer in catalog.layers} == {
        "x": 3, "t": 1, "c": 1, "y": 3, "g": 1, "mean": 1,
    }  # fmt: skip
    assert catalog.find("y").receptive_field == ReceptiveField((3, 5), (1, 1))
    assert catalog.find("mean").receptive_field is None


def test_what_a_node_has_counts_once_for_all_that_it_computes() -> None:
    catalog = derive(
        "net (float[7, 1, 3] x) => (float[] all, float[] last) { all, last = LSTM <hidden_size = 5> (x, w, r) }",
        w=weight(1, 20, 3),
        r=weight(1, 20, 5),
    )
    # 20 * (3 + 5) weights, at each of 7 steps; the file has 7 first, and so they are those of one seventh.
    assert figures(catalog) == {"all": (160, 160)}


def test_figures_of_no_layer_pass_on_to_the_next_one() -> None:
    catalog = derive(
        """
        net (float[N, 4] x) => (float[] y) {
            q = QuantizeLinear (x, scale, zero)
            sums = MatMulInteger (q, w)
            small = Cast <to = 3> (sums)
            more = MatMulInteger (small, v)
            real = Cast <to = 1> (more)
            y = Neg (real)
        }
        """,
        scale=np.float32(1),
        zero=np.int8(0),
        w=np.ones((4, 5), np.int8),
        v=np.ones((5, 6), np.int8),
    )
    assert names(catalog) == ["x", "real", "y"]
    assert figures(catalog) == {"real": (4 * 5 + 5 * 6, 4 * 5 + 5 * 6)}


def test_figures_of_no_layer_are_added_to_those_of_the_next_one() -> None:
    catalog = derive(
        """
        net (int8[N, 4] x) => (float[] y) {
            a = MatMulInteger (x, w)  b = MatMulInteger (x, v)  s = Add (a, b)  c = Cast <to = 1> (s)  y = MatMul (c, u)
        }
        """,
        w=np.ones((4, 5), np.int8),
        v=np.ones((4, 5), np.int8),
        u=weight(5, 3),
    )
    assert figures(catalog) == {"c": (40, 40), "y": (15, 15)}


def test_figures_of_no_layer_go_to_the_first_that_takes_it() -> None:
    catalog = derive(
        """
        net (int8[N, 4] x) => (float[] one, float[] two) {
            m = MatMulInteger (x, w)  one = Cast <to = 1> (m)  two = Cast <to = 1> (m)
        }
        """,
        w=np.ones((4, 5), np.int8),
    )
    assert figures(catalog) == {"one": (20, 20)}


def test_biases_of_quantized_operators_are_parameters() -> None:
    catalog = derive(
        """
        net (float[N, 4] x, uint8[N, 4] q) => (float[] y, float[] z) {
            y = com.microsoft.DynamicQuantizeMatMul (x, w, scale, zero, b)
            z = com.microsoft.MatMulIntegerToFloat (q, v, scale, scale, zero, zero, c)
        }
        """,
        w=np.ones((4, 5), np.uint8),
        v=np.ones((4, 6), np.uint8),
        scale=weight(1),
        zero=np.zeros(1, np.uint8),
        b=weight(5),
        c=weight(6),
    )
    assert [(layer.name, layer.parameters) for layer in catalog.default_exits] == [("y", 4 * 5 + 5), ("z", 4 * 6 + 6)]


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("float[N, 4] x, float[N, 5] z", 20),
        ("float[1, 4] x, float[1, 5] z", 20),
        ("float[8, 4] x, float[8, 5] z", 20),  # 160 for 8 rows
        ("float[8, 4] x, float[1, 5] z", 160),  # who is to say which is the number of rows
        ("float[N, 4] x, float[1, 5] z", 20),
        ("float[8, 4] x, float[N, 5] z", 160),
        ("float[?, 4] x, float[?, 5] z", 20),
    ],
)
def test_multiply_adds_are_for_one_row(inputs: str, expected: int) -> None:
    catalog = derive(f"net ({inputs}) => (float[] y) {{ m = MatMul (x, w) y = Add (m, z) }}", w=weight(4, 5))
    assert figures(catalog) == {"m": (20, expected)}


def test_multiply_adds_that_rows_do_not_divide_are_those_of_all_rows() -> None:
    catalog = derive(
        "net (float[8, 3] x) => (float[] y) { t = ReduceSum <keepdims = 1> (x, axes)  y = MatMul (t, w) }",
        axes=np.array([0]),
        w=weight(3, 5),
    )
    assert figures(catalog) == {"y": (15, 15)}


def test_one_row_goes_on_behind_a_reshape() -> None:
    text = "net (float[N, 2, 6] x) => (float[] y) { r = Reshape (x, form)  y = MatMul (r, w) }"
    # One row of 12 numbers is three of 4, and 60 multiply-adds.
    assert figures(derive(text, form=np.array([-1, 4]), w=weight(4, 5))) == {"y": (20, 60)}


def test_one_row_is_one_wherever_an_input_has_the_same_name() -> None:
    catalog = derive("net (float[N, 3] x, float[3, N] z) => (float[] y) { y = MatMul (x, z) }")
    assert figures(catalog) == {"y": (0, 3)}


def test_what_follows_from_no_single_row_is_taken_as_the_graph_has_it() -> None:
    catalog = derive(
        "net (float[N, 4] x, float[3, N] z) => (float[] u, float[] y) { u = Neg (x) m = MatMul (z, w) y = MatMul (m, v) }",
        w=weight(8, 5),  # N can only be 8
        v=weight(5, 2),
    )
    assert figures(catalog)["y"] == (10, 3 * 5 * 2)


@pytest.mark.parametrize("sizes", ["N, M", "?, ?"])
def test_multiply_adds_of_open_sizes_are_none(sizes: str) -> None:
    catalog = derive(f"net (float[{sizes}, 4] x) => (float[] y) {{ y = MatMul (x, w) }}", w=weight(4, 5))
    assert figures(catalog) == {"y": (20, 0)}


def test_one_row_of_the_first_format_versions_is_counted() -> None:
    text = "net (float[N, 4] x) => (float[] y) { r = Reshape (x, form)  y = MatMul (r, w) }"
    # As some writers have it, without the weights among the inputs.
    catalog = derive(text, ir_version=3, form=np.array([-1, 2]), w=weight(2, 5))
    assert figures(catalog) == {"y": (10, 20)}


def test_weights_that_are_inputs_as_well_are_no_layers() -> None:
    catalog = derive("net (float[N, 4] x, float[4, 5] w) => (float[] y) { y = MatMul (x, w) }", w=weight(4, 5))
    assert [layer.name for layer in catalog.inputs] == ["x"]
    assert figures(catalog) == {"y": (20, 20)}


def test_a_damaged_equation_costs_nothing_and_breaks_nothing() -> None:
    model = build('net (float[N, 4] x) => (float[N] y) { y = Einsum <equation = "ij,ij->i"> (x, x) }')
    assert figures(derive_catalog(Graph(model))) == {"y": (0, 4)}
    model.graph.node[0].attribute[0].s = b"\xff\xfe"
    assert figures(derive_catalog(Graph(model))) == {}


def test_a_graph_without_inputs_is_refused() -> None:
    assert refusal("net () => (float[] y) { y = Neg (w) }", w=weight(2)) == "it has no input; expected one at least"


def test_inputs_that_cannot_be_sent_are_refused_by_name() -> None:
    text = "net (float[N] x, float8e4m3fn[N] tiny, complex64[N] c) => (float[] y) { y = Neg (x) }"
    assert refusal(text) == (
        "its inputs 'tiny', 'c' are no tensors of a type that can be sent; expected numbers, booleans or strings"
    )


UNSERVABLE: dict[str, Any] = {
    "constant": ("net (float[N] x) => (float[] y) { z = Neg (x) y = Neg (w) }", "'y'"),
    "float8": ("net (float[N] x) => (float8e4m3fn[] y) { y = Cast <to = 17> (x) z = Neg (w) }", "'y'"),
    "both": ("net (float[N] x) => (float[] y, float8e4m3fn[] t) { y = Neg (w) t = Cast <to = 17> (x) }", "'y', 't'"),
}


@pytest.mark.parametrize(("text", "listed"), UNSERVABLE.values(), ids=UNSERVABLE)
def test_a_graph_without_an_output_that_can_be_served_is_refused(text: str, listed: str) -> None:
    assert refusal(text, w=weight(2)) == (
        f"none of its outputs can be served: {listed}; "
        "expected a tensor of numbers, booleans or strings that follows from an input"
    )


def test_strings_and_bfloat16_are_layers() -> None:
    catalog = derive(
        "net (float[N] x) => (string[] t) { b = Cast <to = 16> (x) w = Cast <to = 1> (b) t = Cast <to = 8> (w) }"
    )
    assert [(layer.name, name_type(layer.dtype)) for layer in catalog.layers] == [
        ("x", "float32"),
        ("b", "bfloat16"),
        ("w", "float32"),
        ("t", "string"),
    ]


def test_an_output_that_cannot_be_served_does_not_keep_the_others_from_it() -> None:
    catalog = derive("net (float[N] x) => (float[] y, float8e4m3fn[] t) { y = Neg (x) t = Cast <to = 17> (x) }")
    assert names(catalog) == ["x", "y"]


@pytest.mark.parametrize(("size", "is_refused"), [(2**20, False), (2**21, True)])
def test_figures_beyond_any_network_are_refused(size: int, is_refused: bool) -> None:
    # Each of the numbers of each vector with each of the others', and all summed up: no tensor is large.
    text = f'net (float[1, {size}] x) => (float[] y) {{ y = Einsum <equation = "ai,bj,ck->abc"> (x, x, x) }}'
    if is_refused:
        assert refusal(text) == "its figures are beyond what any network has"
    else:
        assert figures(derive(text)) == {"y": (0, size**3)}
