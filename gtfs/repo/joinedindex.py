# SPDX-License-Identifier: GPL-3.0-or-later
"""One index over git's many packs while they come, git-multi-pack-index(1): git looks an object up in each pack by
turns, so that without it a batch costs the more the more batches came before. One thread.

Only a hint of git's, made from the packs' own indexes: packs that go take it with them (`gtfs.repo.upkeep`, git gc).
To write it, git has all that is in it in memory: of millions of objects it covers the small packs, which are many.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

from gtfs.repo.moving import JOINED_INDEX, Moving
from gtfs.repo.repository import GitFailed, Repository

log = logging.getLogger(__name__)

_MOST_ALONE: Final = 32  # packs that it does not have; to write it costs git about as much as one batch
_MOST_BYTES: Final = 128 << 20  # of the packs' indexes; git needs about twice that, 62 bytes an object (facts.md)


def joined(sizes: Iterable[int]) -> int:
    """Of so many packs, by the bytes of their indexes from the smallest on, one index has room."""
    return sum(total <= _MOST_BYTES for total in accumulate(sizes))


class JoinedIndex:
    """Of one repository."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._path = repository.objects / "pack" / "multi-pack-index"
        self._alone: int | None = None  # not counted yet
        self._is_there = False  # as of the last count or try

    def came(self, packs: int) -> None:
        """So many packs were put into the repository; without an index of all of them it only is slower."""
        if packs:
            is_gone = self._is_there and not self._path.exists()  # whoever repacks takes it away
            self._alone = self._count_alone() if self._alone is None or is_gone else self._alone + packs
        if self._alone is None or self._alone < _MOST_ALONE:
            return
        if self._repository.layout.repacking.exists():  # it takes the index away, and both need memory
            return
        self._alone = 0
        try:
            command = ("multi-pack-index", "write", "--no-progress", "--stdin-packs")
            names = "".join(f"{name}\n" for name in self._small())
            with Moving(self._repository, {JOINED_INDEX: None}) as writing:
                done = writing.run(*command, stdin=names.encode())
            if done.returncode:  # with a lock that is another program's, perhaps: nothing of it is ours to sweep
                raise GitFailed(command, done.returncode, done.stderr)
        except (GitFailed, OSError) as e:
            log.info("git's packs stay without one index: %s", e)
        self._is_there = self._path.exists()

    def _count_alone(self) -> int:
        """How many packs are not in the index that is there: earlier runs, too, have left some."""
        written_ns = 0
        with contextlib.suppress(FileNotFoundError):
            written_ns = self._path.stat().st_mtime_ns
        self._is_there = written_ns > 0
        alone = 0
        for index in self._path.parent.glob("*.idx"):
            with contextlib.suppress(FileNotFoundError):
                alone += index.stat().st_mtime_ns > written_ns
        return alone

    def _small(self) -> list[str]:
        """The packs' indexes, the smallest first, as far as there is memory for them."""
        sizes = {}
        for index in self._path.parent.glob("*.idx"):
            with contextlib.suppress(FileNotFoundError):
                sizes[index.name] = index.stat().st_size
        names = sorted(sizes, key=sizes.__getitem__)
        return names[: joined(sizes[name] for name in names)]
