"""The classification extension: the best classes of each row as texts."""

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from artifacts import CLASSES, SIDE, tiny_answer, tiny_manifest, write_artifact
from open_inference import read_values, refusal_of, write_request
from processes import serving
from wire import Stubs, connect

Floats = npt.NDArray[np.float32]


def expected_texts(scores: Floats, top: int, names: tuple[str, ...] = ()) -> list[list[str]]:
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [
        [f"{scores[row, index]:f}:{index}" + (f":{names[index]}" if names else "") for index in best[row]]
        for row in range(len(scores))
    ]


def test_the_best_classes_come_as_score_index_and_label(stubs: Stubs, image: Floats) -> None:
    answer = stubs.infer(write_request(image, {"predictions": {"classification": 2}}))
    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("predictions", "BYTES", [2, 2])
    assert read_values(answer)["predictions"] == expected_texts(tiny_answer(image)["predictions"], 2, CLASSES)


def test_more_classes_than_there_are_means_all(stubs: Stubs, image: Floats) -> None:
    answer = stubs.infer(write_request(image, {"predictions": {"classification": 1000}}))
    assert list(answer.outputs[0].shape) == [2, 3]


def test_a_layer_beside_the_prediction_is_ranked_without_labels(stubs: Stubs, image: Floats) -> None:
    answer = stubs.infer(write_request(image, {"flat": {"classification": 3}, "predictions": {}}))
    values = read_values(answer)
    assert values["flat"] == expected_texts(tiny_answer(image)["flat"], 3)
    assert values["predictions"].shape == (2, 3)


def test_where_a_model_has_no_classes_there_is_no_label(tmp_path: Path, image: Floats) -> None:
    write_artifact(tmp_path, manifest={**tiny_manifest(), "classes": []})
    with serving(tmp_path) as server:
        stubs = connect(server.grpc)
        answer = stubs.infer(write_request(image, {"predictions": {"classification": 1}}))
        stubs.channel.close()
    assert read_values(answer)["predictions"] == expected_texts(tiny_answer(image)["predictions"], 1)


def test_typed_questions_are_answered_with_typed_texts(stubs: Stubs, image: Floats) -> None:
    tensor = {
        "name": "image",
        "datatype": "FP32",
        "shape": image.shape,
        "contents": {"fp32_contents": image.ravel().tolist()},
    }
    request = write_request(image, {"predictions": {"classification": 1}}, inputs=[tensor], raw_input_contents=[])
    (output,) = stubs.infer(request).outputs
    texts = [[text.decode()] for text in output.contents.bytes_contents]
    assert texts == expected_texts(tiny_answer(image)["predictions"], 1, CLASSES)


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ({"double": {"classification": 1}}, "needs an output of shape (rows, classes); 'double' has (-1, 4, 4, 1)"),
        ({"predictions": {"classification": -1}}, "'classification': expected a whole number from 0 up, received -1"),
        ({"predictions": {"classification": "2"}}, "expected a whole number from 0 up, received '2'"),
        ({"predictions": {"classification": 1, "half": True}}, "expected classification or a reduction, received both"),
    ],
)
def test_what_cannot_be_ranked_is_refused(stubs: Stubs, image: Floats, outputs: Any, reason: str) -> None:
    code, details = refusal_of(stubs.infer, write_request(image, outputs))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert reason in details


def test_what_is_not_a_number_is_not_ranked(stubs: Stubs) -> None:
    image = np.full((1, SIDE, SIDE, 1), np.nan, np.float32)
    code, details = refusal_of(stubs.infer, write_request(image, {"predictions": {"classification": 1}}))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "labels need numbers that are finite" in details


def test_a_repeated_request_is_ranked_each_time(stubs: Stubs, image: Floats) -> None:
    for turn in range(4):
        plain = stubs.infer(write_request(image + turn, {"predictions": {}}, id=str(turn)))
        ranked = stubs.infer(write_request(image + turn, {"predictions": {"classification": 1}}, id=str(turn)))
        assert (plain.id, ranked.id) == (str(turn), str(turn))
        scores = read_values(plain)["predictions"]
        assert read_values(ranked)["predictions"] == expected_texts(scores, 1, CLASSES)
