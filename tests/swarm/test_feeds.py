# SPDX-License-Identifier: GPL-3.0-or-later
"""Feeds: files, and HTTP from a tiny server on loopback."""

from __future__ import annotations

import os
import random
import socket
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trio
import trio.testing
from waiting import WAIT_S

from gtfs.errors import Blame
from gtfs.feed import BadFeed, DhtFeed, FileFeed, HttpFeed, chunk_feed, parse_feed
from gtfs.nearness import nearness
from gtfs.swarm import feeds, httpget
from gtfs.swarm.feeds import FeedError, FeedPoller, Validators, fetch
from gtfs.swarm.httpget import open_client
from gtfs.trust.policy import PolicyRefused

pytestmark = pytest.mark.trio


class Server(ThreadingHTTPServer):
    seen: list[tuple[str, dict[str, str]]]
    answers: dict[str, dict[str, Any]]
    url: str


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        answer = self.server.answers[self.path]
        if self.headers.get("If-None-Match") == '"v1"':
            self.send_response(304)
            self.end_headers()
            return
        self.send_response_only(answer.get("status", 200))
        for key, value in answer.get("headers", {}).items():
            self.send_header(key, value)
        self.end_headers()
        try:
            for chunk in answer.get("body", [b""]):
                self.wfile.write(chunk)
        except ConnectionError:
            pass

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Handler) as httpd:
        httpd.seen, httpd.answers = [], {}
        httpd.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield httpd
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("text", "path"),
    [("/x/y.asc", "/x/y.asc"), ("y.asc", "y.asc"), ("file:///x/a%20b", "/x/a b"), ("file:/x", "/x"), ("a:b", "a:b")],
)
async def test_paths_and_file_urls_are_file_feeds(text, path):
    feed = parse_feed(text)
    assert isinstance(feed, FileFeed)
    assert str(feed.path) == path


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("https://example.org/a/c.asc", "https://example.org/a/chunks/"),
        ("https://example.org/c.asc?token=../x#y", "https://example.org/chunks/{}?token=../x"),
        ("https://example.org", "https://example.org/chunks/"),
        ("https://example.org/a/", "https://example.org/a/chunks/"),
        ("https://example.org/a%2f..%2fc.asc", "https://example.org/chunks/"),
        ("https://u:p@example.org:8443/a/../c.asc", "https://u:p@example.org:8443/a/../chunks/"),
        ("/x/c.asc", "/x/chunks/"),
        ("c.asc", "chunks/"),
    ],
)
async def test_a_chunk_lies_beside_its_catalogue_whatever_the_address_says(text, place):
    feed = parse_feed(text)
    assert not isinstance(feed, DhtFeed)
    found = chunk_feed(feed, "0f" * 32)
    place = place.format("0f" * 32) if "{}" in place else place + "0f" * 32
    assert (found.url if isinstance(found, HttpFeed) else str(found.path)) == place


async def test_a_chunk_lies_in_a_directory_that_is_a_feed(tmp_path):
    found = chunk_feed(FileFeed("d", tmp_path), "0f" * 32)
    assert found == FileFeed("d", tmp_path / "chunks" / ("0f" * 32))


async def test_http_urls_are_http_feeds():
    assert parse_feed("https://example.org/c.asc") == HttpFeed(*["https://example.org/c.asc"] * 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gtfs:" + "0" * 63, "64 hex digits"),
        ("gtfs:" + "0" * 64 + "/", "64 hex digits"),
        ("gtfs:" + "0" * 64 + "/" + "n" * 65, "over the limit"),
        ("ftp://example.org/x", "scheme"),
        ("file://elsewhere/x", "file:///"),
        ("http://", "no host"),
        ("", "empty"),
    ],
)
async def test_what_is_no_feed_is_a_usage_error(text, says):
    with pytest.raises(BadFeed, match=says) as caught:
        parse_feed(text)
    assert caught.value.exit_code == 2


