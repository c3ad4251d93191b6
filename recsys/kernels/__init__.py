"""Compiled kernels, or their numpy twins where the extension is missing: the same answers up to rounding, slower.

Kernels take contiguous arrays, ints and floats; the caller allocates the outputs.
"""

try:
    from recsys.kernels._kernels import (
        als_cg,
        als_exact,
        bpr_blocks,
        fm_rank,
        fm_sgd,
        fm_solve,
        fm_stream,
        instruction_set,
        instruction_sets,
        scan,
        search,
        select,
        sgd_mf,
    )
except ModuleNotFoundError:  # built without a compiler; a broken extension still fails loudly
    from recsys.kernels.reference import (
        als_cg,
        als_exact,
        bpr_blocks,
        fm_rank,
        fm_sgd,
        fm_solve,
        fm_stream,
        instruction_set,
        instruction_sets,
        scan,
        search,
        select,
        sgd_mf,
    )

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
