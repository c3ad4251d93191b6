"""One namespace over real stores: train, publish, ask."""

from dataclasses import asdict

import numpy as np

from recsys.artifacts import Histories, LocalArtifactStore, LocalModelRegistry, describe, pack
from recsys.events import InteractionEvent
from recsys.serving import MemoryOnlineStore, ModelLoader, RecommendationService, UserState
from recsys.weights import WeightRule

RULE = WeightRule(duplicates="sum")


class World:
    def __init__(self, folder, rule=RULE, clock=lambda: 0.0):
        self.artifacts = LocalArtifactStore(folder / "artifacts")
        self.registry = LocalModelRegistry(folder / "registry")
        self.rule = rule
        self.online = MemoryOnlineStore()
        self.loader = ModelLoader(self.artifacts, self.registry, refresh_s=0.0)
        self.service = RecommendationService(self.loader, self.online, clock=clock)
        self.sent = 0

    def publish(self, model, events_through=0, dated=None):
        dataset, factors = model.dataset, model.export()
        csr = dataset.user_items
        histories = Histories(csr.indptr.astype(np.int64), csr.indices.astype(np.int32), csr.data)
        arrays = pack(factors, dataset.users, dataset.items, histories, dataset.item_counts, dated)
        config = {"weights": asdict(self.rule), **factors.settings}
        data = {"events_through": events_through}
        manifest = describe("shop", model.kind, arrays, config=config, data=data, metrics={})
        self.artifacts.put(manifest, arrays)
        states = (
            (user, UserState(factors.user_vectors[row], *histories.of(row), float(factors.queries.user_bias[row])))
            for row, user in enumerate(dataset.users.ids())
        )
        self.online.put_users("shop", manifest.version, states)
        now = self.registry.current("shop")
        self.registry.promote(manifest, expected=now.sequence if now else 0)
        return manifest

    def send(self, user, *items, value=1.0):
        events = [
            InteractionEvent(f"e{self.sent + n}", user, item, 1e9 + n, value=value) for n, item in enumerate(items)
        ]
        self.sent += len(items)
        return self.service.record_events("shop", events)

    def items(self, user, k=10):
        return [one.item for one in self.service.recommend("shop", user, k).items]
