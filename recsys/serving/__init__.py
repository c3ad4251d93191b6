"""Answers from published factors: imports the standard library, numpy and our kernels, nothing else.

What a first list does not need is imported when somebody asks for it.
"""

from typing import TYPE_CHECKING, Any

from recsys.serving.answers import RankedList
from recsys.serving.listing import RankedItem
from recsys.serving.loader import ModelLoader
from recsys.serving.online import OnlineStore, StoredList, UserState
from recsys.serving.online.sqlite import SQLiteOnlineStore
from recsys.serving.service import RecommendationService

if TYPE_CHECKING:
    from recsys.serving.online.memory import MemoryOnlineStore
    from recsys.serving.scores import Contribution, ScoredItem, ScoredItems
    from recsys.serving.session import SessionEvent
    from recsys.serving.warm_up import WarmUp

__all__ = [
    "Contribution",
    "MemoryOnlineStore",
    "ModelLoader",
    "OnlineStore",
    "RankedItem",
    "RankedList",
    "RecommendationService",
    "SQLiteOnlineStore",
    "ScoredItem",
    "ScoredItems",
    "SessionEvent",
    "StoredList",
    "UserState",
    "WarmUp",
]


_LATER = {"MemoryOnlineStore": "online.memory", "SessionEvent": "session", "WarmUp": "warm_up"}
_LATER |= dict.fromkeys(("Contribution", "ScoredItem", "ScoredItems"), "scores")


def __getattr__(name: str) -> Any:
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
