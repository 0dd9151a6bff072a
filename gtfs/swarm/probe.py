# SPDX-License-Identifier: GPL-3.0-or-later
"""The info dictionary of a torrent of which nothing is known but its infohash: where a pointer leads (BEP 9, BEP 46).

Nothing of the torrent is fetched, and nothing that its metadata says is used here. Trio loop only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import libtorrent as lt
import trio

from gtfs.errors import GtfsError
from gtfs.ids import InfoHash
from gtfs.swarm import alerts
from gtfs.swarm.link import ANSWER_S, Link, drop
from gtfs.swarm.pieces import SwarmError, SwarmTimeout
from gtfs.swarm.torrents import Torrent

DIAL_AGAIN_S = 2.0


class Probe:
    """A torrent that is in the session for its metadata alone."""

    def __init__(self, name: str) -> None:
        self.link = Link(name)
        self.entered = trio.Event()  # or was refused
        self.has_info = trio.Event()
        self.left = trio.Event()

    def on_event(self, event: alerts.TorrentEvent) -> None:
        """Take note of what libtorrent reported."""
        match event:
            case alerts.Added(handle=handle, error=None):
                self.link.connect(handle)
                self.entered.set()
            case alerts.Added(error=error):
                self.end_waits(SwarmError(f"{self.link.name}: {error}"))
            case alerts.Checked():
                self.has_info.set()
            case alerts.ResumeReady() | alerts.ResumeFailed():
                self.link.answer("resume", event)
            case alerts.Removed() if self.link.handle is not None:  # else of a torrent before it
                self.left.set()

    def end_waits(self, reason: GtfsError) -> None:
        """Let nobody wait any more."""
        self.link.fail(reason)
        self.entered.set()
        self.has_info.set()
        self.left.set()


async def info_of_present(torrent: Torrent, *, deadline_s: float) -> bytes:
    """The same of a torrent that is in the session: added once more, libtorrent's refusal would be taken for its end.

    Raises `SwarmTimeout`, and what the torrent failed with.
    """
    await torrent.wait_metadata(deadline_s)
    return await torrent.questions.ask_info()


async def learn_info(
    session: Any,
    probes: dict[InfoHash, Probe],
    unanswered: Callable[[InfoHash], None],
    infohash: InfoHash,
    params: Any,
    peers: Callable[[], list[tuple[str, int]]],
    *,
    deadline_s: float,
) -> bytes:
    """Ask peers for an info dictionary and take the torrent out again. Raises `SwarmTimeout`, `SwarmError`.

    ``probes`` is where the session looks for who wants its reports, ``unanswered`` hears what libtorrent may still
    take or has to let go of, ``params`` is what that is given, and ``peers`` are dialled, beside those it finds.
    """
    name = f"torrent {infohash.hex()}"
    if infohash in probes:
        raise SwarmError(f"{name} is being asked for already")
    probe = probes[infohash] = Probe(name)
    session.async_add_torrent(params)
    try:
        with trio.move_on_after(deadline_s):
            while not probe.has_info.is_set():
                for peer in peers():
                    probe.link.call("connect_peer", peer)
                with trio.move_on_after(DIAL_AGAIN_S):
                    await probe.has_info.wait()
            answer = await probe.link.ask("resume", "save_resume_data", lt.save_resume_flags_t.save_info_dict)
            info: bytes | None = getattr(answer, "info", None)
            if info is None or hashlib.sha1(info).digest() != infohash:
                raise SwarmError(f"{name}: libtorrent gave no metadata")
            return info
        raise SwarmTimeout(f"{name}: no peer gave its metadata within {deadline_s:g} s")
    finally:
        # Who is cancelled before libtorrent has it would leave it behind, and it could not be added any more.
        with trio.move_on_after(ANSWER_S, shield=True):
            await probe.entered.wait()
        if probe.link.handle is not None and not probe.left.is_set():
            drop(session, probe.link.handle, lt.options_t.delete_files)
            with trio.move_on_after(ANSWER_S, shield=True):
                await probe.left.wait()
        del probes[infohash]
        if not probe.entered.is_set() or (probe.link.handle is not None and not probe.left.is_set()):
            unanswered(infohash)
