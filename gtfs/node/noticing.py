# SPDX-License-Identifier: GPL-3.0-or-later
"""One inotify instance for the nodes of a process: each is woken when something happens in its directories. Trio loop.

It is a reason to look and nothing else: who was woken reads what is there.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from gtfs.node.nursery import open_flat_nursery
from gtfs.repo.inotify import IGNORED, OVERFLOW, Inotify, is_told_of, local_mounts

log = logging.getLogger(__name__)


class Ear:
    """One node's ear: ``has_heard`` until it is taken back, and ``wake`` is called."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.has_heard = False
        self.numbers: dict[Path, int] = {}

    def hear(self) -> None:
        """Something has happened."""
        self.has_heard = True
        self.wake()


class Noticing:
    """Without an inotify instance, or watches left for a node, nobody hears: then there is `listen`'s answer."""

    def __init__(self) -> None:
        self._inotify: Inotify | None = None
        self._ears: dict[int, set[Ear]] = {}
        self._mounts: dict[str, bool] = {}
        self._is_full = False
        try:
            self._inotify = Inotify()
        except OSError as error:
            log.info("refs are looked at each second: there is no inotify instance (%s)", error.strerror)

    def listen(self, ear: Ear, directories: Collection[Path]) -> bool:
        """Watch these and no others for a node; False if it has to look by itself, as some of it cannot be watched."""
        if self._inotify is None:
            return False
        wanted = set(directories)
        for directory in set(ear.numbers) - wanted:
            self._leave(ear, ear.numbers.pop(directory))
        for directory in wanted - set(ear.numbers):
            try:
                if not self._is_local(directory):
                    return False
                number = self._inotify.add(directory)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.ENOMEM) and not self._is_full:
                    self._is_full = True
                    log.warning(
                        "no inotify watches are left (sysctl fs.inotify.max_user_watches): refs of some repositories "
                        "are looked at each second"
                    )
                return False
            self._ears.setdefault(number, set()).add(ear)
            ear.numbers[directory] = number
        return True

    def leave(self, ear: Ear) -> None:
        """Watch nothing for a node any more."""
        for number in ear.numbers.values():
            self._leave(ear, number)
        ear.numbers.clear()

    def _leave(self, ear: Ear, number: int) -> None:
        ears = self._ears.get(number, set())
        ears.discard(ear)
        if not ears and self._inotify is not None:
            self._ears.pop(number, None)
            self._inotify.remove(number)

    def _is_local(self, directory: Path) -> bool:
        if not self._mounts:
            self._mounts = local_mounts()
        return is_told_of(directory, self._mounts)

    async def run_task(self) -> None:
        """Hear until it is cancelled."""
        if self._inotify is None:
            return
        while True:
            await trio.lowlevel.wait_readable(self._inotify.fd)
            heard: set[Ear] = set()
            for number, mask in self._inotify.read():
                if mask & OVERFLOW:
                    heard.update(*self._ears.values())
                heard |= self._ears.get(number, set())
                if mask & IGNORED:  # the directory is gone
                    for ear in self._ears.pop(number, set()):
                        ear.numbers = {path: n for path, n in ear.numbers.items() if n != number}
            for ear in heard:
                ear.hear()

    def close(self) -> None:
        """Give the instance back."""
        if self._inotify is not None:
            self._inotify.close()


@asynccontextmanager
async def open_noticing() -> AsyncIterator[Noticing]:
    """An instance that hears, and its end."""
    noticing = Noticing()
    try:
        async with open_flat_nursery() as nursery:
            nursery.start_soon(noticing.run_task)
            yield noticing
            nursery.cancel_scope.cancel()
    finally:
        noticing.close()
