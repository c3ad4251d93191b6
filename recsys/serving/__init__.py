"""Answers from published factors: imports the standard library, numpy and our kernels, nothing else.

What a first list does not need is imported when somebody asks for it.
"""

from typing import TYPE_CHECKING, Any

from recsys.serving.answers import RankedList
from recsys.serving.knowledge import SessionEvent
from recsys.serving.listing import RankedItem
from recsys.serving.loader import ModelLoader
from recsys.serving.online import OnlineStore, StoredList, UserState
from recsys.serving.online.sqlite import SQLiteOnlineStore
from recsys.serving.service import RecommendationService
from recsys.serving.warm_up import WarmUp

if TYPE_CHECKING:
    from recsys.serving.online.memory import MemoryOnlineStore
    from recsys.serving.scores import Contribution, ScoredItem, ScoredItems

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


def __getattr__(name: str) -> Any:
    if name in __all__:
        from recsys.serving import scores
        from recsys.serving.online import memory

        return getattr(memory if hasattr(memory, name) else scores, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
