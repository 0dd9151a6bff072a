# SPDX-License-Identifier: GPL-3.0-or-later
"""One file over HTTP: bounded in size and time, and redirected only where the asker may be led.

Whoever answers may be anybody. He cannot make this node ask its own machine or its own network in his place: a redirect
leads no nearer to us than the server was that gave it, names are looked up here, and what is connected to is the
address that was judged. Trio loop.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import trio

from gtfs.errors import Blame, GtfsError
from gtfs.nearness import OPEN, nearness, nearness_of_host

if TYPE_CHECKING:  # a tenth of a second, which a node without a server to ask does without
    import httpx

REDIRECTS = 5
CONNECT_S = 15.0
ANSWER_S = 30.0  # without a byte
WHOLE_S = 60.0  # from the name's look-up to the last byte
_ADDRESSES: Final = 4  # of one name that are tried
_MOVED: Final = frozenset({301, 302, 303, 307, 308})


class HttpFailed(GtfsError):
    """No answer, or one that cannot be used; the text says why, in few words."""

    fault = Blame.NETWORK


@dataclass(frozen=True)
class HttpAnswer:
    """The last answer, whose ``body`` is empty unless its status is 200."""

    status: int
    reason: str
    headers: httpx.Headers
    body: bytes


class Client:
    """An HTTP client for `get`, made when it is first needed; the environment is not read, a proxy must be given."""

    def __init__(self, proxy: str | None) -> None:
        self._proxy = proxy
        self._client: httpx.AsyncClient | None = None
        self._making = trio.Lock()

    @property
    def is_proxied(self) -> bool:
        """Whether names are looked up, and connections made, by a proxy."""
        return self._proxy is not None

    async def made(self) -> httpx.AsyncClient:
        """The client itself."""
        async with self._making:
            if self._client is None:
                self._client = await trio.to_thread.run_sync(_make, self._proxy)
            return self._client

    async def aclose(self) -> None:
        """End its connections."""
        if self._client is not None:
            await self._client.aclose()


def load_library() -> None:
    """Import what a client is made of, which else its first use does."""
    # httpx takes with it its own command line, and that rich and pygments; it does without where that is missing.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None is Python's word for missing
    import httpcore  # noqa: F401  with the first client
    import httpx  # noqa: F401


def _make(proxy: str | None) -> httpx.AsyncClient:
    load_library()
    import httpx

    return httpx.AsyncClient(
        follow_redirects=False,
        timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
        trust_env=False,
        proxy=proxy,
        # A compressed answer could be small on the wire and endless in memory.
        headers={"User-Agent": "gtfs", "Accept-Encoding": "identity"},
    )


@asynccontextmanager
async def open_client(proxy: str | None = None, given: Client | None = None) -> AsyncIterator[Client]:
    """A client, and its end; or the one that was ``given``, which its maker ends."""
    if given is not None:
        yield given
        return
    client = Client(proxy)
    try:
        yield client
    finally:
        await client.aclose()


async def get(
    client: Client, url: str, *, what: str, limit_bytes: int, headers: Mapping[str, str] | None = None
) -> HttpAnswer:
    """Ask once, within `WHOLE_S` in all; ``what`` names what is asked for when it is too long. Raises `HttpFailed`."""
    made = await client.made()
    import httpx

    with trio.move_on_after(WHOLE_S):
        try:
            exchange = _Exchange(made, what, limit_bytes, headers or {}, is_proxied=client.is_proxied)
            return await exchange.run(httpx.URL(url))
        # UnicodeError: a name that no name server could know.
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, OSError) as error:
            raise HttpFailed(str(error)[:200] or type(error).__name__) from None
    raise HttpFailed(f"the answer was not complete after {WHOLE_S:g} s")


class _Exchange:
    """A request and the redirects that it leads to."""

    def __init__(
        self, client: httpx.AsyncClient, what: str, limit_bytes: int, headers: Mapping[str, str], *, is_proxied: bool
    ) -> None:
        self._client = client
        self._is_proxied = is_proxied
        self._what = what
        self._limit_bytes = limit_bytes
        self._headers = dict(headers)
        self._may_reach = OPEN  # how near to us a redirect may lead

    async def run(self, url: httpx.URL) -> HttpAnswer:
        """The answer of whom the redirects lead to."""
        self._client.cookies.clear()  # nobody here wants to be known again
        answer = await self._send(self._client.build_request("GET", url, headers=self._headers))
        for _ in range(REDIRECTS):
            place = answer.headers.get("Location")
            if answer.status not in _MOVED or place is None:
                return answer
            target = url.join(place)
            if target.scheme not in ("http", "https") or (url.scheme == "https" and target.scheme == "http"):
                raise HttpFailed(f"it leads from {url.scheme} to {target.scheme}, which is not followed")
            url = target
            answer = await self._send_to_judged(url)
        raise HttpFailed(f"more than {REDIRECTS} redirects")

    async def _send(self, request: httpx.Request) -> HttpAnswer:
        response = await self._client.send(request, stream=True)
        try:
            self._may_reach = self._nearness(request, response)
            body = b""
            if response.status_code == HTTPStatus.OK:
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise HttpFailed("the server compresses although it was asked not to")
                body = await self._read(response)
            return HttpAnswer(response.status_code, response.reason_phrase[:80], response.headers, body)
        finally:
            await response.aclose()

    async def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._limit_bytes:
                raise HttpFailed(f"over the limit {self._what}: more than {self._limit_bytes} bytes")
        return bytes(body)

    def _nearness(self, request: httpx.Request, response: httpx.Response) -> int:
        """Where the server is that answered."""
        if self._is_proxied:
            return nearness_of_host(request.url.host)
        server = response.extensions["network_stream"].get_extra_info("server_addr")
        return nearness(server[0])

    async def _send_to_judged(self, url: httpx.URL) -> HttpAnswer:
        """Ask a server that a redirect names, at an address that may be asked."""
        if self._is_proxied:  # which looks the name up: only what is plain can be judged
            if nearness_of_host(url.host) > self._may_reach:
                raise _too_near(url)
            return await self._send(self._client.build_request("GET", url, headers=self._headers))
        host = url.raw_host.decode("ascii")
        found = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        allowed = [address for address in addresses if nearness(address) <= self._may_reach][:_ADDRESSES]
        if not allowed:
            raise _too_near(url)
        import httpx

        headers = {**self._headers, "Host": url.netloc.decode("ascii")}
        for address in allowed:
            pinned = url.copy_with(host=address, username=None, password=None)
            request = self._client.build_request("GET", pinned, headers=headers, extensions={"sni_hostname": host})
            try:
                return await self._send(request)
            except httpx.ConnectError:
                if address == allowed[-1]:
                    raise
        raise AssertionError


def _too_near(url: httpx.URL) -> HttpFailed:
    return HttpFailed(f"it leads to {url.host}, in a network nearer to this machine than its own, and is not followed")
