"""Every datatype through tritonclient, which has its own ways with bfloat16 and text."""

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from processes import ServerProcess
from tritonclient.utils import InferenceServerException
from typed_models import BFLOAT16, SUFFIX, VALUES, Array, brains_answer


@pytest.fixture(scope="module")
def client(typed: ServerProcess) -> Iterator[Any]:
    with triton.InferenceServerClient(typed.grpc) as client:
        yield client


def enter(name: str, datatype: str, value: Array) -> Any:
    tensor = triton.InferInput(name, value.shape, datatype)
    tensor.set_data_from_numpy(value)
    return tensor


@pytest.mark.parametrize("datatype", VALUES)
def test_every_datatype_leaves_as_it_entered(client: Any, datatype: str) -> None:
    value, output = VALUES[datatype], triton.InferRequestedOutput(f"{datatype}_out")
    answer = client.infer("echoes", [enter(datatype, datatype, value)], outputs=[output])
    found = answer.as_numpy(f"{datatype}_out")
    assert answer.get_output(f"{datatype}_out").datatype == datatype
    assert found.shape == value.shape
    if datatype == "BYTES":
        assert found.ravel().tolist() == [text.encode() for text in value.ravel().tolist()]
    else:
        assert found.dtype == value.dtype
        np.testing.assert_array_equal(found, value)


def test_layers_of_bfloat16_are_outputs_and_inputs(client: Any) -> None:
    x = np.array([[1.5, 2.25, -4]], BFLOAT16)
    wanted = brains_answer(x)
    outputs = [triton.InferRequestedOutput(name) for name in ("inner", "y")]
    answer = client.infer("brains", [enter("x", "BF16", x)], outputs=outputs)
    for name in ("inner", "y"):
        np.testing.assert_array_equal(answer.as_numpy(name), wanted[name])
    answer = client.infer("brains", [enter("inner", "BF16", wanted["inner"])], outputs=outputs[1:])
    np.testing.assert_array_equal(answer.as_numpy("y"), wanted["y"])


def test_text_enters_as_text_or_as_its_bytes(client: Any) -> None:
    outputs = [triton.InferRequestedOutput(name) for name in ("joined", "number")]
    for text in (np.array([["a", "\u00e9"]], object), np.array([[b"a", "\u00e9".encode()]], object)):
        answer = client.infer("words", [enter("text", "BYTES", text)], outputs=outputs)
        assert answer.as_numpy("joined").tolist() == [[f"{one}{SUFFIX}".encode() for one in "a\u00e9"]]
        assert answer.as_numpy("number").tolist() == [[1, 2]]


def test_bytes_that_are_no_text_are_an_invalid_argument(client: Any) -> None:
    tensor = enter("text", "BYTES", np.array([[b"a", b"\xff"]], object))
    with pytest.raises(InferenceServerException, match="its string 1 is no text: expected UTF-8") as caught:
        client.infer("words", [tensor], outputs=[triton.InferRequestedOutput("number")])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_the_asyncio_client_gets_the_same(typed: ServerProcess) -> None:
    async def ask() -> tuple[Any, Any]:
        async with triton_aio.InferenceServerClient(typed.grpc) as client:
            x = enter("BF16", "BF16", VALUES["BF16"])
            half = await client.infer("echoes", [x], outputs=[triton.InferRequestedOutput("BF16_out")])
            text = enter("text", "BYTES", np.array([["a", "b"]], object))
            joined = await client.infer("words", [text], outputs=[triton.InferRequestedOutput("joined")])
            return half.as_numpy("BF16_out"), joined.as_numpy("joined")

    half, joined = asyncio.run(ask())
    np.testing.assert_array_equal(half, VALUES["BF16"])
    assert joined.tolist() == [[b"a!", b"b!"]]
