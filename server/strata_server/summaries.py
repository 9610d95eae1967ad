"""Takes figures of activations on the device that computed them, so that nothing but the figures leaves it."""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from strata_server.catalog import Layer
from strata_server.elements import wide_type
from strata_server.reductions import Pooling, Reduction, check_sizes, space_axes
from strata_server.runtime import Runtime
from strata_server.tensors import Array

# Every opset that onnxruntime runs has what is used here in this form.
_OPSET = 13
_IR = 8
# One for each kind of layer and reduction that is asked for; they are small.
_KEPT = 64
_END = np.iinfo(np.int64).max


class Summarizer:
    """Runs the ranges, the pooling and the statistics of reductions where a value lies."""

    def __init__(self, runtime: Runtime) -> None:
        """Take what makes sessions; none is made yet."""
        self._runtime = runtime
        self._open = lru_cache(_KEPT)(self._open_anew)

    def summarize(self, layer: Layer, reduction: Reduction, value: onnxruntime.OrtValue) -> Array:
        """Return the figures of an activation, as `reducing` takes them on the CPU.

        Args:
            layer: of a floating type.
            reduction: with pooling or statistics; what `check_reduction` has let pass.
            value: (rows, ...), where it was computed; of bfloat16 widened, as it leaves a slice.

        Raises:
            InvalidArgument: a range beyond a size that only this value tells, or no place to take figures of.
        """
        shape, axis = tuple(value.shape()), layer.channel_axis
        check_sizes(layer.name, reduction, shape, axis)
        ranges = reduction.ranges(len(shape), axis)
        bounds = np.array([ranges.get(place, (0, _END)) for place in range(len(shape))], np.int64)
        feeds = {
            "value": value,
            "starts": onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(bounds[:, 0])),
            "ends": onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(bounds[:, 1])),
        }
        session = self._open(wide_type(layer.dtype), len(shape), axis, reduction.pooling)
        (figures,) = session.run_with_ort_values(["figures"], feeds)
        found: Array = figures.numpy()
        return found.astype(layer.dtype, copy=False)

    def _open_anew(
        self, dtype: np.dtype[np.generic], rank: int, axis: int, pooling: Pooling | None
    ) -> onnxruntime.InferenceSession:
        element = helper.np_dtype_to_tensor_dtype(dtype)
        space = space_axes(rank, axis)
        nodes = [helper.make_node("Slice", ["value", "starts", "ends"], ["x"])]
        if pooling is Pooling.MEAN:
            nodes.append(_reduce("Mean", "x", "figures", space))
        elif pooling is Pooling.MAX:
            nodes += [*_find_nan(space, element), *_reduce_order("Max", "figures", space)]
        else:
            nodes += [*_find_nan(space, element), *_describe(space, element)]
        value = helper.make_tensor_value_info("value", element, [None] * rank)
        bounds = [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, [rank]) for name in ("starts", "ends")]
        figures = helper.make_tensor_value_info("figures", element, [None] * (2 if pooling else 3))
        graph = helper.make_graph(nodes, "figures", [value, *bounds], [figures])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        return self._runtime.open(model.SerializeToString(), {})


def _reduce(figure: str, taken: str, given: str, space: tuple[int, ...], *, keep: bool = False) -> onnx.NodeProto:
    return helper.make_node(f"Reduce{figure}", [taken], [given], axes=space, keepdims=int(keep))


def _find_nan(space: tuple[int, ...], element: int) -> Iterator[onnx.NodeProto]:
    yield helper.make_node("IsNaN", ["x"], ["is_nan"])
    yield helper.make_node("Cast", ["is_nan"], ["nan_ones"], to=element)
    yield _reduce("Max", "nan_ones", "nan_one", space)
    yield helper.make_node("Cast", ["nan_one"], ["has_nan"], to=onnx.TensorProto.BOOL)
    nan = helper.make_tensor("nan", element, [], [math.nan])
    yield helper.make_node("Constant", [], ["nan"], value=nan)


def _reduce_order(figure: str, given: str, space: tuple[int, ...]) -> Iterator[onnx.NodeProto]:
    """Give a minimum or maximum in which a NaN is not lost, as ONNX lets it be."""
    yield _reduce(figure, "x", f"{given}_of_numbers", space)
    yield helper.make_node("Where", ["has_nan", "nan", f"{given}_of_numbers"], [given])


def _describe(space: tuple[int, ...], element: int) -> Iterator[onnx.NodeProto]:
    """Give what computes (rows, 5, channels): mean, deviation, minimum, maximum, and the share of zeros."""
    yield _reduce("Mean", "x", "mean", space)
    yield _reduce("Mean", "x", "middle", space, keep=True)
    yield helper.make_node("Sub", ["x", "middle"], ["apart"])
    yield helper.make_node("Mul", ["apart", "apart"], ["squares"])
    yield _reduce("Mean", "squares", "variance", space)
    yield helper.make_node("Sqrt", ["variance"], ["deviation"])
    yield from _reduce_order("Min", "minimum", space)
    yield from _reduce_order("Max", "maximum", space)
    yield helper.make_node("Cast", ["x"], ["is_set"], to=onnx.TensorProto.BOOL)
    yield helper.make_node("Not", ["is_set"], ["is_zero"])
    yield helper.make_node("Cast", ["is_zero"], ["zero_ones"], to=element)
    yield _reduce("Mean", "zero_ones", "zeros", space)
    yield helper.make_node("Constant", [], ["second"], value_ints=[1])
    figures = ("mean", "deviation", "minimum", "maximum", "zeros")
    for name in figures:
        yield helper.make_node("Unsqueeze", [name, "second"], [f"{name}_row"])
    yield helper.make_node("Concat", [f"{name}_row" for name in figures], ["figures"], axis=1)
