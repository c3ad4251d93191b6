"""A proxy on loopback before a service of a stand-in, whose plug can be pulled in every way a service is lost."""

import asyncio
import itertools
import json
import random
import socket
from contextlib import contextmanager, suppress
from threading import Thread
from urllib.parse import urlsplit

FAULTS = ("refused", "hanging", "503", "throttled", "garbage", "truncated", "applied, then reset")
_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>"
_NOISE = (
    b"\0\1\2\r\n\r\n",
    *(b"HTTP/1.1 %d -\r\ncontent-length: 9\r\n\r\n{garbage}" % code for code in (200, 206, 404)),
    None,
)
_OF_SQS = b'HTTP/1.1 200 -\r\ncontent-length: 15\r\n\r\n{"garbage": ""}'  # DynamoDB would have a checksum with it
_GARBAGE = {"s3": _NOISE, "dynamodb": _NOISE, "sqs": (*_NOISE, _OF_SQS)}
_THROTTLED = {
    "s3": (503, _SLOW_DOWN),
    "dynamodb": (400, json.dumps({"__type": "com.amazonaws.dynamodb#ProvisionedThroughputExceededException"}).encode()),
    "sqs": (400, json.dumps({"__type": "com.amazonaws.sqs#RequestThrottled"}).encode()),
}


@contextmanager
def plugs(url, services):
    """Give a `Plug` by service, all before the server at `url`."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    made = {service: Plug(loop, url, service) for service in services}
    try:
        for plug in made.values():
            plug.pull(None)
        yield made
    finally:
        for plug in made.values():
            plug.pull("refused")
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        for plug in made.values():
            plug.place.close()


class Plug:
    """Passes bytes on while `fault` is None; `asked` counts the requests that met the fault."""

    def __init__(self, loop, url, service):
        self._loop, self._service, self._open = loop, service, set()
        self._upstream = urlsplit(url).hostname, urlsplit(url).port
        self.place = socket.socket()  # keeps the port while nobody listens at it
        self.place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.place.bind(("127.0.0.1", 0))
        self.url = "http://{}:{}".format(*self.place.getsockname())
        self.fault, self.asked, self._server = "refused", 0, None
        self._garbage = itertools.cycle(_GARBAGE[service])

    def pull(self, fault):
        """Cut every connection; from now on this is what becomes of requests, None to serve them again."""
        asyncio.run_coroutine_threadsafe(self._pull(fault), self._loop).result(30)

    async def _pull(self, fault):
        self.fault, self.asked = fault, 0
        if self._server is not None:
            self._server.close()
        self._server = None
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if fault != "refused":
            self._server = await asyncio.start_server(self._serve, *self.place.getsockname(), reuse_port=True)

    async def _serve(self, reader, writer):
        self._open.add(task := asyncio.current_task())
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await (self._relay(reader, writer) if self.fault is None else self._fail(reader, writer))
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _relay(self, reader, writer):
        back, forth = await asyncio.open_connection(*self._upstream)
        try:
            pumps = [asyncio.ensure_future(_pump(*ends)) for ends in ((reader, forth), (back, writer))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            forth.transport.abort()

    async def _fail(self, reader, writer):
        while True:
            request = await _message(reader)
            self.asked += 1
            if self.fault == "hanging":
                await asyncio.Event().wait()
            elif self.fault == "503":
                writer.write(_answer(503, b"<html>busy</html>"))
            elif self.fault == "throttled":
                writer.write(_answer(*_THROTTLED[self._service]))
            elif not await self._spoil(request, writer):
                return
            await writer.drain()

    async def _spoil(self, request, writer):
        """Garbage, truncated, or applied and reset: whether the connection goes on."""
        noise = next(self._garbage) if self.fault == "garbage" else None
        if noise is not None:
            writer.write(noise)
            await writer.drain()
            return False
        back, forth = await asyncio.open_connection(*self._upstream)
        forth.write(request)
        answer = await _message(back)
        forth.transport.abort()
        head, end, body = answer.partition(b"\r\n\r\n")
        if self.fault == "garbage":  # of the right length, under the right headers
            writer.write(head + end + random.randbytes(len(body)))
            return True
        if self.fault == "truncated":
            writer.write(head + end + body[: len(body) // 2])
            await writer.drain()
            writer.close()  # not aborted: what was written arrives
            await writer.wait_closed()
        return False


async def _pump(reader, writer):
    while some := await reader.read(1 << 16):
        writer.write(some)
        await writer.drain()


async def _message(reader):
    """Return a request or an answer, whole."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = (line.partition(b":") for line in head.lower().split(b"\r\n"))
    length = next((int(value) for name, _, value in lines if name == b"content-length"), 0)
    return head + await reader.readexactly(length)


def _answer(status, body):
    return b"HTTP/1.1 %d -\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)
