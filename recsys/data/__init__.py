"""Interactions in, datasets and splits out."""

from recsys.data.cleaning import Cleaned, clean
from recsys.data.dataset import Dataset, Split
from recsys.data.events_table import EVENT_SCHEMA, to_interactions
from recsys.data.features import Encoders, FeatureMatrix, Features
from recsys.data.interactions import Interactions, interactions_from_tuples
from recsys.data.sampling import balanced_weights, sample_negatives
from recsys.data.sources import DataWarning, read_interactions, read_libffm, read_libsvm, read_table
from recsys.data.splits import given_split, leave_last, rolling_splits, split_by_time

__all__ = [
    "EVENT_SCHEMA",
    "Cleaned",
    "DataWarning",
    "Dataset",
    "Encoders",
    "FeatureMatrix",
    "Features",
    "Interactions",
    "Split",
    "balanced_weights",
    "clean",
    "given_split",
    "interactions_from_tuples",
    "leave_last",
    "read_interactions",
    "read_libffm",
    "read_libsvm",
    "read_table",
    "rolling_splits",
    "sample_negatives",
    "split_by_time",
    "to_interactions",
]
