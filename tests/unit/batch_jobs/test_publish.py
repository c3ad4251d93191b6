"""Publishing writes the whole user state: what is then served are the model's own numbers."""

import numpy as np
import pytest
from machine import N_ITEMS, Machine
from world import World

from batch_jobs.console import Screen
from batch_jobs.publish import publish, roll_back
from batch_jobs.stores import Stores
from recsys.errors import ConflictError, NoModelError


def test_states_are_written_with_vector_history_and_bias(tmp_path, capsys):
    machine, world = Machine(), World(tmp_path)
    version = world.publish(machine).version
    world.online.drop_version("shop", version)
    assert world.service.recommend("shop", "u5", 5).strategy == "popular"
    stores = Stores(world.artifacts, world.registry, world.online, None, None)
    told = publish(stores, "shop", version, Screen(as_json=True))
    assert (told["in_service"], told["sequence"]) == (version, 1)
    for row in (0, 5, 39):
        found = world.service.scores("shop", f"u{row}", [f"i{n}" for n in range(N_ITEMS)])
        expected = machine.y(row, {"hour": "0"}, range(N_ITEMS))
        np.testing.assert_allclose([one.raw_score for one in found.items], expected, rtol=1e-5, atol=1e-5)
        state = world.online.user_state("shop", version, f"u{row}")
        assert state.items.tolist() == machine.dataset.user_items[row].indices.tolist()
    assert capsys.readouterr().out == ""


def test_a_rollback_writes_dropped_states_anew_and_nobody_publishes_over_what_was_not_judged(tmp_path):
    world, screen = World(tmp_path), Screen(as_json=True)
    stores = Stores(world.artifacts, world.registry, world.online, None, None)
    with pytest.raises(NoModelError, match="no earlier model"):
        roll_back(stores, "shop", screen)
    first, second, third = (world.publish(Machine(seed)).version for seed in range(3))
    world.online.drop_version("shop", second)
    with pytest.raises(ConflictError, match=f"version {third} .* came into service after {first} was judged"):
        publish(stores, "shop", first, screen, expected=2)
    assert roll_back(stores, "shop", screen) == {
        "namespace": "shop", "in_service": second, "sequence": 4, "before": third
    }  # fmt: skip
    assert world.online.user_state("shop", second, "u5") is not None
    publish(stores, "shop", third, screen, expected=4)
    assert world.online.user_state("shop", first, "u5") is None
