"""Published states and lists of users, in short."""

import numpy as np

from recsys.serving import StoredList, UserState


def state(*numbers, items=(), weights=(), bias=0.0):
    arrays = (np.array(numbers, np.float32), np.array(items, np.int32), np.array(weights, np.float32))
    return UserState(*arrays, bias)


def ranked(*items, strategy="als"):
    return StoredList(np.array(items, np.int32), -np.arange(len(items), dtype=np.float32), strategy)
