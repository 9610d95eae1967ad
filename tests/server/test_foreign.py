"""Files that no manifest describes, served as they are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from artifacts import assert_close, tiny_answer, tiny_model, write_artifact
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from processes import ServerProcess, serving
from strata.v1 import catalog_pb2, inference_pb2, tensor_pb2
from strata_server.artifact import read_artifact
from strata_server.rpc.open_inference import open_inference_pb2
from wire import Stubs, connect

Array = npt.NDArray[Any]
DTYPES = {"DATA_TYPE_FLOAT32": np.float32, "DATA_TYPE_INT64": np.int64, "DATA_TYPE_FLOAT64": np.float64}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


def info(name: str, shape: list[str | int | None] | None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: dict[str, Array] | None = None,
    *,
    opset: int = 18,
    domains: tuple[str, ...] = (),
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(nodes, "foreign", inputs, outputs, tensors)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def residual() -> onnx.ModelProto:
    """Two images of any size, channels first; a branch joins again; two outputs, one of whole numbers."""
    nodes = [
        helper.make_node("Conv", ["left", "w"], ["/stem/conv"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["/stem/conv"], ["/stem/relu"]),
        helper.make_node("Add", ["/stem/relu", "right"], ["/join"]),
        helper.make_node("GlobalAveragePool", ["/join"], ["/pool"]),
        helper.make_node("Flatten", ["/pool"], ["features"]),
        helper.make_node("ArgMax", ["features"], ["winner"], axis=1, keepdims=0),
    ]
    inputs = [info("left", ["n", 3, "h", "w"]), info("right", ["n", 4, "h", "w"])]
    outputs = [info("features", None), info("winner", None, TensorProto.INT64)]
    weights = np.random.default_rng(3).normal(size=(4, 3, 3, 3)).astype(np.float32)
    return model(nodes, inputs, outputs, {"w": weights})


def fixed() -> onnx.ModelProto:
    """A batch of two, and no other; weights that a node computes."""
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["ones"], value=numpy_helper.from_array(np.ones(1, np.float32))),
        helper.make_node("MatMul", ["x", "ones"], ["sums"]),
    ]
    return model(nodes, [info("x", [2, 3])], [info("sums", [2, 5])], {"size": np.array([3, 5])})


def choosing() -> onnx.ModelProto:
    """An If whose branches take a tensor from outside."""
    branches = [
        helper.make_graph([helper.make_node(operator, ["shifted"], [name])], name, [], [info(name, None)])
        for operator, name in (("Neg", "yes"), ("Exp", "no"))
    ]
    nodes = [
        helper.make_node("Add", ["x", "one"], ["shifted"]),
        helper.make_node("ReduceMax", ["x"], ["peak"], keepdims=0),
        helper.make_node("Greater", ["peak", "one"], ["high"]),
        helper.make_node("If", ["high"], ["chosen"], then_branch=branches[0], else_branch=branches[1]),
    ]
    return model(nodes, [info("x", ["n", 2])], [info("chosen", ["n", 2])], {"one": np.array(1, np.float32)}, opset=13)


def unranked() -> onnx.ModelProto:
    """A tensor whose number of dimensions only the run tells."""
    nodes = [
        helper.make_node("Reshape", ["x", "form"], ["shaped"]),
        helper.make_node("Neg", ["shaped"], ["negative"]),
    ]
    inputs = [info("x", ["n"]), info("form", ["rank"], TensorProto.INT64)]
    return model(nodes, inputs, [info("negative", None)])


def oldest() -> onnx.ModelProto:
    """Opset 7, and weights that are inputs as well, as the first format versions want it."""
    old = model(
        [helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["normed"])],
        [info("x", [None, 2]), *(info(name, [2]) for name in "sbmv")],
        [info("normed", [None, 2])],
        {name: np.full(2, value, np.float32) for name, value in zip("sbmv", (3, 1, 0, 1), strict=True)},
        opset=7,
    )
    old.ir_version = 3
    return old


MODELS = {each.__name__: each for each in (residual, fixed, choosing, unranked, oldest)}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    models = tmp_path_factory.mktemp("foreign") / "models"
    for name, make in MODELS.items():
        write_artifact(models, name, model=make(), manifest="")
    write_artifact(models, "tiny", manifest="")
    with serving(models, "--max-message-bytes", str(2**20), "--max-multiply-adds", str(10**6)) as server:
        yield server


@pytest.fixture
def stubs(foreign: ServerProcess) -> Iterator[Stubs]:
    stubs = connect(foreign.grpc)
    yield stubs
    stubs.channel.close()


def describe(stubs: Stubs, name: str) -> catalog_pb2.ModelDescription:
    request = catalog_pb2.DescribeModelRequest(model=catalog_pb2.ModelReference(name=name))
    return stubs.catalog.DescribeModel(request, timeout=20).model


def ask(stubs: Stubs, name: str, layers: list[str], **values: Array) -> dict[str, Array]:
    each = [
        tensor_pb2.Tensor(name=key, data_type=NAMES[value.dtype], shape=value.shape, data=value.tobytes())
        for key, value in values.items()
    ]
    request = inference_pb2.GetActivationsRequest(
        model=catalog_pb2.ModelReference(name=name), tensors=tensor_pb2.Tensors(tensors=each), layers=layers
    )
    return {
        found.name: np.frombuffer(found.data, DTYPES[tensor_pb2.DataType.Name(found.data_type)]).reshape(found.shape)
        for found in stubs.activations(request).activations
    }


def refusal(stubs: Stubs, name: str, layers: list[str], **values: Array) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        ask(stubs, name, layers, **values)
    return caught.value.code(), caught.value.details() or ""


def images(rows: int = 2, height: int = 6, width: int = 5) -> dict[str, Array]:
    random = np.random.default_rng(rows)
    return {
        "left": random.normal(size=(rows, 3, height, width)).astype(np.float32),
        "right": random.normal(size=(rows, 4, height, width)).astype(np.float32),
    }


def expected(make: Any, **values: Array) -> dict[str, Array]:
    """Return what onnx's own reference makes of a model."""
    reference = ReferenceEvaluator(make())
    names = [output for node in make().graph.node for output in node.output]
    return dict(zip(names, reference.run(names, values), strict=True))