async def test_a_file_feed_gives_its_document_once(tmp_path):
    (tmp_path / "latest.asc").write_bytes(b"one")
    async with open_client() as client:
        for text in (str(tmp_path), str(tmp_path / "latest.asc"), (tmp_path / "latest.asc").as_uri()):
            first = await fetch(parse_feed(text), Validators(), client)
            assert first.document == b"one"
            assert (await fetch(parse_feed(text), first.validators, client)).document is None
        (tmp_path / "latest.asc").write_bytes(b"more")
        assert (await fetch(parse_feed(text), first.validators, client)).document == b"more"
        with pytest.raises(FeedError, match="No such file"):
            await fetch(parse_feed(str(tmp_path / "none")), Validators(), client)


async def test_a_file_over_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(feeds, "LIMIT_BYTES", 10)
    (tmp_path / "c").write_bytes(bytes(11))
    async with open_client() as client:
        with pytest.raises(FeedError, match="limit catalogue"):
            await fetch(parse_feed(str(tmp_path / "c")), Validators(), client)


async def test_http_answers_carry_validators_and_not_modified_is_nothing_new(server):
    server.answers["/c"] = {"headers": {"ETag": '"v1"', "Last-Modified": "x"}, "body": [b"docu", b"ment"]}
    async with open_client() as client:
        first = await fetch(parse_feed(server.url + "/c"), Validators(), client)
        assert first == feeds.FeedAnswer(b"document", Validators('"v1"', "x"))
        assert (await fetch(parse_feed(server.url + "/c"), first.validators, client)).document is None
    headers = server.seen[1][1]
    assert headers["If-None-Match"] == '"v1"'
    assert headers["If-Modified-Since"] == "x"
    assert headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(("later_s", "kept"), [(0, False), (1, False), (2, True), (86400, True), (-5, False)])
async def test_what_changed_just_now_is_asked_for_as_a_whole_as_the_next_may_look_the_same(server, later_s, kept):
    changed = 1_800_000_000
    headers = {"Last-Modified": formatdate(changed, usegmt=True), "ETag": '"v2"'}
    server.answers["/c"] = {"headers": {**headers, "Date": formatdate(changed + later_s, usegmt=True)}, "body": [b"x"]}
    async with open_client() as client:
        first = await fetch(parse_feed(server.url + "/c"), Validators(), client)
    assert first == feeds.FeedAnswer(b"x", Validators('"v2"', headers["Last-Modified"]) if kept else Validators())


async def test_redirects_are_followed_a_few_times_and_only_to_http(server):
    server.answers["/a"] = {"status": 302, "headers": {"Location": "/b"}}
    server.answers["/b"] = {"body": [b"there"]}
    server.answers["/loop"] = {"status": 302, "headers": {"Location": "/loop"}}
    server.answers["/file"] = {"status": 302, "headers": {"Location": "file:///etc/passwd"}}
    async with open_client() as client:
        assert (await fetch(parse_feed(server.url + "/a"), Validators(), client)).document == b"there"
        for path in ("/loop", "/file"):
            with pytest.raises(FeedError):
                await fetch(parse_feed(server.url + path), Validators(), client)


async def test_bad_http_answers_are_feed_errors(server, monkeypatch):
    monkeypatch.setattr(feeds, "LIMIT_BYTES", 1 << 20)
    server.answers["/404"] = {"status": 404}
    server.answers["/big"] = {"body": [bytes(1 << 19)] * 3}
    server.answers["/gzip"] = {"headers": {"Content-Encoding": "gzip"}, "body": [b"x"]}
    async with open_client() as client:
        for path, says in (("/404", "404"), ("/big", "limit catalogue"), ("/gzip", "compresses")):
            with pytest.raises(FeedError, match=says):
                await fetch(parse_feed(server.url + path), Validators(), client)
        with pytest.raises(FeedError, match="failed"):
            await fetch(parse_feed("http://127.0.0.1:1/"), Validators(), client)


async def test_an_answer_that_never_ends_ends_at_its_deadline(monkeypatch):
    monkeypatch.setattr(httpget, "WHOLE_S", 0.3)

    async def stall(stream):
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, stall, 0)
        port = listeners[0].socket.getsockname()[1]
        async with open_client() as client:
            with trio.fail_after(WAIT_S), pytest.raises(FeedError, match="not complete"):
                await fetch(parse_feed(f"http://127.0.0.1:{port}/"), Validators(), client)
        nursery.cancel_scope.cancel()


