"""Clients that load a server: they ask for everything there is and send events."""

import http.client
import itertools
import json
import random
import threading
from collections import Counter

from api_client import JSON, check_problem, event, path_of, user_path

CLIENTS = 16
USERS = [f"{kind}{n}" for kind in ("u", "stranger ") for n in range(60)]
SEED = 6


class Load:
    """Each client has a connection of its own; `events` are all it sent, `stored` the ids of those with a 202."""

    def __init__(self, wire):
        self.wire, self.events, self.stored = wire, {}, set()
        self._numbers = itertools.count()
        self._randoms = [random.Random(f"{SEED} {n}") for n in range(CLIENTS)]
        self._connections = [http.client.HTTPConnection(*wire.address, timeout=30) for _ in range(CLIENTS)]

    def run(self, requests):
        """Send so many requests; return how often each kind was answered in which way."""
        left, threads = itertools.count(), []
        seen = [Counter() for _ in range(CLIENTS)]

        def client(number):
            while next(left) < requests:
                kind = self._randoms[number].choice(list(KINDS))
                try:
                    told = KINDS[kind](self, self._randoms[number], self._connections[number])
                except (OSError, ValueError, http.client.HTTPException) as error:
                    self._connections[number].close()
                    told = repr(error)
                seen[number][kind, told] += 1

        for number in range(CLIENTS):
            threads.append(threading.Thread(target=client, args=(number,)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        return sum(seen, Counter())

    def send_again(self):
        """Send whatever was refused; return how the server answered."""
        refused = sorted(set(self.events) - self.stored)
        return {self._sent(self._connections[0], refused[start : start + 50]) for start in range(0, len(refused), 50)}

    def close(self):
        for one in self._connections:
            one.close()

    def list(self, rng, connection):
        return self._read(connection, user_path(rng.choice(USERS)))

    def list_in_context(self, rng, connection):
        return self._read(connection, user_path(rng.choice(USERS)), {"k": 5, "events": [{"item": "i1"}]})

    def scores(self, rng, connection):
        path = path_of("v1", "shop", "users", rng.choice(USERS), "scores")
        return self._read(connection, path, {"items": ["i1", "i2"]})

    def similar(self, rng, connection):
        return self._read(connection, path_of("v1", "shop", "items", f"i{rng.randrange(30)}", "similar"))

    def popular(self, rng, connection):
        return self._read(connection, "/v1/shop/popular")

    def send(self, rng, connection):
        ids = [f"e{next(self._numbers)}" for _ in range(rng.randint(1, 3))]
        self.events.update((one, event(one, rng.choice(USERS), f"i{rng.randrange(30)}")) for one in ids)
        return self._sent(connection, ids)

    def _read(self, connection, path, body=None):
        """Return status, degraded and version of a list."""
        answer = self._answer(connection, path, body)
        if answer.status != 200:
            return answer.status
        return answer.status, answer.json["degraded"], answer.json["model_version"]

    def _sent(self, connection, ids):
        answer = self._answer(connection, "/v1/shop/events", {"events": [self.events[one] for one in ids]})
        if answer.status == 202:
            self.stored.update(ids)
            assert answer.json["accepted"] + answer.json["duplicates"] == len(ids)
        else:
            check_problem(answer)
        return answer.status

    def _answer(self, connection, path, body):
        if body is None:
            return self.wire.on(connection, "GET", path)
        return self.wire.on(connection, "POST", path, json.dumps(body), JSON)


PERSONAL = {"list": Load.list, "list in context": Load.list_in_context, "scores": Load.scores}
KINDS = PERSONAL | {"similar": Load.similar, "popular": Load.popular, "events": Load.send}
