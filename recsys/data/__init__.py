"""Interactions in, datasets and splits out."""

from recsys.data.dataset import Dataset, Split
from recsys.data.interactions import Interactions, interactions_from_tuples

__all__ = ["Dataset", "Interactions", "Split", "interactions_from_tuples"]