async def test_the_poller_reports_each_feed_and_one_bad_feed_does_not_stop_another(tmp_path):
    (tmp_path / "good").write_bytes(b"document")
    good, bad = parse_feed(str(tmp_path / "good")), parse_feed(str(tmp_path / "bad"))
    seen = []

    async def take(feed, document):
        seen.append((feed, document))

    async with open_client() as client:
        poller = FeedPoller([bad, good], take, client)
        assert [r.asked_s for r in poller.reports()] == [None, None]
        await poller.poll_once()
        await poller.poll_once()
    assert seen == [(good, b"document")]
    bad_report, good_report = poller.reports()
    assert bad_report.failures == 2
    assert "No such file" in (bad_report.error or "")
    assert good_report.error is None
    assert good_report.answered_s is not None


@pytest.mark.parametrize("error", [PolicyRefused("signed by somebody else"), OSError("a full disk")])
async def test_a_refused_document_is_reported_and_asked_for_again(tmp_path, error):
    (tmp_path / "c").write_bytes(b"document")
    refusals = [error]

    async def take(feed, document):
        if refusals:
            raise refusals.pop()

    async with open_client() as client:
        poller = FeedPoller([parse_feed(str(tmp_path / "c"))], take, client)
        await poller.poll_once()
        report = poller.reports()[0]
        blamed = Blame.SYSTEM if isinstance(error, OSError) else Blame.TRUST
        assert (report.error, report.fault) == (str(error), blamed)
        await poller.poll_once()
        assert (poller.reports()[0].error, poller.reports()[0].fault) == (None, None)


async def test_waits_are_jittered_and_grow_with_failures(tmp_path):
    feed = parse_feed(str(tmp_path / "none"))

    async def take(feed, document):
        pass

    async with open_client() as client:
        poller = FeedPoller([feed], take, client, interval_s=100, rng=random.Random(1))
        waits = {poller.wait_s(feed) for _ in range(5)}
        assert len(waits) == 5
        assert all(80 <= w <= 120 for w in waits)
        for _ in range(3):
            await poller.poll_once()
        assert 640 <= poller.wait_s(feed) <= 960
        for _ in range(20):
            await poller.poll_once()
        assert poller.wait_s(feed) <= 4320


async def test_the_poll_task_asks_again_and_again(tmp_path, nursery):
    (tmp_path / "c").write_bytes(b"0")
    seen, third = [], trio.Event()

    async def take(feed, document):
        seen.append(document)
        (tmp_path / "c").write_bytes(b"x" * (len(seen) + 1))
        if len(seen) == 3:
            third.set()

    async with open_client() as client:
        poller = FeedPoller([parse_feed(str(tmp_path / "c"))], take, client, interval_s=0.01)
        nursery.start_soon(poller.poll_task)
        with trio.fail_after(WAIT_S):
            await third.wait()
        nursery.cancel_scope.cancel()
    assert seen[:3] == [b"0", b"xx", b"xxx"]


async def test_not_modified_is_no_answer_to_the_first_question(server):
    server.answers["/c"] = {"status": 304}
    async with open_client() as client:
        with pytest.raises(FeedError, match="304"):
            await fetch(parse_feed(server.url + "/c"), Validators(), client)


