"""Readable numpy twins of the compiled kernels: the same arguments, the same answers.

Scores may differ from the compiled ones in the last bits, where the order of summation shows; on numbers whose
products and sums are exact in float32 the lists are equal.
"""

from recsys.kernels.reference.als import als_cg, als_exact
from recsys.kernels.reference.bpr import bpr_blocks
from recsys.kernels.reference.fm_rank import fm_rank
from recsys.kernels.reference.fm_sgd import fm_sgd
from recsys.kernels.reference.fm_sweep import fm_solve, fm_stream
from recsys.kernels.reference.scan import scan
from recsys.kernels.reference.sgd_mf import sgd_mf
from recsys.kernels.reference.topk import search, select


def instruction_set() -> str:
    """Name of the instruction set in use."""
    return "numpy"


def instruction_sets() -> list[str]:
    """Names of the instruction sets this machine supports, best first."""
    return ["numpy"]


__all__ = [
    "als_cg",
    "als_exact",
    "bpr_blocks",
    "fm_rank",
    "fm_sgd",
    "fm_solve",
    "fm_stream",
    "instruction_set",
    "instruction_sets",
    "scan",
    "search",
    "select",
    "sgd_mf",
]
