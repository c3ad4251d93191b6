"""Events of sixty users of two tastes, as lines of a file."""

import numpy as np

HEADER = "user,item,timestamp"


def rows():
    """Return lines in the order of the users, nine events each, of one half of thirty items."""
    draw = np.random.default_rng(3)
    return [
        f"u{user},i{(item * 2 + user) % 30},{1_700_000_000 + when * 60 + user}"
        for user in range(60)
        for when, item in enumerate(draw.choice(15, 9, replace=False))
    ]
