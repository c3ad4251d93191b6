"""Random shops with catalogues, and rules for their lists: whole numbers, so that scores are exact, and often equal."""

import random
from functools import partial
from types import SimpleNamespace

import numpy as np

from recsys.artifacts import Histories, describe, pack
from recsys.events import InteractionEvent
from recsys.factors import Factors
from recsys.ids import IdMap
from recsys.serving import UserState
from recsys.serving.filters import Exists, Group, OneOf, Within
from recsys.serving.rules import Boost, Cap, Diversity, Freshness, Promotion, Rules
from recsys.weights import WeightRule

FIELDS = {"genre": "keyword", "tags": "keywords", "year": "number", "live": "boolean", "at": "timestamp"}
GENRES, TAGS = ("drama", "noir", "war"), ("a", "b", "c", "d")
NOW_S = 1000.0


def publish(world, vectors, bias, counts, user, seen):
    """Put a model with these items into service; give `u` a vector and a history."""
    items, users = IdMap.from_ids(f"i{n}" for n in range(len(vectors))), IdMap.from_ids(["u"])
    seen, ones = np.array(seen, np.int32), np.ones(len(seen), np.float32)
    factors = Factors(np.array([user], np.float32), np.array(vectors, np.float32), np.array(bias, np.float32))
    arrays = pack(factors, users, items, Histories(np.array([0, len(seen)]), seen, ones), np.array(counts, np.float32))
    config = {"weights": vars(WeightRule())}
    manifest = describe("shop", "als", arrays, config=config, data={"events_through": 0}, metrics={})
    world.artifacts.put(manifest, arrays)
    world.online.put_users("shop", manifest.version, [("u", UserState(np.array(user, np.float32), seen, ones))])
    now = world.registry.current("shop")
    world.registry.promote(manifest, expected=now.sequence if now else 0)


def metadata(chance):
    drawn = {
        "genre": chance.choice([*GENRES, None]),
        "tags": chance.sample(TAGS, chance.randrange(4)),
        "year": chance.choice([1990, 2000.5, "2010", None, "unknown"]),
        "live": chance.choice([True, False, "false", None]),
        "at": chance.choice([0, 500, 900.0, 2000, "1970-01-01T00:10:00Z", None]),
        "title": "undeclared",
    }
    return {name: one for name, one in drawn.items() if one is not None or chance.random() < 0.5}


