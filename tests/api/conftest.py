"""A small shop published to stores in a folder; the app over it in process, and as a server process."""

import os
import select
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
CHALICE_APP = HERE.parent.parent / "chalice_app"
sys.path[:0] = [str(HERE), str(CHALICE_APP)]

from api_client import InProcess, Wire  # noqa: E402
from log_lines import check_line  # noqa: E402
from machine import Machine  # noqa: E402

from recsys import telemetry  # noqa: E402
from recsys.artifacts import Histories, LocalArtifactStore, LocalModelRegistry, describe, pack  # noqa: E402
from recsys.data import Dataset, interactions_from_tuples  # noqa: E402
from recsys.models import ImplicitALS  # noqa: E402
from recsys.serving import ModelLoader, RecommendationService, SQLiteOnlineStore, UserState  # noqa: E402
from recsys.weights import WeightRule  # noqa: E402

ODD_IDS = (
    *("a b", "a/b", "a%2Fb", "100%", "%", "%41", "a+b", "a?b=c&d", "a#b", "..", ".", "a;b", "a:b@c", '"', "'", "\\"),
    *("日本語", "é", "e\u0301", "😀", "\0", "\n", "\x7f", "\u202e", "\ufeff", "'; DROP TABLE events;--", "x" * 256),
    *("😀" * 256, "__proto__", "{item}", "None", " ", "true"),
)


class Shop:
    """Stores in a folder, and the service over them."""

    def __init__(self, folder):
        self.folder = folder
        self.artifacts = LocalArtifactStore(folder / "artifacts")
        self.registry = LocalModelRegistry(folder / "registry")
        self.online = SQLiteOnlineStore(folder / "online.db")
        self.service = RecommendationService(ModelLoader(self.artifacts, self.registry, refresh_s=0.0), self.online)

    @property
    def environment(self):
        return {
            "RECSYS_ARTIFACTS": f"file:{self.folder}/artifacts",
            "RECSYS_REGISTRY": f"file:{self.folder}/registry",
            "RECSYS_ONLINE": f"sqlite:{self.folder}/online.db",
        }

    def publish(self, model, namespace="shop", metrics=None):
        dataset, factors = model.dataset, model.export()
        csr = dataset.user_items
        histories = Histories(csr.indptr.astype(np.int64), csr.indices.astype(np.int32), csr.data)
        arrays = pack(factors, dataset.users, dataset.items, histories, dataset.item_counts)
        config = {"weights": asdict(WeightRule(duplicates="sum")), **factors.settings}
        manifest = describe(
            namespace, model.kind, arrays, config=config, data={"events_through": 0}, metrics=metrics or {}
        )
        self.artifacts.put(manifest, arrays)
        users = enumerate(dataset.users.ids())
        states = (
            (user, UserState(factors.user_vectors[row], *histories.of(row), float(factors.queries.user_bias[row])))
            for row, user in users
        )
        self.online.put_users(namespace, manifest.version, states)
        now = self.registry.current(namespace)
        self.registry.promote(manifest, expected=now.sequence if now else 0)
        return manifest


def fitted(seed=0, factors=4):
    rng = np.random.default_rng(seed)
    items = [*(f"i{n}" for n in range(30)), *ODD_IDS]
    users = [*(f"u{n}" for n in range(60)), *ODD_IDS]
    rows = [(user, items[int(i)], 1.0) for user in users for i in set(rng.integers(0, len(items), 7).tolist())]
    rows += [(f"u{n % 60}", item, 1.0) for n, item in enumerate(items)]  # every item is in the catalogue
    return ImplicitALS(factors=factors, alpha=2.0, regularization=0.02).fit(
        Dataset.from_interactions(interactions_from_tuples(sorted(set(rows))))
    )


@pytest.fixture(scope="session")
def model():
    return fitted()


@pytest.fixture(scope="session")
def template(tmp_path_factory, model):
    """Build the published folder that every shop is a copy of."""
    folder = tmp_path_factory.mktemp("shop")
    shop = Shop(folder)
    shop.publish(model)
    shop.publish(Machine(link="logistic"), "films")
    shop.online.close()
    return folder


@contextmanager
def opened_shop(template, folder):
    shutil.copytree(template, folder, dirs_exist_ok=True)
    shop = Shop(folder)
    yield shop
    shop.online.close()


def forget_wiring():
    """Make the next request the first of its container."""
    from chalicelib import wiring

    for made in (wiring.warm_up, wiring.gate, wiring.service, wiring.stores, wiring.cursor_key):
        made.__wrapped__.cache_clear()


@contextmanager
def app_over(shop):
    """Give the app as a cold container has it."""
    from app import app

    from chalicelib import wiring

    with pytest.MonkeyPatch.context() as patch:
        for name, value in shop.environment.items():
            patch.setenv(name, value)
        forget_wiring()
        wiring.service().models._refresh_s = wiring.gate().keyring.refresh_s = 0.0
        api = InProcess(app)
        patch.setattr(telemetry, "sys", SimpleNamespace(stderr=api.lines))
        yield api
        wiring.stores().online.close()
        forget_wiring()


@contextmanager
def server_over(shop, log, planted=""):
    """Start `server.py`, after a bug as code if any, and speak to it; whatever it writes ends up in `log`."""
    server, run = str(CHALICE_APP / "server.py"), "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", f"import sys; del sys.argv[0]\n{planted}\n{run}", server, "--port", "0"]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env={**os.environ, **shop.environment}
        )
    try:
        ready, _, _ = select.select([process.stdout], [], [], 30)
        line = process.stdout.readline() if ready else ""
        assert line.startswith("Serving http://127.0.0.1:"), (line, log.read_text())
        wire = Wire(line.split()[1])
        wire.console = line.split()[-1]
        wire.process = process
        yield wire
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture
def shop(template, tmp_path):
    with opened_shop(template, tmp_path / "stores") as shop:
        yield shop


@pytest.fixture
def api(shop):
    with app_over(shop) as api:
        yield api


@pytest.fixture(scope="module")
def long_lived_shop(template, tmp_path_factory):
    with opened_shop(template, tmp_path_factory.mktemp("served")) as shop:
        yield shop


@pytest.fixture(scope="module")
def server(long_lived_shop):
    log = long_lived_shop.folder / "server.log"
    with server_over(long_lived_shop, log) as wire:
        yield wire
    from app import app

    for line in log.read_text().splitlines():  # nothing but the lines of requests, and each of them whole
        check_line(line, app.routes)


@pytest.fixture(scope="module")
def bookshop(tmp_path_factory):
    """Publish what the examples of the OpenAPI document are about."""
    from bookshop import publish_bookshop

    shop = Shop(tmp_path_factory.mktemp("bookshop"))
    publish_bookshop(shop)
    yield shop
    shop.online.close()


@pytest.fixture
def start_server(tmp_path):
    """Start a server of one's own."""
    return lambda shop, planted="": server_over(shop, tmp_path / "server.log", planted)
