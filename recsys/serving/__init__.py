"""Answers from published factors: imports the standard library, numpy and our kernels, nothing else."""

from recsys.serving.knowledge import SessionEvent
from recsys.serving.loader import ModelLoader
from recsys.serving.online import OnlineStore, StoredList, UserState
from recsys.serving.online.memory import MemoryOnlineStore
from recsys.serving.online.sqlite import SQLiteOnlineStore
from recsys.serving.scores import Contribution, ScoredItem, ScoredItems
from recsys.serving.service import RankedItem, RankedList, RecommendationService

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
]
