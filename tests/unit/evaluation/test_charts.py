"""Charts hold the numbers they should; drawn, they are well-formed and hold no text that is not escaped."""

import re
import sys
from types import MappingProxyType
from xml.etree import ElementTree

import numpy as np
import pytest

from recsys.errors import ConfigError
from recsys.evaluation import EvaluationResult, charts
from recsys.evaluation.drawing import svg
from recsys.evaluation.segments import Traces
from recsys.ids import IdMap

EVIL = ["$x^$<b>", '<script>alert("1")</script> & $x^$', "_hidden", "ls\x07 \x00\n", "東京" * 30]


def result(shown, found, relevant=(5, 5, 5, 5), popularity=(1, 2, 8, 9)):
    arrays = [np.array(one, np.int64) for one in (popularity, relevant, shown, found)]
    traces = Traces(IdMap.from_ids("abcd"), np.array([1, 9, 9]), arrays[0], arrays[1], {10: arrays[2]}, {10: arrays[3]})
    values = MappingProxyType({"ndcg@10": np.array([0.1, 0.3, 0.5])})
    return EvaluationResult(("x", "y", "z"), values, {}, {}, traces)


def test_points_are_those_of_the_lists():
    one = {"als": result([0, 0, 3, 9], [0, 0, 1, 4])}
    found = charts.by_popularity(one, 10)
    assert found.ticks == ["1\n(1)", "2–3\n(1)", "4–7\n(0)", "8+\n(2)"]
    assert found.lines["als"] == {0.0: 0.0, 1.0: 0.0, 3.0: 50.0}  # no item has 4 to 7 users
    told = charts.by_history(one, "ndcg@10")
    assert told.lines["als"] == {0.0: 0.1, 3.0: pytest.approx(0.4)}
    assert charts.coverage_curve(one, 10).lines["als"] == {25.0: 75.0, 50.0: 100.0, 75.0: 100.0, 100.0: 100.0}
    assert charts.learning("als", [3.0, 2.5]).lines["als"] == {1.0: 3.0, 2.0: 2.5}


def test_what_is_calibrated_lies_on_the_diagonal_and_a_bias_off_it():
    draw = np.random.default_rng(0)
    truth = draw.uniform(1, 5, 20_000)
    seen = truth + draw.normal(0, 1, len(truth))
    for bias, most in ((0.0, 0.1), (0.5, 0.6)):
        points = charts.calibration("mf", truth + bias, seen, "rating").lines["mf"]
        assert len(points) == 10
        off = [x - y for x, y in points.items()]
        assert np.abs(np.array(off) - bias).max() < 0.1
        assert max(map(abs, off)) < most


def test_classes_are_few_enough_for_a_phone():
    counts = np.array([0, 1, 240_000])
    assert [one.range for one in charts._buckets(counts)] == [
        "0",
        "1–7",
        "8–63",
        "64–511",
        "512–4,095",
        "4,096–32,767",
        "32,768+",
    ]


def test_a_drawing_is_well_formed_and_all_names_are_text():
    drawn = svg(charts.by_history({name: result([1, 1, 1, 1], [0, 0, 0, 1]) for name in EVIL}, "ndcg@10"))
    page = ElementTree.fromstring(drawn)
    texts = ["".join(one.itertext()) for one in page.iter("text")]
    assert EVIL[1][:23] + "…" in texts
    assert EVIL[0] in texts
    assert any("_hidden" in one for one in texts)
    assert not [one for one in page.iter() if one.tag == "script"]
    assert page.find("title").text == "Accuracy by length of history"
    assert "var(--line-3)" in drawn
    assert not re.search(r"https?:|#0000|<!--|url\((?!#history-)", drawn)
    ids = [one.get("id") for one in page.iter() if one.get("id")]
    assert len(set(ids)) == len(ids)
    assert all(one.startswith("history-") for one in ids)


def test_a_missing_matplotlib_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"recsys\[science\]"):
        svg(charts.learning("als", [1.0]))