def test_the_layers_of_a_file_without_a_manifest_are_its_tensors(stubs: Stubs) -> None:
    described = describe(stubs, "residual")
    assert list(described.inputs) == ["left", "right"]
    layers = {layer.name: layer for layer in described.layers}
    assert list(layers) == ["left", "right", "/stem/conv", "/stem/relu", "/join", "/pool", "features", "winner"]
    assert [name for name, layer in layers.items() if layer.default_exit] == ["features", "winner"]
    conv = layers["/stem/conv"]
    assert (conv.kind, list(conv.shape), conv.parameters, conv.channel_axis) == ("Conv", [-1, 4, -1, -1], 108, 1)
    assert (list(conv.receptive_field.size), list(conv.receptive_field.stride)) == ([3, 3], [1, 1])
    assert layers["winner"].data_type == tensor_pb2.DATA_TYPE_INT64


def test_every_layer_of_a_branching_network_is_served_for_any_size(stubs: Stubs) -> None:
    for values in (images(2, 6, 5), images(1, 9, 9)):
        wanted = expected(residual, **values)
        found = ask(stubs, "residual", list(wanted), **values)
        for name, value in wanted.items():
            assert found[name].shape == value.shape
            assert_close(found[name], value)


def test_a_layer_needs_only_the_input_that_it_depends_on(stubs: Stubs) -> None:
    values = images()
    stem = ask(stubs, "residual", ["/stem/relu"], left=values["left"])["/stem/relu"]
    assert_close(stem, expected(residual, **values)["/stem/relu"])
    both = ask(stubs, "residual", ["/stem/relu"], **values)["/stem/relu"]  # the other may come along
    assert_close(both, stem)
    code, details = refusal(stubs, "residual", ["features"], left=values["left"])
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.endswith("'left' does not determine 'features': expected a value for the input 'right' as well")


def test_a_request_enters_at_a_branch_of_a_foreign_network(stubs: Stubs) -> None:
    values = images()
    wanted = expected(residual, **values)
    found = ask(stubs, "residual", ["features"], **{"/stem/relu": wanted["/stem/relu"], "right": values["right"]})
    assert_close(found["features"], wanted["features"])


