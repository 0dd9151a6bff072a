# SPDX-License-Identifier: GPL-3.0-or-later
"""What is copied into ``.gtfs``, and how often who copies it hears that it is refused."""

from __future__ import annotations

import pytest

from gtfs.mount.droppedfiles import DroppedFiles
from gtfs.mount.tree import ControlEntry, NotTakeable

pytestmark = pytest.mark.trio


class Control:
    """Takes what is said to be good."""

    def __init__(self) -> None:
        self.asked = 0

    async def take(self, parts: tuple[bytes, ...], document: bytes) -> None:
        self.asked += 1
        if document != b"good":
            raise NotTakeable("not good")

    def look(self, parts: tuple[bytes, ...]) -> ControlEntry | None:
        return None

    def names(self, parts: tuple[bytes, ...]) -> list[bytes]:
        return []


async def test_what_was_refused_is_refused_again_at_the_next_rename_and_close() -> None:
    control = Control()
    dropped = DroppedFiles(control)
    handle = dropped.create((b".temporary",))
    await handle.write(0, b"evil")
    for _ in range(2):
        with pytest.raises(NotTakeable):
            await dropped.rename(handle.file, (b"catalogue",))
    assert dropped.get((b".temporary",)) is handle.file
    handle = dropped.create((b"catalogue",))
    await handle.write(0, b"evil")
    for _ in range(2):
        with pytest.raises(NotTakeable):
            await handle.flush()


async def test_what_was_taken_is_judged_once_however_often_it_is_closed() -> None:
    control = Control()
    handle = DroppedFiles(control).create((b"catalogue",))
    await handle.write(0, b"good")
    await handle.flush()
    await handle.flush()
    assert control.asked == 1
