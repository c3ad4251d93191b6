"""Readers: files of events and tables in, arrow tables, `Interactions` and dictionaries out."""

from recsys.data.sources.events import columns_of, read_events, read_interactions
from recsys.data.sources.libsvm import read_libffm, read_libsvm
from recsys.data.sources.rejected import DataWarning, Rejected
from recsys.data.sources.spec import ReadSpec
from recsys.data.sources.tables import read_table

__all__ = [
    "DataWarning",
    "ReadSpec",
    "Rejected",
    "columns_of",
    "read_events",
    "read_interactions",
    "read_libffm",
    "read_libsvm",
    "read_table",
]