async def test_validators_that_cannot_be_sent_back_are_not_kept(server):
    server.answers["/c"] = {"headers": {"ETag": '"\xfc"', "Last-Modified": "x" * 1025}, "body": [b"document"]}
    async with open_client() as client:
        answer = await fetch(parse_feed(server.url + "/c"), Validators(), client)
        assert answer == feeds.FeedAnswer(b"document", Validators())


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"\0" * 1000, b"document\n", b"HTTP/09 200 OK\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n",
        HEAD + b"Content-Length: 100\r\n\r\nshort", HEAD + b"Content-Length: -1\r\n\r\nx",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy", HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"F" * 20) + b"\r\n", HEAD + b"Content-Encoding: br\r\n\r\nx",
        HEAD + b"".join(b"H%d: x\r\n" % n for n in range(20_000)) + b"\r\nx",
        HEAD + b"ETag: " + b"x" * (1 << 20) + b"\r\n\r\n",
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\nx", b"HTTP/1.1 200 " + b"r" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: //127.0.0.1:99999/\r\n\r\n", b"HTTP/1.1 302 Found\r\nLocation: \xff:\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://" + b"a" * 64 + b".example/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http:///\r\n\r\n", b"HTTP/1.1 302 Found\r\nLocation: unix:/run/x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
    ids=range(25),
)  # fmt: skip
async def test_an_answer_of_any_form_is_an_error_of_its_feed(answer):
    async def serve(stream):
        try:
            await stream.receive_some(65536)
            await stream.send_all(answer)
            await stream.aclose()
        except trio.BrokenResourceError:
            pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        async with open_client() as client:
            with trio.fail_after(WAIT_S), pytest.raises(FeedError):
                await fetch(parse_feed(f"http://127.0.0.1:{port}/"), Validators(), client)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("forever", [b"HTTP/1.1 100 Continue\r\n\r\n", b"H", HEAD + b"\r\nx"])
async def test_one_deadline_holds_for_an_answer_that_comes_byte_by_byte(monkeypatch, forever):
    monkeypatch.setattr(httpget, "WHOLE_S", 0.3)

    async def serve(stream):
        try:
            await stream.receive_some(65536)
            await stream.send_all(forever)
            while True:
                await stream.send_all(forever[-1:] if forever.startswith(HEAD) else forever)
                await trio.sleep(0.01)
        except trio.BrokenResourceError:
            pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        async with open_client() as client:
            with trio.fail_after(WAIT_S), pytest.raises(FeedError):
                await fetch(parse_feed(f"http://127.0.0.1:{port}/"), Validators(), client)
        nursery.cancel_scope.cancel()


class Names(trio.abc.HostnameResolver):
    """Every name is that of another server of this machine, whatever was said before."""

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", port or 0))]

    async def getnameinfo(self, sockaddr, flags):
        raise OSError


@pytest.fixture
def inner():
    """A server that only this machine's own programs should ask; it says who did."""
    with Server(("127.0.0.2", 0), Handler) as httpd:
        httpd.seen, httpd.answers = [], {"/secret": {"body": [b"secret"]}}
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield httpd
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize("host", ["127.0.0.2", "rebound.example", "[::ffff:127.0.0.2]", "localhost", "2130706434"])
async def test_a_redirect_from_outside_to_this_machine_is_not_followed(server, inner, monkeypatch, host):
    # The feed's server counts as one of the open Internet.
    monkeypatch.setattr(httpget, "nearness", lambda address: 0 if address == "127.0.0.1" else nearness(address))
    port = inner.server_address[1]
    server.answers["/c"] = {"status": 302, "headers": {"Location": f"http://{host}:{port}/secret"}}
    before = trio.socket.set_custom_hostname_resolver(Names()) if host not in ("127.0.0.2",) else None
    try:
        async with open_client() as client:
            with pytest.raises(FeedError, match="not followed"):
                await fetch(parse_feed(server.url + "/c"), Validators(), client)
    finally:
        trio.socket.set_custom_hostname_resolver(before)
    assert inner.seen == []


async def test_a_feed_of_this_machine_may_lead_to_another_of_it(server, inner):
    port = inner.server_address[1]
    server.answers["/c"] = {"status": 302, "headers": {"Location": f"http://127.0.0.2:{port}/secret"}}
    async with open_client() as client:
        assert (await fetch(parse_feed(server.url + "/c"), Validators(), client)).document == b"secret"
    assert inner.seen[0][1]["Host"] == f"127.0.0.2:{port}"