def test_open_sizes_are_priced_before_they_run(stubs: Stubs) -> None:
    values = images(1, 100, 100)
    code, details = refusal(stubs, "residual", ["/pool"], **values)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "expected at most 1000000 multiply-adds, received a request for 1080000" in details
    code, details = refusal(stubs, "residual", ["/stem/conv", "/stem/relu", "/join"], **images(3, 90, 90))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "expected at most 1048576 bytes, received a request for 1166400" in details


def test_inputs_that_contradict_each_other_are_refused(stubs: Stubs) -> None:
    code, details = refusal(stubs, "residual", ["/join"], left=images()["left"], right=images(2, 6, 4)["right"])
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "expected the same size 'w' in each value, received" in details


def test_a_fixed_batch_is_served_as_it_is_and_no_other(stubs: Stubs) -> None:
    layers = {layer.name: list(layer.shape) for layer in describe(stubs, "fixed").layers}
    assert layers == {"x": [2, 3], "sums": [2, 5]}
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert_close(ask(stubs, "fixed", ["sums"], x=x)["sums"], np.repeat([[3.0], [12.0]], 5, 1))
    code, details = refusal(stubs, "fixed", ["sums"], x=x[:1])
    assert (code, details) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "model fixed: 'x': expected (2, 3) float32, received (1, 3) float32",
    )


@pytest.mark.parametrize("peak", [0, 5])
def test_subgraphs_are_left_whole(stubs: Stubs, peak: int) -> None:
    x = np.array([[peak, -1]], np.float32)
    found = ask(stubs, "choosing", ["shifted", "chosen"], x=x)
    assert_close(found["chosen"], expected(choosing, x=x)["chosen"])
    patched = ask(stubs, "choosing", ["chosen"], x=x, shifted=np.zeros((1, 2), np.float32))
    assert_close(patched["chosen"], np.zeros((1, 2)) if peak else np.ones((1, 2)))


def test_a_layer_of_unknown_rank_is_listed_and_served(stubs: Stubs) -> None:
    shaped = next(layer for layer in describe(stubs, "unranked").layers if layer.name == "shaped")
    x = np.arange(6, dtype=np.float32)
    found = ask(stubs, "unranked", ["negative"], x=x, form=np.array([1, 2, 3]))["negative"]
    assert_close(found, -x.reshape(1, 2, 3))
    assert (shaped.unranked, list(shaped.shape)) == (True, []) or list(shaped.shape)


def test_values_that_lead_nowhere_are_refused_and_no_defect(stubs: Stubs) -> None:
    code, details = refusal(stubs, "unranked", ["negative"], x=np.ones(6, np.float32), form=np.array([4, 4]))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details == "model unranked: the network has no result for these values: 'form' (2,), 'x' (6,)"


def test_the_oldest_opset_runs_and_its_weights_are_no_inputs(stubs: Stubs) -> None:
    assert list(describe(stubs, "oldest").inputs) == ["x"]
    x = np.array([[1, 2]], np.float32)
    assert_close(ask(stubs, "oldest", ["normed"], x=x)["normed"], 3 * x / np.sqrt(1 + 1e-5) + 1)


def test_a_prediction_of_a_foreign_model_has_its_outputs_over_both_protocols(stubs: Stubs) -> None:
    values = images(1)
    wanted = expected(residual, **values)
    request = open_inference_pb2.ModelInferRequest(
        model_name="residual",
        inputs=[{"name": name, "datatype": "FP32", "shape": value.shape} for name, value in values.items()],
        raw_input_contents=[value.tobytes() for value in values.values()],
    )
    answer = stubs.infer(request)
    assert [(output.name, output.datatype) for output in answer.outputs] == [("features", "FP32"), ("winner", "INT64")]
    assert_close(np.frombuffer(answer.raw_output_contents[0], np.float32), wanted["features"].ravel())
    assert np.frombuffer(answer.raw_output_contents[1], np.int64).tolist() == wanted["winner"].tolist()


