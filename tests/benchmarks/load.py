"""A small load generator: kept-alive connections, each asking the next question when it has its answer."""

import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class _Connection:
    """One client: what it asked last, when, and what has come back so far."""

    socket: socket.socket
    questions: Iterator[tuple[str, bytes]]
    kind: str = ""
    asked_s: float = 0.0
    received: bytearray = field(default_factory=bytearray)

    def ask(self) -> None:
        self.kind, request = next(self.questions)
        self.received.clear()
        self.asked_s = time.perf_counter()
        self.socket.sendall(request)

    def answered(self) -> bool:
        """Take in what has arrived; whether that is all of the answer."""
        some = self.socket.recv(1 << 16)
        if not some:
            raise ConnectionError(f"the server hung up on {self.kind}")
        self.received += some
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return False
        lines = head.lower().split(b"\r\n")
        (length,) = (int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
        if lines[0].split()[1] not in (b"200", b"202"):
            raise ConnectionError(f"{self.kind}: {bytes(self.received[:500])!r}")
        return len(body) >= length


def load(
    clients: list[tuple[tuple[str, int], Iterator[tuple[str, bytes]]]], *, count: int, limit_s: float
) -> tuple[dict[str, list[float]], float]:
    """Keep one question of each client under way until so many are answered, or the time is up.

    Parameters
    ----------
    clients : list of (address, questions)
        A question is its kind and the bytes to send.
    count : int
    limit_s : float

    Returns
    -------
    answered : dict of str to list of float
        Seconds of each answer by kind.
    seconds : float
        All together.
    """
    answered: dict[str, list[float]] = {}
    with selectors.DefaultSelector() as selector:
        connections = [_Connection(socket.create_connection(address, timeout=30), asks) for address, asks in clients]
        for one in connections:
            one.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(one.socket, selectors.EVENT_READ, one)
        began = time.perf_counter()
        for one in connections:
            one.ask()
        done = 0
        while done < count and time.perf_counter() - began < limit_s:
            for key, _ in selector.select(30):
                one = key.data
                if one.answered():
                    answered.setdefault(one.kind, []).append(time.perf_counter() - one.asked_s)
                    done += 1
                    one.ask()
        seconds = time.perf_counter() - began
        for one in connections:
            one.socket.close()
    return answered, seconds
