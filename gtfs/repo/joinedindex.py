# SPDX-License-Identifier: GPL-3.0-or-later
"""When git's many packs get one index, git-multi-pack-index(1): git looks an object up in each pack that it has not, by
turns, so that without it a batch costs the more the more batches came before. One thread.

Only a hint of git's: packs that go take it with them (`gtfs.repo.upkeep`, git gc).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Final

from gtfs.ids import ObjectFormat
from gtfs.repo.moving import JOINED_INDEX, Moving
from gtfs.repo.multipackindex import MULTI_PACK_INDEX, packs_in, write_multi_pack_index
from gtfs.repo.packindex import BadIndex, is_v2, names_in, usable_indexes
from gtfs.repo.repository import Repository

log = logging.getLogger(__name__)

_OBJECT_BYTES: Final = 28  # at least, of an object in a pack's index
_WORTH: Final = 2  # to look an object up in a pack costs about as much as to write so many into the index (facts.md)
_BEGIN: Final = 1 << 15  # and to write any index at all, as much as so many objects


def join_packs(repository: Repository, came: Collection[str] | None = None) -> bool:
    """Write the index anew where git has spent as much on looking through packs one by one as it costs.

    ``came``: names of the indexes of packs for which whoever waits had that done; else all that are beside it count,
    as of a node at rest. Without one of all packs git only is slower: a failure is logged. False if it will fail again:
    a pack's own index is damaged.
    """
    if repository.layout.repacking.exists():  # it takes the index away when it is done
        return True
    path = repository.objects / "pack" / MULTI_PACK_INDEX
    failed: BadIndex | OSError | None = None
    try:
        # What it says is in a pack that is gone, git looks for in no other that it covers. Whoever took the pack away
        # took the index away first, and it was written just then.
        if not packs_in(path, repository.fmt) <= names_in(path.parent):
            path.unlink(missing_ok=True)
        if _is_worth_it(path, repository.fmt, came):
            with Moving(repository, {JOINED_INDEX: None}):
                try:
                    # Another thread may have written it while this one waited.
                    if _is_worth_it(path, repository.fmt, came):
                        write_multi_pack_index(path.parent, path, repository.fmt)
                except (BadIndex, OSError) as e:
                    failed = e  # with a lock that is another program's, perhaps: nothing of it is ours to sweep
    except OSError as e:
        failed = e
    if failed is not None:
        log.info("git's packs stay without one index: %s", failed)
    return not isinstance(failed, BadIndex)


def _is_worth_it(path: Path, fmt: ObjectFormat, came: Collection[str] | None) -> bool:
    """Whether what git has looked up in packs beside the index ``path``, each batch in those that came before it, is
    more than writing it again. Packs that it cannot cover do not count."""
    joined, beside, total = packs_in(path, fmt), [], 0
    for name, _ in usable_indexes(path.parent):
        index = Path(name)
        with contextlib.suppress(FileNotFoundError):
            status = index.stat()
            objects = status.st_size // _OBJECT_BYTES
            total += objects
            if index.name not in joined and is_v2(index):
                beside.append((status.st_mtime_ns, objects if came is None or index.name in came else 0))
    looked_up = sum(before * objects for before, (_, objects) in enumerate(sorted(beside)))
    return looked_up * _WORTH > _BEGIN + total
