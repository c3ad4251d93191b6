"""Models: fit on a `Dataset`, recommend by external ids, export to `Factors` where they reduce to a dot product."""

from recsys.models.als import ImplicitALS
from recsys.models.base import Recommender, ServableRecommender
from recsys.models.biased_mf import BiasedMF
from recsys.models.bpr import BPR
from recsys.models.fm.model import FactorizationMachine
from recsys.models.item_knn import ItemKNN
from recsys.models.popularity import Popularity

__all__ = [
    "BPR",
    "BiasedMF",
    "FactorizationMachine",
    "ImplicitALS",
    "ItemKNN",
    "Popularity",
    "Recommender",
    "ServableRecommender",
]
