"""Who is in which variant: the same everywhere, evenly, and apart from every other split; and what no experiment is."""

import hashlib
import json
import math

import numpy as np
import pytest
from scipy.stats import chisquare

from recsys.errors import DataError
from recsys.serving import experiments
from recsys.serving.experiments import Experiment, Variant, place

USERS = [f"user {n}" for n in range(10_000)]
AB = {"name": "colour", "variants": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}]}
EPSILON = {"kind": "epsilon", "epsilon": 0.1, "pool": 50}


def experiment(**shares):
    return Experiment("e", "salt", tuple(Variant(name, share) for name, share in shares.items()))


def names(one, users=USERS, namespace="shop"):
    return [one.variant_of(namespace, user).name for user in users]


def even(places, bins=20):
    """The p-value of places being spread evenly."""
    return chisquare(np.bincount((np.asarray(places) * bins).astype(int), minlength=bins)).pvalue


def test_a_place_is_what_the_module_says_for_good():
    text = '["salt","shop","\\u00e9 \\u0000 \\ud83d\\ude00"]'
    number = int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) // 2**11
    assert place("salt", "shop", "é \0 😀") == number / 2**53
    assert place("salt", "shop", "anna") == 0.953723418209688


def test_places_are_spread_evenly_and_each_salt_and_namespace_is_a_split_of_its_own():
    one, other, elsewhere = (
        np.array([place(salt, space, user) for user in USERS])
        for salt, space in (("s1", "shop"), ("s2", "shop"), ("s1", "shop2"))
    )
    for places in (one, other, elsewhere):
        assert even(places) > 1e-3
        assert (places >= 0).all()
        assert (places < 1).all()
    for some in (other, elsewhere):
        both = np.histogram2d(one, some, bins=10, range=[(0, 1)] * 2)[0]
        assert chisquare(both.ravel()).pvalue > 1e-3


PLANTED = {
    "the salt is left out": lambda salt, namespace, user: experiments.place("", namespace, user),
    "the last digit": lambda salt, namespace, user: int(user[-1]) / 10,
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_worse_split_would_be_found(monkeypatch, planted):
    monkeypatch.setitem(globals(), "place", PLANTED[planted])
    with pytest.raises(AssertionError):
        test_places_are_spread_evenly_and_each_salt_and_namespace_is_a_split_of_its_own()


def test_shares_are_kept_and_only_those_move_whose_border_does():
    before, after = experiment(a=0.5, b=0.3, c=0.2), experiment(a=0.5, b=0.4, c=0.1)
    first, second = names(before), names(after)
    counts = [first.count(name) for name in "abc"]
    assert chisquare(counts, [5_000, 3_000, 2_000]).pvalue > 1e-3
    moved = {(a, b) for a, b in zip(first, second, strict=True) if a != b}
    assert moved == {("c", "b")}
    assert math.isclose(sum(a != b for a, b in zip(first, second, strict=True)) / len(USERS), 0.1, abs_tol=0.01)


def test_nobody_is_in_the_first_variant_and_one_of_no_share_has_nobody():
    assert experiment(a=0.0, b=1.0).variant_of("shop", None).name == "a"
    assert set(names(experiment(a=0.0, b=1.0, c=0.0))) == {"b"}
    thirds = Experiment.of({"name": "e", "variants": [{"name": name, "share": 1 / 3} for name in "abc"]})
    assert set(names(thirds)) == set("abc")


def test_a_document_is_read_and_written_alike():
    sent = {"name": "e", "variants": [{"name": "a", "share": 1, "version": "v1", "exploration": EPSILON}]}
    read = Experiment.of(json.loads(json.dumps(sent)))
    assert read.salt == "e"
    assert Experiment.of(read.document()) == read
    assert Experiment.of(read.document() | {"started_at": "now"}) == read


BAD = {
    "name": {"name": ""},
    "salt": {"salt": 7},
    "variants": {"variants": []},
    "size": {"size": 3},
    "variants[0]": {"variants": ["a"]},
    "variants[0].weight": {"variants": [{"name": "a", "share": 1, "weight": 1}]},
    "variants[1].name": {"variants": [{"name": "a", "share": 1}, {"share": 0}]},
    "variants[0].share": {"variants": [{"name": "a", "share": True}]},
    "variants[0].version": {"variants": [{"name": "a", "share": 1, "version": "\ud800"}]},
    "variants[0].exploration": {"variants": [{"name": "a", "share": 1, "exploration": 0.1}]},
    "variants[0].exploration.kind": {"variants": [{"name": "a", "share": 1, "exploration": EPSILON | {"kind": "x"}}]},
    "variants[0].exploration.pool": {"variants": [{"name": "a", "share": 1, "exploration": EPSILON | {"pool": 1}}]},
    "variants[0].exploration.epsilon": {
        "variants": [{"name": "a", "share": 1, "exploration": EPSILON | {"epsilon": 0.51}}]
    },
}


@pytest.mark.parametrize("field", BAD)
def test_what_is_no_experiment_names_the_field(field):
    with pytest.raises(DataError) as error:
        Experiment.of(AB | BAD[field])
    assert error.value.field == field


@pytest.mark.parametrize(
    "variants",
    [
        [{"name": "a", "share": 0.5}, {"name": "a", "share": 0.5}],
        [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.4}],
        [{"name": f"v{n}", "share": 0.25, "version": f"v{n}"} for n in range(4)],
    ],
    ids=["one name twice", "not all users", "more versions than are kept"],
)
def test_variants_that_do_not_go_together_are_refused(variants):
    with pytest.raises(DataError) as error:
        Experiment.of(AB | {"variants": variants})
    assert error.value.field == "variants"
