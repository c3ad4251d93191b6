"""Settings from the environment, read once."""

import os
from dataclasses import dataclass

from recsys.stores import DEFAULTS


@dataclass(frozen=True)
class Settings:
    """URLs of the stores; see `recsys.stores`."""

    artifacts: str
    registry: str
    online: str


def settings() -> Settings:
    """Take the settings from the environment, embedded defaults where it has none."""
    values = {name: os.environ.get(name) or default for name, default in DEFAULTS.items()}
    return Settings(values["RECSYS_ARTIFACTS"], values["RECSYS_REGISTRY"], values["RECSYS_ONLINE"])