class Shelf:
    """A random model in service, and a catalogue that changes; what it holds by brute force."""

    def __init__(self, world, seed):
        self.world, self.chance = world, random.Random(seed)
        chance = self.chance
        self.n, self.width = chance.randint(1, 14), chance.randint(1, 3)
        self.vectors = [[chance.randint(-2, 2) for _ in range(self.width)] for _ in range(self.n)]
        self.bias = [chance.randint(-2, 2) for _ in range(self.n)]
        self.counts = [chance.randint(0, 4) for _ in range(self.n)]
        self.user = [chance.choice([-2, -1, 1, 2]) for _ in range(self.width)]
        self.seen = set(chance.sample(range(self.n), chance.randrange(self.n)))
        self.items, self.order, self.removed = {}, [], set()  # the newest change last
        publish(world, self.vectors, self.bias, self.counts, self.user, sorted(self.seen))
        world.online.put_fields("shop", FIELDS)
        self.had = {f"i{n}" for n in self.seen}
        for item in chance.sample([f"n{n}" for n in range(5)], chance.randrange(2)):
            self.had.add(item)
            world.online.append_events("shop", [InteractionEvent(f"e{seed}{item}", "u", item, 1.0)])

    def change(self):
        """Put and delete some items, known to the model and new ones."""
        if self.chance.random() < 0.2:  # all is read anew
            self.world.online.put_fields("shop", FIELDS | {f"more {self.chance.random()}": "number"})
        chance, known = self.chance, [*(f"i{n}" for n in range(self.n)), *(f"n{n}" for n in range(5))]
        for _ in range(chance.randrange(4)):
            some = chance.sample(known, chance.randint(1, len(known)))
            if chance.random() < 0.3:
                some = some[:3]
                self.world.online.delete_items("shop", some)
                self.removed.update(some)
                for item in some:
                    self.items.pop(item, None)
            else:
                told = {item: metadata(chance) for item in some}
                self.world.online.put_items("shop", told)
                self.removed -= set(some)
                for item in some:
                    self.items.pop(item, None)
                self.items.update(told)

    def clause(self, depth=0):
        chance = self.chance
        if depth < 3 and chance.random() < 0.5:
            groups = [tuple(self.clause(depth + 1) for _ in range(chance.choice([0, 0, 1, 2]))) for _ in range(3)]
            return Group(*groups)
        return chance.choice(
            [
                OneOf("genre", tuple(chance.sample((*GENRES, "none such"), chance.randint(1, 3)))),
                OneOf("tags", tuple(chance.sample(TAGS, chance.randint(1, 3)))),
                OneOf("year", (chance.choice([1990, "1990", 2000.5, 7]),)),
                OneOf("live", (chance.choice([True, False]),)),
                Within("year", **{chance.choice(["gt", "gte", "lt", "lte"]): chance.choice([1990, 2000.5, 2010])}),
                Within("at", gte=chance.choice([0, 500]), lt=chance.choice([600, 900, "1970-01-01T00:15:01Z"])),
                Exists(chance.choice([*FIELDS])),
            ]
        )

    def rules(self, adds=True):
        chance = self.chance

        def maybe(make, share=0.4):
            return make() if chance.random() < share else None

        known = [*(f"i{n}" for n in range(self.n + 2)), *(f"n{n}" for n in range(6))]
        boost = [
            Boost(self.clause(), chance.choice([1.0, 2.0, 0.5]), chance.choice([0.0, 1.0, -0.25]) if adds else 0.0)
            for _ in range(chance.choice([0, 0, 1, 2, 5]))
        ]
        promotions = [
            Promotion(self.clause(), chance.choice([0.1, 0.25, 0.3, 0.5, 1.0]))
            for _ in range(chance.choice([0, 0, 1, 2]))
        ]
        caps = [
            Cap(chance.choice(["genre", "tags", "live", "year"]), chance.randint(1, 3))
            for _ in range(chance.choice([0, 1, 2]))
        ]
        return Rules(
            maybe(self.clause, 0.6),
            tuple(boost),
            tuple(chance.sample(known, chance.choice([0, 0, 1, 3]))),
            tuple(promotions),
            maybe(lambda: Diversity(chance.choice([0.0, 0.3, 0.7, 1.0]), chance.choice([2, 5, 100]), tuple(caps))),
            maybe(lambda: chance.choice([-2.0, 0.0, 1.0]), 0.2),
            maybe(lambda: Freshness("at", chance.choice([100.0, 1000.0])), 0.3),
        )

    def vector(self, item):
        return self.vectors[int(item[1:])]

    def ask(self):
        """Choose one of the three lists: how to ask for it, its base scores by item, and what it may not have."""
        kind, service = self.chance.choice(["als", "similar", "popular"]), self.world.service
        if kind == "als":
            scores = [
                float(np.dot(vector, self.user) + bias) for vector, bias in zip(self.vectors, self.bias, strict=True)
            ]
            ask, without = partial(service.recommend, "shop", "u"), self.had
        elif kind == "popular":
            scores, ask, without = map(float, self.counts), partial(service.popular, "shop"), set()
        else:
            like = f"i{self.chance.randrange(self.n)}"
            if like in self.removed:
                return None
            ask, without = partial(service.similar, "shop", like), {like}
            known = {one.item: one.score for one in ask(500).items}  # cosines are no whole numbers: taken as they come
            scores = [known.get(f"i{n}", 0.0) for n in range(self.n)]
        scores = {f"i{n}": one for n, one in enumerate(scores)}
        return SimpleNamespace(strategy=kind, scores=scores, without=without, list=lambda k, rules: ask(k, rules=rules))
