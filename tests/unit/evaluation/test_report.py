import io

import numpy as np
import pytest
from rich.console import Console

from recsys.errors import ConfigError
from recsys.evaluation import EvaluationResult, table


def result(recall, gini, users=3, novelty=1.0):
    return EvaluationResult(
        users=("a", "b"),
        values={"recall@10": np.array([0.0, 0.1]), "recall@20": np.array([recall, recall])},
        overall={"gini@20": gini, "novelty@20": novelty},
        counts={"users": users, "users_unknown": 1200},
    )


def printed(*arguments):
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(table(*arguments))
    return console.file.getvalue()


def row(text, model):
    (line,) = (line for line in text.splitlines() if f" {model} " in line and ":" not in line)
    return [cell.strip() for cell in line.strip("│┃ ").split("│")]


def test_marks_the_best_by_the_direction_of_the_metric():
    text = printed({"als": result(0.25, 0.9), "bpr": result(0.125, 0.8, novelty=3.0)})
    assert row(text, "als") == ["als", "0.2500*", "0.9000", "1.0000"]
    assert row(text, "bpr") == ["bpr", "0.1250", "0.8000*", "3.0000"]
    assert "recall@10" not in text
    assert text.count("users 3, users unknown 1,200") == 1


def test_marks_all_that_print_alike_and_no_nan():
    text = printed({"als": result(0.25, float("nan")), "bpr": result(0.25000001, 0.8)})
    assert row(text, "als")[1:3] == ["0.2500*", "nan"]
    assert row(text, "bpr")[1:3] == ["0.2500*", "0.8000*"]


def test_one_model_is_not_the_best():
    assert "*" not in printed({"als": result(0.25, 0.9)})


def test_different_counts_stand_by_model():
    text = printed({"als": result(0.25, 0.9, users=3), "bpr [new]": result(0.2, 0.9, users=4)}, ["recall@10"])
    assert "als: users 3" in text
    assert "bpr [new]: users 4" in text
    assert row(text, "als") == ["als", "0.0500*"]


def test_refuses_what_it_cannot_show():
    with pytest.raises(ConfigError, match="no results"):
        table({})
    with pytest.raises(ConfigError, match="ndcg@20"):
        table({"als": result(0.25, 0.9)}, ["ndcg@20"])


def test_default_columns_fit_a_terminal():
    names = ["precision", "recall", "ndcg", "coverage", "gini", "novelty", "popularity_lift"]
    full = EvaluationResult(("a",), {}, {f"{name}@20": -12.34567 for name in names}, {"users": 1})
    text = printed({"implicit-als": full, "item-knn": full})
    for name in ("recall@20", "ndcg@20", "coverage@20", "gini@20", "novelty@20"):
        assert name in text
    assert "…" not in text
    assert "precision" not in text
