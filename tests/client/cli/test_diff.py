import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import grpc
import numpy as np
import pytest
from click.testing import CliRunner, Result
from strata.v1.catalog_pb2 import DescribeModelRequest, DescribeModelResponse
from strata.v1.inference_pb2 import GetActivationsRequest, GetActivationsResponse
from strata.v1.tensor_pb2 import DATA_TYPE_FLOAT32
from strata_client import tensors
from strata_client.cli import main

Peer = Callable[..., AbstractContextManager[str]]
Run = Callable[..., Result]


def test_versions_that_agree_have_exit_code_0(strata: Run, picture: Path, arrays: Path) -> None:
    for source in (picture, arrays, picture.parent):
        done = strata("diff", "tiny:1", "tiny:12", source)
        assert done.exit_code == 0
        assert done.output.splitlines()[0].startswith("tiny:1 and tiny:12: ")
        assert (
            done.output.splitlines()[-1] == "all within the tolerance, 0.001 of a layer's largest magnitude: 5 layers"
        )


def test_differences_for_machines_are_those_of_the_layers_asked(strata: Run, picture: Path) -> None:
    done = strata(
        "diff", "tiny:1", "tiny", picture, picture, "--layers", "scores,double", "--tolerance", "0.5", "--json"
    )
    document = json.loads(done.output)
    assert (document["a"], document["b"], document["rows"], document["tolerance"]) == ("tiny:1", "tiny:12", 2, 0.5)
    assert (document["agree"], document["first_past"]) == (True, None)
    assert [(layer["name"], layer["largest"], layer["relative"]) for layer in document["layers"]] == [
        ("double", 0, 0),
        ("scores", 0, 0),
    ]


@pytest.mark.parametrize(("factor", "exit_code"), [(1, 3), (2, 1)])
def test_layers_that_could_not_be_compared_are_told_apart_from_those_that_differ(
    peer: Peer, tmp_path: Path, factor: int, exit_code: int
) -> None:
    def describe(request: DescribeModelRequest, _: object) -> DescribeModelResponse:
        layers = [
            {"name": name, "kind": "Relu", "shape": [-1, 2], "data_type": DATA_TYPE_FLOAT32, "depth": depth}
            for depth, name in enumerate(("image", "odd", "last"))
        ]
        return DescribeModelResponse(
            model={"name": "m", "version": request.model.version, "inputs": ["image"], "layers": layers}
        )

    def compute(request: GetActivationsRequest, context: grpc.ServicerContext) -> GetActivationsResponse:
        if "odd" in request.layers:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no kernel")
        values = np.ones((1, 2), np.float32) * (factor if request.model.version == "2" else 1)
        return GetActivationsResponse(
            model=request.model, activations=[tensors.write(values, name) for name in request.layers]
        )

    np.save(tmp_path / "row.npy", np.ones((1, 2), np.float32))
    with peer({"DescribeModel": describe, "GetActivations": compute}) as address:
        arguments = ["diff", "m:1", "m:2", str(tmp_path / "row.npy"), "--server", address]
        done = CliRunner().invoke(main, arguments)
        document = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert done.exit_code == exit_code
    assert "1 layer could not be compared" in done.stdout
    assert [layer["error"] for layer in document["layers"]] == [
        None,
        {"code": "NOT_COMPARED", "message": "no kernel"},
        None,
    ]
