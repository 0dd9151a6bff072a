# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what we have mounted still is. Trio loop."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Iterator
from pathlib import Path

import trio

from gtfs.mount.mountpoint import MOUNTINFO, MountpointError, mounted_on, mounts


class MountWatch:
    """Notices that a mount is gone, also while requests are still being answered."""

    def __init__(self, path: Path) -> None:
        found = mounted_on(path)
        if found is None:
            raise MountpointError(f"{path} was unmounted at once")
        self.mounted = found

    def is_mounted(self) -> bool:
        """Whether it still stands in the table of mounts."""
        return self.mounted in mounts()

    async def wait_unmounted(self) -> None:
        """Return when it is gone from the table of mounts."""
        with _mount_events() as fd:
            while self.is_mounted():
                await trio.lowlevel.wait_readable(fd)


@contextlib.contextmanager
def _mount_events() -> Iterator[int]:
    """A descriptor that becomes readable when the table of mounts changes.

    mountinfo itself always counts as readable and tells a change by POLLPRI, which trio cannot wait for; an epoll
    instance that watches for that alone can be waited for like any descriptor. A change is reported once, when it is
    looked for: so look at the table after each wake-up, and wait only then.
    """
    with MOUNTINFO.open("rb") as table, select.epoll() as events:
        events.register(table.fileno(), select.EPOLLPRI)
        yield events.fileno()
