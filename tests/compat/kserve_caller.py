"""Asks a server with KServe's own clients; runs in an environment of its own, which has kserve and nothing of this project.

Usage: kserve_caller.py GRPC_ADDRESS HTTP_URL IMAGE.npy
"""

import asyncio
import json
import sys
from typing import Any

import numpy as np
from kserve import (  # type: ignore[import-not-found]
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    RESTConfig,
)
from kserve.protocol.infer_type import RequestedOutput  # type: ignore[import-not-found]


def make_request(image: Any, model: str = "tiny", *, binary: bool, binary_out: bool = False) -> Any:
    given = InferInput("image", list(image.shape), "FP32")
    given.set_data_from_numpy(image, binary_data=binary)
    outputs = [RequestedOutput(name, {"binary_data": binary_out}) for name in ("scores", "double")]
    return InferRequest(model_name=model, request_id="7", infer_inputs=[given], request_outputs=outputs)


def read(response: Any) -> dict[str, Any]:
    return {
        "id": response.id,
        "model": response.model_name,
        **{output.name: output.as_numpy().tolist() for output in response.outputs},
    }


async def ask(grpc_address: str, http_url: str, image: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    async with InferenceRESTClient(RESTConfig(protocol="v2", retries=1)) as rest:
        found["rest live"] = await rest.is_server_live(http_url)
        found["rest ready"] = await rest.is_server_ready(http_url)
        found["rest model ready"] = await rest.is_model_ready(http_url, "tiny")
        found["rest other ready"] = await rest.is_model_ready(http_url, "other")
        for binary in (False, True):
            for binary_out in (False, True):
                request = make_request(image, binary=binary, binary_out=binary_out)
                answer = await rest.infer(http_url, request, model_name="tiny")
                found[f"rest {binary} {binary_out}"] = read(answer)
        try:
            await rest.infer(http_url, make_request(image, "other", binary=True), model_name="other")
        except Exception as error:  # noqa: BLE001 - its text is what the test looks at
            found["rest error"] = str(error)
    client = InferenceGRPCClient(grpc_address)
    found["grpc live"] = await client.is_server_live()
    found["grpc ready"] = await client.is_server_ready()
    found["grpc model ready"] = await client.is_model_ready("tiny")
    found["grpc"] = read(await client.infer(make_request(image, binary=True)))
    try:
        await client.infer(make_request(image, "other", binary=True))
    except Exception as error:  # noqa: BLE001 - as above
        found["grpc error"] = str(error)
    await client.close()
    return found


if __name__ == "__main__":
    _, grpc_address, http_url, file = sys.argv
    json.dump(asyncio.run(ask(grpc_address, http_url, np.load(file))), sys.stdout)
