# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at all repositories, shared by everybody who asks within a second. Trio loop."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from gtfs.overview.health import RepositoryHealth, ranked
from gtfs.overview.metrics import CONTENT_TYPE, metrics
from gtfs.overview.page import Shown, page
from gtfs.overview.traffic import SPAN_S, Traffic
from gtfs.version import version

_LOOK_S: Final = 1.0  # so long one look is shown
_SHARE: Final = 20.0  # times as long as it took, if that is longer: it takes little of the time, however many there are

Look = Callable[[], Awaitable[Sequence[RepositoryHealth]]]


@dataclass(frozen=True)
class Document:
    """What is served under one path."""

    kind: str  # its Content-Type
    body: bytes
    tag: str  # as ETag


def document(kind: str, body: bytes) -> Document:
    """Its tag follows from its bytes."""
    return Document(kind, body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


class Overview:
    """``look`` judges every repository; ``counters`` gives what the process received and sent since it started."""

    def __init__(self, look: Look, counters: Callable[[], tuple[int, int]]) -> None:
        self._look = look
        self._counters = counters
        self._traffic = Traffic()
        self._turn = trio.Lock()
        self._shown: Shown | None = None
        self._made: dict[str, Document] = {}
        self._until_s = -math.inf
        self.looks = 0

    async def note_task(self) -> None:
        """Write down what was moved, whether anybody looks or not."""
        while True:
            self._traffic.note(time.time(), *self._counters())
            await trio.sleep(SPAN_S / 5)

    async def document(self, path: str) -> Document | None:
        """What is served there, None for a path that there is not."""
        writer = _WRITERS.get(path)
        if writer is None:
            return None
        async with self._turn:  # who comes meanwhile gets the same
            shown = await self._newest()
            if path not in self._made:
                self._made[path] = await trio.to_thread.run_sync(writer, shown)
            return self._made[path]

    async def _newest(self) -> Shown:
        start_s = trio.current_time()
        if self._shown is None or start_s >= self._until_s:
            self.looks += 1
            healths = ranked(await self._look())
            now_s = time.time()
            self._traffic.note(now_s, *self._counters())
            self._shown = Shown(healths, self._traffic.last_day(now_s), int(now_s), version())
            self._made = {}
            took_s = trio.current_time() - start_s
            self._until_s = trio.current_time() + max(_LOOK_S, _SHARE * took_s)
        return self._shown


def page_document(shown: Shown) -> Document:
    """For people."""
    return document("text/html; charset=utf-8", page(shown).encode("utf-8", "backslashreplace"))


def metrics_document(shown: Shown) -> Document:
    """For Prometheus."""
    return document(CONTENT_TYPE, metrics(shown.healths, shown.version).encode("utf-8", "backslashreplace"))


def status_document(shown: Shown) -> Document:
    """For other programs, as gtfs(1) documents it under JSON."""
    told = {
        "gtfs": shown.version,
        "now": shown.now_s,
        "repositories": [one.describe() for one in shown.healths],
        "traffic": [{"start": m.start_s, "received": m.received, "sent": m.sent} for m in shown.moved],
    }
    return document("application/json", json.dumps(told).encode() + b"\n")


_WRITERS: Final = {"/": page_document, "/metrics": metrics_document, "/status.json": status_document}
