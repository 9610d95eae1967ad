"""Figures that are taken where an activation lies: on the CPU here, on CUDA where there is one."""

import math
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from artifacts import tiny_manifest, write_artifact
from onnx import TensorProto, helper, numpy_helper
from strata_server.artifact import read_artifact
from strata_server.catalog import Layer
from strata_server.deadline import Deadline
from strata_server.elements import BFLOAT16
from strata_server.engine import Engine
from strata_server.errors import InvalidArgument
from strata_server.reducing import reduce
from strata_server.reductions import WHOLE, Pooling, Reduction
from strata_server.repository import Repository
from strata_server.runtime import Runtime, choose_device
from strata_server.sessions import Sessions
from strata_server.settings import DeviceSettings, Limits
from strata_server.summaries import Summarizer
from strata_server.tensors import Array
from strata_server.version import Version
from typed_models import model

RUNTIME = Runtime(choose_device(DeviceSettings(device="auto")), threads=1)
FIGURES = [Reduction(pooling=Pooling.MEAN), Reduction(pooling=Pooling.MAX), Reduction(statistics=True)]


def layer(shape: tuple[int, ...], axis: int, dtype: str = "float32") -> Layer:
    return Layer("x", "Conv", shape, np.dtype(dtype), 0, 0, 1, default_exit=False, channel_axis=axis)


def assert_same(actual: Array, expected: Array, relative: float) -> None:
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(actual.astype(float), expected.astype(float), rtol=relative, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "axis"), [((2, 5, 7), 1), ((3, 6, 4, 5), 3), ((2, 5, 6, 4), 1), ((1, 3, 4, 3, 6), 4)]
)
@pytest.mark.parametrize("reduction", FIGURES)
def test_figures_are_those_of_the_cpu(reduction: Reduction, shape: tuple[int, ...], axis: int, dtype: str) -> None:
    value = np.random.default_rng(0).normal(size=shape).astype(dtype)
    value[value < -0.5] = 0
    ranged = Reduction(
        channels=(1, 3), space=((0, 2), *[(1, 3)] * (len(shape) - 3)), pooling=reduction.pooling,
        statistics=reduction.statistics,
    )  # fmt: skip
    summarizer = Summarizer(RUNTIME)
    for each in (reduction, ranged):
        found = summarizer.summarize(layer(shape, axis, dtype), each, onnxruntime.OrtValue.ortvalue_from_numpy(value))
        expected = reduce("x", each, value, axis).value
        assert_same(found, expected, 2e-3 if dtype == "float16" else 1e-5)


@pytest.mark.parametrize("reduction", FIGURES)
def test_figures_of_bfloat16_are_those_of_the_cpu(reduction: Reduction) -> None:
    value = np.random.default_rng(0).normal(size=(2, 6, 4, 5)).astype(BFLOAT16)
    widened = onnxruntime.OrtValue.ortvalue_from_numpy(value.astype(np.float32))
    found = Summarizer(RUNTIME).summarize(layer((2, 6, 4, 5), 3, "bfloat16"), reduction, widened)
    assert_same(found, reduce("x", reduction, value, 3).value, 2**-7)  # a unit in the last place


def test_nan_and_infinities_are_data() -> None:
    value = np.array([[[1, math.nan], [math.inf, 2], [0, -math.inf]]], np.float32)
    for reduction in FIGURES:
        found = Summarizer(RUNTIME).summarize(
            layer(value.shape, 1), reduction, onnxruntime.OrtValue.ortvalue_from_numpy(value)
        )
        np.testing.assert_array_equal(found, reduce("x", reduction, value, 1).value)


def test_a_range_beyond_a_size_that_only_the_value_tells_is_refused() -> None:
    value = onnxruntime.OrtValue.ortvalue_from_numpy(np.ones((1, 4, 3), np.float32))
    with pytest.raises(InvalidArgument, match=r"'x': expected 0 <= start < stop <= 4 for a range of dimension 1"):
        Summarizer(RUNTIME).summarize(layer((-1, -1, 3), 2), Reduction(space=((0, 5),), pooling=Pooling.MAX), value)


def test_a_request_gets_the_same_answer_wherever_its_figures_are_taken(tmp_path: Path) -> None:
    manifest = tiny_manifest()
    for entry in manifest["layers"][:2]:
        entry["channelAxis"] = 3
    artifact = read_artifact(write_artifact(tmp_path, manifest=manifest))
    version = Version("tiny", 1, artifact, RUNTIME, Sessions(2**30))
    engine = Engine(Repository([version]), Limits())
    image = np.random.default_rng(0).random((2, 4, 4, 1), np.float32)
    reductions = {
        "image": Reduction(pooling=Pooling.MEAN),
        "double": Reduction(statistics=True, half=True),
        "predictions": Reduction(top_labels=2),
    }
    answers = []
    for version.has_device in (False, True):
        answer = engine.activations(version, {"image": image}, list(reductions), reductions, deadline=Deadline()).run()
        answers.append(answer)
    here, there = answers
    assert list(there.activations) == list(reductions)
    for name, value in here.activations.items():
        assert_same(there.activations[name], value, 1e-3 if name == "double" else 1e-5)
    assert {name: value.tolist() for name, value in there.channels.items()} == {
        name: value.tolist() for name, value in here.channels.items()
    }
    assert [[label.index for label in row] for row in there.labels] == [
        [label.index for label in row] for row in here.labels
    ]


@pytest.mark.parametrize("kind", ["bfloat16", "string"])
def test_bfloat16_and_strings_are_summarized_alike_wherever_that_is(tmp_path: Path, kind: str) -> None:
    element = {"bfloat16": TensorProto.BFLOAT16, "string": TensorProto.STRING}[kind]
    widen = {
        "bfloat16": helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
        "string": helper.make_node(
            "LabelEncoder", ["x"], ["wide"], domain="ai.onnx.ml", keys_strings=["a"], values_floats=[1.5]
        ),
    }[kind]
    nodes = [
        widen,
        helper.make_node("Conv", ["wide", "w"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["y"], to=TensorProto.BFLOAT16),
    ]
    ends = [
        helper.make_tensor_value_info(name, given, ["rows", 3, 4, 5])
        for name, given in (("x", element), ("y", TensorProto.BFLOAT16))
    ]
    weights = numpy_helper.from_array(np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1), "w")
    artifact = read_artifact(write_artifact(tmp_path, model=model(nodes, ends[:1], ends[1:], [weights]), manifest=""))
    version = Version("odd", 1, artifact, RUNTIME, Sessions(2**30))
    engine = Engine(Repository([version]), Limits())
    numbers = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    x = numbers.astype(BFLOAT16) if kind == "bfloat16" else np.where(numbers > 0, "a", "b").astype(object)
    reductions = {"y": Reduction(pooling=Pooling.MEAN), "sums": Reduction(statistics=True), "x": WHOLE}
    answers = []
    for version.has_device in (False, True):
        answer = engine.activations(version, {"x": x}, list(reductions), reductions, deadline=Deadline()).run()
        answers.append(answer.activations)
    here, there = answers
    assert there["y"].dtype == BFLOAT16
    assert there["x"].tolist() == x.tolist()
    for name in ("y", "sums"):
        assert_same(there[name], here[name], 2**-7)
