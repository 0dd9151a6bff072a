# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of libtorrent about one torrent, each question until its answer comes as an alert. Trio loop.

The calls are those that never block (facts.md); files are written in threads.
"""

from __future__ import annotations

from typing import Any

import libtorrent as lt
import trio

from gtfs.swarm import alerts, files
from gtfs.swarm.link import Link
from gtfs.swarm.pieces import SwarmError
from gtfs.swarm.spec import TorrentSpec

CHECK_S = 3600.0  # hashing a whole reel again takes seconds; on a dying disk, longer


class Questions:
    """The questions of one torrent; each may raise `SwarmTimeout`, or what the torrent failed with."""

    def __init__(self, spec: TorrentSpec, link: Link, disk: trio.CapacityLimiter) -> None:
        self._spec = spec
        self._link = link
        self._disk = disk

    async def learn_pieces(self) -> None:
        """Fill the board from libtorrent, which needs the metadata for it."""
        await self._link.ask("status", "post_status", lt.status_flags_t.query_pieces)

    async def flush(self) -> None:
        """Return when every byte that came can be read from the file."""
        await self._link.ask("flush", "flush_cache")

    async def check(self) -> None:
        """Hash the whole file again."""
        await self._link.ask("check", "force_recheck", within_s=CHECK_S)

    async def save_resume(self) -> None:
        """Keep what libtorrent knows about the pieces, so that the next session need not hash the file."""
        answer = await self._ask_resume(lt.save_resume_flags_t.flush_disk_cache)
        await trio.to_thread.run_sync(files.keep_resume, self._spec, answer.resume, limiter=self._disk)

    async def ask_info(self) -> bytes:
        """The info dictionary that peers gave, as it came."""
        return (await self._ask_resume(lt.save_resume_flags_t.save_info_dict)).info or b""

    async def ask_banned(self) -> tuple[tuple[str, int], ...]:
        """The address and port of every peer that libtorrent will not talk to any more."""
        return (await self._ask_resume(0)).banned

    async def move_to_place(self) -> None:
        """Let the file lie where the spec says, once it is sure that it is the spec's file."""
        # Nothing was written before, so there is nothing to move; with any other flag libtorrent starts a check of
        # its own when there is a file.
        flags = lt.move_flags_t.reset_save_path_unchecked
        error = await self._link.ask("move", "move_storage", bytes(self._spec.directory), flags)
        if error is not None:
            raise SwarmError(f"{self._spec.file_name}: {error}")

    async def _ask_resume(self, flags: Any) -> alerts.ResumeReady:
        answer = await self._link.ask("resume", "save_resume_data", flags)
        if isinstance(answer, alerts.ResumeFailed):
            raise SwarmError(f"{self._spec.file_name}: {answer.reason}")
        assert isinstance(answer, alerts.ResumeReady)
        return answer
