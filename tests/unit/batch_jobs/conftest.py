import pytest

from batch_jobs.stores import Stores


@pytest.fixture
def stores(tmp_path, monkeypatch):
    """Embedded stores in a folder, where commands find them, too."""
    for name in ("ARTIFACTS", "REGISTRY", "ONLINE", "EVENTS", "RUNS"):
        scheme = "sqlite" if name == "ONLINE" else "file"
        monkeypatch.setenv(f"RECSYS_{name}", f"{scheme}:{tmp_path / name.lower()}")
    opened = Stores.from_environment()
    yield opened
    opened.online.close()
