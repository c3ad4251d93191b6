"""Published states and lists of users, events and impressions, in short."""

import numpy as np

from recsys.events import InteractionEvent
from recsys.impressions import ImpressionEvent, Shown
from recsys.serving import StoredList, UserState


def state(*numbers, items=(), weights=(), bias=0.0):
    arrays = (np.array(numbers, np.float32), np.array(items, np.int32), np.array(weights, np.float32))
    return UserState(*arrays, bias)


def ranked(*items, strategy="als"):
    return StoredList(np.array(items, np.int32), -np.arange(len(items), dtype=np.float32), strategy)


def event(number, user="u", **changes):
    fields = {"event_id": f"e{number}", "user": user, "item": f"i{number}", "timestamp_s": 1e9 + number}
    return InteractionEvent(**{**fields, **changes})


def impression(number, **changes):
    shown = (Shown(f"i{number}", 0.25), Shown("é😀\0"))
    fields = {"event_id": f"e{number}", "user": "u", "timestamp_s": 1e9 + number, "request_id": "r", "items": shown}
    return ImpressionEvent(**{**fields, "model_version": "v", "variant": "a", **changes})


class Sent(list):
    """A queue that keeps what it is sent: who reads the positions of DynamoDB's events reads them there."""

    def __init__(self):
        self.shown = []

    def send(self, namespace, events):
        self.extend(events)

    def send_impressions(self, namespace, impressions):
        self.shown.append((namespace, impressions))

    def check(self):
        pass

    def close(self):
        pass