def test_labels_of_a_foreign_model_are_indices(tmp_path: Path) -> None:
    classifier = tiny_model()
    del classifier.graph.output[:-1]
    write_artifact(tmp_path / "models", model=classifier, manifest="")
    image = np.ones((1, 4, 4, 1), np.float32)
    with serving(tmp_path / "models") as server:
        stubs = connect(server.grpc)
        tensor = tensor_pb2.Tensor(data_type="DATA_TYPE_FLOAT32", shape=image.shape, data=image.tobytes())
        request = inference_pb2.PredictRequest(tensors=tensor_pb2.Tensors(tensors=[tensor]), top_k=1)
        label = stubs.predict(request).predictions[0].labels[0]
        stubs.channel.close()
    assert label.name == str(label.index) == str(tiny_answer(image)["predictions"].argmax())


def external(folder: Path) -> Path:
    path = write_artifact(folder, "outside", manifest="")
    onnx.save_model(
        tiny_model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0, convert_attribute=True
    )
    return path


def test_weights_in_other_files_are_served_where_that_is_allowed_and_refused_where_not(tmp_path: Path) -> None:
    models = tmp_path / "models"
    external(models)
    write_artifact(models, "tiny")
    image = np.ones((1, 4, 4, 1), np.float32)
    with serving(models, "--allow-external-data") as server:
        stubs = connect(server.grpc)
        assert_close(ask(stubs, "outside", ["scores"], image=image)["scores"], tiny_answer(image)["scores"])
        stubs.channel.close()
    with serving(models) as server:
        assert server.models == "tiny:1"


@pytest.mark.parametrize("damage", ["missing", "a link", "outside"])
def test_weights_out_of_reach_are_refused_and_the_other_models_served(tmp_path: Path, damage: str) -> None:
    models = tmp_path / "models"
    path = external(models)
    write_artifact(models, "tiny")
    weights = path.parent / "weights.bin"
    if damage == "missing":
        weights.unlink()
    elif damage == "a link":
        weights.rename(tmp_path / "weights.bin")
        weights.symlink_to(tmp_path / "weights.bin")
    else:
        (path.parent.parent / "weights.bin").write_bytes(weights.read_bytes())
        path.write_bytes(path.read_bytes().replace(b"weights.bin", b"../weig.bin"))
    with serving(models, "--allow-external-data") as server:
        assert server.models == "tiny:1"


def test_a_graph_that_cannot_be_served_is_named_and_the_others_are_served(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_artifact(models, "tiny")
    x, y = info("x", ["n", 2]), info("y", None)
    cyclic = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Neg", ["a"], ["b"])]
    huge = helper.make_node("ConstantOfShape", ["size"], ["huge"])
    write_artifact(models, "cyclic", model=model(cyclic, [x], [info("b", None)]), manifest="")
    write_artifact(models, "dangling", model=model([helper.make_node("Add", ["x", "w"], ["y"])], [x], [y]), manifest="")
    unsupported = model(
        [helper.make_node("Fancy", ["x"], ["y"], domain="some.where")], [x], [y], domains=("some.where",)
    )
    unsupported.graph.output[0].CopyFrom(info("y", ["n", 2]))
    write_artifact(models, "unsupported", model=unsupported, manifest="")
    bomb = [huge, helper.make_node("Add", ["x", "huge"], ["y"])]
    write_artifact(models, "bomb", model=model(bomb, [x], [y], {"size": np.array([2**20, 2**20])}), manifest="")
    with serving(models) as server:
        assert server.models == "tiny:1"
    log = server.log
    assert (
        "model cyclic version 1 cannot be served: its node '' ('Add') takes 'b', which follows from it: the graph has a cycle"
        in log
    )
    assert "model dangling version 1 cannot be served: its node '' ('Add') takes 'w', which nothing computes" in log
    assert "model unsupported version 1 cannot be served" in log
    assert "Fancy" in log
    assert "model bomb version 1 cannot be served: its tensor 'huge' has 4398046511104 bytes" in log


def test_nodes_in_any_order_are_served(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["b", "a"], ["y"]),
        helper.make_node("Exp", ["a"], ["b"]),
        helper.make_node("Neg", ["x"], ["a"]),
    ]
    network = read_artifact(
        write_artifact(tmp_path, model=model(nodes, [info("x", ["n", 2])], [info("y", None)]), manifest="")
    )
    assert [layer.name for layer in network.catalog.layers] == ["x", "a", "b", "y"]
