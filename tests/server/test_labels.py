import numpy as np
from strata_server.labels import Label, rank_labels

SCORES = np.array([[0.1, 0.6, 0.3], [0.4, 0.2, 0.4]])


def test_labels_are_ranked_by_score_and_equal_ones_by_class() -> None:
    ranked = rank_labels(SCORES, ("a", "b", "c"), 2)
    assert ranked == [[Label("b", 1, 0.6), Label("c", 2, 0.3)], [Label("a", 0, 0.4), Label("c", 2, 0.4)]]


def test_a_model_without_names_answers_indices() -> None:
    assert [label.name for label in rank_labels(SCORES, (), 9)[0]] == ["1", "2", "0"]