@pytest.mark.parametrize(
    ("address", "near"),
    [
        ("8.8.8.8", 0), ("2001:4860:4860::8888", 0), ("10.0.0.1", 1), ("192.168.1.1", 1), ("172.16.0.1", 1),
        ("100.64.0.1", 1), ("fd00::1", 1), ("127.9.9.9", 2), ("0.0.0.0", 2), ("::1", 2), ("::", 2), ("169.254.1.1", 2),
        ("fe80::1%lo", 2), ("::ffff:127.0.0.1", 2), ("::ffff:10.0.0.1", 1), ("64:ff9b::7f00:1", 2),
        ("2002:7f00:1::", 2), ("64:ff9b::808:808", 0), ("224.0.0.1", 2),
    ],
)  # fmt: skip
async def test_how_near_an_address_is(address, near):
    assert nearness(address) == near


async def test_what_is_no_regular_file_is_no_feed_and_nothing_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dir" / "latest.asc").mkdir(parents=True)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(tmp_path / "socket"))
        async with open_client() as client:
            for path in (
                *(tmp_path / name for name in ("pipe", "dir", "loop", "socket")),
                "/dev/zero",
                "/dev/tty",
                "a\0b",
            ):
                with pytest.raises(FeedError), trio.fail_after(WAIT_S):
                    await fetch(parse_feed(str(path)), Validators(), client)


@pytest.mark.parametrize("hangs", ["_read_file", "freshness_feed"])
async def test_a_file_server_that_is_dead_keeps_one_thread_of_each_feed_and_none_of_others(
    tmp_path, monkeypatch, hangs
):
    (tmp_path / "c.asc").write_bytes(b"document")
    comes_back, hung = threading.Event(), []

    def hang(*_given):
        hung.append(threading.get_ident())
        comes_back.wait()
        raise OSError

    async def take(feed, document):
        pass

    monkeypatch.setattr(feeds, hangs, hang)
    monkeypatch.setattr(feeds, "WHOLE_S", 0.1)
    others = trio.to_thread.current_default_thread_limiter()
    async with open_client() as client:
        poller = FeedPoller([parse_feed(str(tmp_path / "c.asc"))], take, client)
        try:
            for _ in range(3):
                with trio.fail_after(WAIT_S):
                    await poller.poll_once()
                report = poller.reports()[0]
                assert "could not be read within" in (report.error or report.freshness or "")
            assert len(hung) == 1 and not others.borrowed_tokens
        finally:
            comes_back.set()


async def test_freshness_is_asked_for_beside_a_catalogue_and_need_not_be_there(tmp_path):
    (tmp_path / "latest.asc").write_bytes(b"catalogue")
    got = []

    async def take(_feed, document):
        got.append(document)

    async with open_client() as client:
        poller = FeedPoller([parse_feed(str(tmp_path))], take, client)
        await poller.poll_once()
        assert got == [b"catalogue"] and poller.reports()[0].error is None
        (tmp_path / "latest.fresh.asc").write_bytes(b"fresh")
        await poller.poll_once()
        await poller.poll_once()
    assert got == [b"catalogue", b"fresh"]


async def test_a_server_is_asked_for_freshness_too(server):
    server.answers["/c/7.asc"] = {"body": [b"catalogue"]}
    server.answers["/c/7.fresh.asc"] = {"body": [b"fresh"]}
    got = []

    async def take(_feed, document):
        got.append(document)

    async with open_client() as client:
        await FeedPoller([parse_feed(server.url + "/c/7.asc")], take, client).poll_once()
        server.answers["/c/7.fresh.asc"] = {"status": 404}
        poller = FeedPoller([parse_feed(server.url + "/c/7.asc")], take, client)
        await poller.poll_once()
    assert got == [b"catalogue", b"fresh", b"catalogue"] and poller.reports()[0].error is None


@pytest.mark.parametrize("status", [401, 403, 500, 503])
async def test_a_catalogue_is_taken_whatever_the_server_says_of_freshness(server, status):
    server.answers["/7.asc"] = {"body": [b"catalogue"]}
    server.answers["/7.fresh.asc"] = {"status": status}
    got = []

    async def take(_feed, document):
        got.append(document)

    async with open_client() as client:
        poller = FeedPoller([parse_feed(server.url + "/7.asc")], take, client)
        await poller.poll_once()
    (report,) = poller.reports()
    assert got == [b"catalogue"]
    assert (report.error, report.failures) == (None, 0) and report.answered_s is not None
    assert report.freshness is not None and f"HTTP status {status}" in report.freshness


