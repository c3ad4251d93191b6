"""A service that hangs is asked by one caller every three seconds, and by everybody again once it answers anybody."""

from contextlib import suppress
from types import SimpleNamespace

import pytest

from recsys.aws import breaker
from recsys.aws.breaker import Breaker
from recsys.aws.client import UNREACHABLE, AwsError


class Service:
    """Takes its time, on a clock of its own, and fails with a code if there is one."""

    def __init__(self):
        self.now_s, self.takes_s, self.fails, self.asked = 0.0, 0.0, None, 0

    def monotonic(self):
        return self.now_s

    def call(self, operation, **parameters):
        self.asked += 1
        self.now_s += self.takes_s
        if self.fails is not None:
            raise AwsError(operation, self.fails, "as told")
        return parameters


@pytest.fixture
def service(monkeypatch):
    made = Service()
    monkeypatch.setattr(breaker, "time", SimpleNamespace(monotonic=made.monotonic))
    return made


def ask(breaker, times=1):
    """Return how many of so many calls are answered."""
    answered = 0
    for n in range(times):
        with suppress(AwsError):
            answered += breaker.call("GetItem", n=n) == {"n": n}
    return answered


def test_a_service_that_hangs_is_asked_once_in_a_while(service):
    one = Breaker(service)
    service.takes_s, service.fails = 2.0, UNREACHABLE
    assert (ask(one, 50), service.asked) == (0, 1)
    service.now_s += 2.9
    assert (ask(one, 50), service.asked) == (0, 1)
    service.now_s += 0.2
    assert (ask(one, 50), service.asked) == (0, 2)
    service.takes_s, service.fails = 0.0, None
    service.now_s += 3.1
    assert (ask(one, 50), service.asked) == (50, 52)


def test_while_one_finds_out_nobody_else_waits(service):
    one = Breaker(service)
    service.takes_s, service.fails = 2.0, UNREACHABLE
    ask(one)
    service.now_s += 3.1
    others = []
    service.call = lambda *_, **__: others.append(ask(one, 10)) or {"n": 0}
    assert (ask(one), others) == (1, [0])


@pytest.mark.parametrize(
    ("fails", "takes_s"),
    [(UNREACHABLE, 0.9), ("ProvisionedThroughputExceededException", 2.0), ("ValidationException", 2.0)],
)
def test_a_service_that_refuses_is_asked_every_time(service, fails, takes_s):
    service.fails, service.takes_s = fails, takes_s
    assert (ask(Breaker(service), 10), service.asked) == (0, 10)
