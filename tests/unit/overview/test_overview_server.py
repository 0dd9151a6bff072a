# SPDX-License-Identifier: GPL-3.0-or-later
"""The small server and what it costs; real requests over sockets are in tests/e2e/test_overview.py."""

from __future__ import annotations

from typing import Any, cast

import h11
import pytest
import trio
import trio.testing
from told import NOW, told

from gtfs.overview.health import RepositoryHealth, Thresholds, judge
from gtfs.overview.readers import AllowedReaders, StatusPlace
from gtfs.overview.server import CONNECTIONS, OverviewServer, _Conversation, _NoAnswer, listen_at, port_of
from gtfs.overview.snapshot import Document, Overview, document

pytestmark = pytest.mark.trio


async def look() -> list[RepositoryHealth]:
    return [judge(told(), NOW, Thresholds())]


async def test_a_thousand_who_ask_in_one_second_cost_one_look(autojump_clock: trio.testing.MockClock) -> None:
    looks = 0

    async def slow_look() -> list[RepositoryHealth]:
        nonlocal looks
        looks += 1
        await trio.sleep(0.1)
        return await look()

    overview = Overview(slow_look, lambda: (0, 0))
    found: set[bytes] = set()

    async def ask() -> None:
        answer = await overview.document("/metrics")
        assert answer is not None
        found.add(answer.body)

    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(ask)
    assert looks == 1 and len(found) == 1
    await trio.sleep(2)
    await ask()
    assert looks == 2


async def test_a_look_that_takes_long_is_shown_for_longer(autojump_clock: trio.testing.MockClock) -> None:
    looks = 0

    async def slow_look() -> list[RepositoryHealth]:
        nonlocal looks
        looks += 1
        await trio.sleep(10)
        return await look()

    overview = Overview(slow_look, lambda: (0, 0))
    for _ in range(30):
        await overview.document("/")
        await trio.sleep(1)
    assert looks == 1


async def test_who_hangs_up_while_a_look_is_taken_takes_it_from_nobody(autojump_clock: trio.testing.MockClock) -> None:
    async def slow_look() -> list[RepositoryHealth]:
        await trio.sleep(5)
        return await look()

    overview = Overview(slow_look, lambda: (0, 0))
    with trio.move_on_after(1):
        await overview.document("/")
    assert await overview.document("/") is not None


async def test_traffic_is_written_down_when_nobody_looks(autojump_clock: trio.testing.MockClock) -> None:
    asked = 0

    def counters() -> tuple[int, int]:
        nonlocal asked
        asked += 1
        return asked, asked

    overview = Overview(look, counters)
    with trio.move_on_after(3600):
        await overview.note_task()
    assert asked == 60


class Server:
    """Everything that a conversation asks of its server."""

    def __init__(self, *, is_full: bool = False, lets_in: bool = True) -> None:
        self._full, self._lets_in = is_full, lets_in

    def is_full(self) -> bool:
        return self._full

    async def lets_in(self, stream: Any) -> bool:
        return self._lets_in

    async def answer(self, request: h11.Request) -> Document:
        if request.method == b"POST":
            raise _NoAnswer(405, "no")
        return document("text/plain", b"hello\n")


async def talk(said: bytes, server: Server | None = None, *, ends: bool = False) -> bytes:
    """What is answered until the server hangs up."""
    client, theirs = trio.testing.memory_stream_pair()
    answer = b""

    async def serve() -> None:
        async with theirs:
            stream = cast(trio.SocketStream, theirs)
            await _Conversation(stream, cast(OverviewServer, server or Server())).run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await client.send_all(said)
        if ends:
            await client.send_eof()
        async for data in client:
            answer += data
    return answer


GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def test_a_request_that_does_not_come_to_its_end_is_timed_out(autojump_clock: trio.testing.MockClock) -> None:
    assert (await talk(GET[:20])).startswith(b"HTTP/1.1 408 ")
    assert (await talk(GET + GET[:20])).count(b"HTTP/1.1 408 ") == 1


async def test_who_says_nothing_is_hung_up_on(autojump_clock: trio.testing.MockClock) -> None:
    assert await talk(b"") == b""
    answer = await talk(GET)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\nhello\n")


async def test_one_connection_has_a_hundred_requests(autojump_clock: trio.testing.MockClock) -> None:
    assert (await talk(GET * 150)).count(b"HTTP/1.1 200 ") == 100


async def test_head_has_no_body_and_what_is_known_is_not_sent_again(autojump_clock: trio.testing.MockClock) -> None:
    head = await talk(GET.replace(b"GET", b"HEAD"))
    assert b"Content-Length: 6\r\n" in head and head.endswith(b"\r\n\r\n")
    tag = document("text/plain", b"hello\n").tag.encode()
    again = await talk(GET.replace(b"\r\n\r\n", b"\r\nIf-None-Match: " + tag + b"\r\n\r\n"))
    assert again.startswith(b"HTTP/1.1 304 ") and b"hello" not in again


async def test_what_is_refused_after_a_head_is_refused_with_a_body(autojump_clock: trio.testing.MockClock) -> None:
    head = GET.replace(b"GET", b"HEAD")
    for said, status in ((b"GARB\0AGE\r\n\r\n", b"400"), (GET[:20], b"408"), (b"GET / HTTP/1.1\r\n\r\n", b"400")):
        answer = await talk(head + said)
        assert answer.count(b"HTTP/1.1 200 ") == answer.count(b"HTTP/1.1 " + status) == 1
        assert answer.endswith(b"\n") and not answer.endswith(b"\r\n\r\n")


@pytest.mark.warns
async def test_a_fault_in_one_conversation_ends_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> list[RepositoryHealth]:
        raise KeyError("oid")

    place = StatusPlace()
    listener = listen_at(place)
    server = OverviewServer(listener, Overview(fails, lambda: (0, 0)), AllowedReaders(place))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run_task)
        answers = []
        for path in (b"/", b"/style.css"):
            async with await trio.open_tcp_stream("127.0.0.1", port_of(listener)) as stream:
                await stream.send_all(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
                answers.append(await stream.receive_some())
        nursery.cancel_scope.cancel()
    assert answers[0] == b"" and answers[1].startswith(b"HTTP/1.1 200 ")
    assert "a fault of gtfs, as somebody read the overview" in caplog.text


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000, 405),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 413),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40000, 431),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: localhost\n\nGET", 200),
    ],
)
async def test_a_bad_request_is_answered_and_hung_up_on(
    autojump_clock: trio.testing.MockClock, said: bytes, status: int
) -> None:
    answer = await talk(said, ends=True)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:100]
    if status != 200:
        assert answer.count(b"HTTP/1.1 ") == 1 and b"Connection: close\r\n" in answer
        assert b"Content-Security-Policy: default-src 'none'" in answer


async def test_strangers_and_too_many_are_told_so(autojump_clock: trio.testing.MockClock) -> None:
    assert (await talk(GET, Server(lets_in=False))).startswith(b"HTTP/1.1 403 ")
    assert (await talk(GET, Server(is_full=True))).startswith(b"HTTP/1.1 503 ")
    assert CONNECTIONS == 64