async def test_a_freshness_statement_that_is_refused_is_no_failure_of_its_feed(tmp_path):
    (tmp_path / "latest.asc").write_bytes(b"catalogue")
    (tmp_path / "latest.fresh.asc").write_bytes(b"of a newer one")
    got = []

    async def take(_feed, document):
        got.append(document)
        if document != b"catalogue":
            raise PolicyRefused("a newer catalogue exists")

    async with open_client() as client:
        feed = parse_feed(str(tmp_path))
        poller = FeedPoller([feed], take, client, interval_s=100.0)
        for _ in range(3):
            await poller.poll_once()
            (report,) = poller.reports()
            assert (report.error, report.fault, report.failures) == (None, None, 0)
            assert report.freshness is not None and "a newer catalogue exists" in report.freshness
            assert poller.wait_s(feed) <= 120
        (tmp_path / "latest.fresh.asc").unlink()
        await poller.poll_once()
    assert poller.reports()[0].freshness is None
    assert got == [b"catalogue", *[b"of a newer one"] * 3]  # what was refused is judged again


async def test_of_a_freshness_file_no_more_is_read_than_a_statement_may_have(tmp_path):
    (tmp_path / "latest.asc").write_bytes(b"catalogue")
    (tmp_path / "latest.fresh.asc").write_bytes(bytes(feeds.FRESHNESS_BYTES + 1))
    got = []

    async def take(_feed, document):
        got.append(document)

    async with open_client() as client:
        poller = FeedPoller([parse_feed(str(tmp_path))], take, client)
        await poller.poll_once()
    (report,) = poller.reports()
    assert got == [b"catalogue"] and report.error is None
    assert report.freshness is not None and f"over the limit freshness: more than {65536} bytes" in report.freshness


async def test_turns_that_need_not_be_are_left_out_but_not_when_it_is_hurried(autojump_clock):
    asked: list[float] = []
    told: list[float] = []

    async def take(_feed, _document):
        if len(asked) == 1:
            raise PolicyRefused("no")  # what failed is asked for again, whoever says what

    async def follow(_feed, validators):
        asked.append(trio.current_time())
        return feeds.FeedAnswer(b"catalogue", validators)

    def may_leave_out(at):
        told.append(at)
        return trio.current_time() - at < 3600

    async with open_client() as client, trio.open_nursery() as nursery:
        poller = FeedPoller(
            [DhtFeed("gtfs:x", bytes(32), b"")],
            take,
            client,
            follow_pointer=follow,
            interval_s=300,
            has_freshness=False,
        )
        poller.may_leave_out = may_leave_out
        nursery.start_soon(poller.poll_task)
        await trio.sleep(1800)
        assert len(asked) == 2 and told[0] == -float("inf") and set(told[1:]) == {asked[1]}
        poller.hurry()
        await trio.sleep(1)
        assert len(asked) == 3
        await trio.sleep(3590)
        assert len(asked) == 3
        await trio.sleep(400)
        assert len(asked) == 4
        nursery.cancel_scope.cancel()


async def test_what_was_taken_just_now_is_not_given_again_but_later_it_is(tmp_path):
    (tmp_path / "latest.asc").write_bytes(b"one")
    feed = parse_feed(str(tmp_path))
    got = []

    async def take(_feed, document):
        got.append(document)

    async with open_client() as client:
        poller = FeedPoller([feed], take, client)
        poller.took(feed, b"one")
        await poller.poll_once()
        assert got == [] and poller.reports()[0].answered_s is not None
        for text in (b"other", b"one"):
            (tmp_path / "new").write_bytes(text)
            (tmp_path / "new").rename(tmp_path / "latest.asc")
            await poller.poll_once()
        assert got == [b"other", b"one"]
        poller.took(feed, b"another")
        (tmp_path / "latest.asc").unlink()
        await poller.poll_once()
        (tmp_path / "latest.asc").write_bytes(b"more")
        await poller.poll_once()
        assert got == [b"other", b"one", b"more"]
