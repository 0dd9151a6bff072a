# SPDX-License-Identifier: GPL-3.0-or-later
"""The new tags that are to be announced: ``$GIT_DIR/gtfs/announcements``, a file for each (design.md §12).

Written before the catalogue is kept that has them, taken away when the announcement is where it belongs. Any thread,
and any process of the owner: every step is one file that is there whole or not at all.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gtfs.catalogue.accept import Held
from gtfs.catalogue.document import Catalogue, digest
from gtfs.catalogue.store import CatalogueStore
from gtfs.counted import counted
from gtfs.durable import make_directory, replace_file
from gtfs.errors import GtfsError
from gtfs.ids import ObjectId, parse_object_id
from gtfs.layout import Layout
from gtfs.repo.history import add_kinds, read_places
from gtfs.repo.repository import Repository
from gtfs.state.announcement import Release
from gtfs.state.control import read_object
from gtfs.state.outstanding import read_failure

log = logging.getLogger(__name__)

_FIRST_S: Final = 30  # so long a node leaves what somebody who typed gtfs publish is about to announce
_TAGS: Final = b"refs/tags/"
_MOST: Final = 50  # tags of one catalogue: who pushes all of an old project's floods nobody
_KEPT: Final = 20  # refs and reels of a release that are written down


def begin(repository: Repository) -> None:
    """The tags that are there when announcing is set up are no news. Raises `GitFailed`, OSError."""
    layout = repository.layout
    make_directory(layout.announcements)
    tags = {oid for name, oid in read_places(repository).items() if name.startswith(_TAGS)}
    replace_file(layout.announced_before, b"".join(oid.hex().encode() + b"\n" for oid in sorted(tags)))


def forget(layout: Layout) -> None:
    """Nothing is announced any more, nor due. Raises OSError."""
    for path in (*layout.due_announcements(), layout.unannounced, layout.announced_before):
        path.unlink(missing_ok=True)


def find_news(
    repository: Repository, before: Mapping[bytes, ObjectId], now: Mapping[bytes, ObjectId]
) -> list[ObjectId]:
    """The annotated tags that ``now`` has under refs/tags/, and ``before`` had nowhere; none where they are too many.

    Raises `GitFailed`, OSError.
    """
    moved = {n: oid for n, oid in now.items() if n.startswith(_TAGS) and before.get(n) != oid}
    if not moved:
        return []
    try:
        old = set(repository.layout.announced_before.read_bytes().split())
    except FileNotFoundError:
        old = set()
    had = set(before.values())
    refs = add_kinds(repository, {n: o for n, o in moved.items() if o not in had and o.hex().encode() not in old})
    tags = list(dict.fromkeys(ref.oid for ref in refs if ref.kind == b"tag"))
    if len(tags) > _MOST:
        new = counted(len(tags), "new tag")
        log.warning("%s at once, more than %d, are taken for an import: none is announced", new, _MOST)
        return []
    return tags


def note_news(repository: Repository, held: Held | None, new: Catalogue) -> None:
    """Write down what is to be announced once ``new`` is kept, which follows ``held``. Raises `GitFailed`, OSError."""
    before: Mapping[bytes, ObjectId] = {} if held is None else held.catalogue.refs
    tags = find_news(repository, before, new.refs)
    if not tags:
        return
    known = set() if held is None else {reel.name for reel in held.catalogue.reels}
    reels = [(r.name, r.infohash.hex(), r.size) for r in new.reels if r.name not in known]
    moved = [(name, oid) for name, oid in new.refs.items() if before.get(name) != oid]
    text_digest = digest(new.to_text().encode())
    make_directory(repository.layout.announcements)
    for tag in tags:
        refs = tuple(name for name, oid in new.refs.items() if oid == tag and name.startswith(_TAGS))
        first = [name for name in refs if name in before]
        release = Release(
            tag, refs, before[first[0]] if first else None, new.version, text_digest, new.date_s,
            tuple((n, o) for n, o in moved if o != tag)[:_KEPT], sum(o != tag for _, o in moved),
            tuple(reels[:_KEPT]), len(reels),
        )  # fmt: skip
        _write(repository.layout, release)


def note_begun(layout: Layout, release: Release) -> None:
    """Its announcement is about to be made: if it is there the next time, this one has made it. Raises OSError."""
    _write(layout, dataclasses.replace(release, begun=True))


def read_due(layout: Layout) -> list[Release]:
    """What is to be announced of what has been published, oldest first. Raises OSError, `DamagedStore`."""
    found = [release for release, has_come in _read_all(layout) if has_come]
    return sorted(found, key=lambda release: (release.version, release.refs))


def sweep_due(layout: Layout) -> None:
    """Take away what was written down for a catalogue that another one came instead of. Raises OSError."""
    for release, has_come in _read_all(layout):
        if has_come is False:
            layout.announcement(release.tag).unlink(missing_ok=True)


def due_in_s(layout: Layout) -> float | None:
    """How long a node leaves what is due: until it is tried again, or to whoever published it. None: nothing is due."""
    due = read_due(layout)
    if not due:
        return None
    failed = read_failure(layout.unannounced)
    if failed is not None:
        return _left_s(failed.tried_s, failed.rest_s)
    return _left_s(min(path.stat().st_mtime for path in layout.due_announcements()), _FIRST_S)


def _left_s(since_s: float, rest_s: float) -> float:
    """What is left of a rest: nothing if the clock was set back since, or it would last until that time comes again."""
    now_s = time.time()
    return max(0.0, since_s + rest_s - now_s) if since_s <= now_s else 0.0


def _read_all(layout: Layout) -> Iterator[tuple[Release, bool | None]]:
    """All, and whether their catalogue has come; None where it may be on its way."""
    paths = layout.due_announcements()
    if not paths:
        return
    store = CatalogueStore(layout.catalogue, read_only=True)
    versions = store.versions()
    for path in paths:
        release = _read(path)
        if release is None:
            continue
        if not versions or release.version > versions[-1]:
            yield release, None
        else:  # what is no longer kept was, as there are later ones
            yield release, release.version not in versions or store.known_digest(release.version) == release.digest


def _write(layout: Layout, release: Release) -> None:
    found = {
        "tag": release.tag.hex(),
        "refs": [os.fsdecode(name) for name in release.refs],
        "was": None if release.was is None else release.was.hex(),
        "version": release.version,
        "digest": release.digest,
        "date": release.date_s,
        "moved": [[os.fsdecode(name), oid.hex()] for name, oid in release.moved],
        "moved_count": release.moved_count,
        "reels": [list(reel) for reel in release.reels],
        "reels_count": release.reels_count,
        "begun": release.begun,
    }
    replace_file(layout.announcement(release.tag), json.dumps(found).encode() + b"\n")


def _read(path: Path) -> Release | None:
    """None for what nobody can read, and what has just gone."""
    try:
        found: dict[str, Any] = read_object(path.read_bytes()) or {}
        return Release(
            parse_object_id(found["tag"]), tuple(os.fsencode(name) for name in found["refs"]),
            None if found["was"] is None else parse_object_id(found["was"]),
            int(found["version"]), str(found["digest"]), int(found["date"]),
            tuple((os.fsencode(name), parse_object_id(oid)) for name, oid in found["moved"]), int(found["moved_count"]),
            tuple((str(name), str(infohash), int(size)) for name, infohash, size in found["reels"]),
            int(found["reels_count"]), bool(found["begun"]),
        )  # fmt: skip
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError, OverflowError, GtfsError):
        log.warning("%s cannot be read, and counts for nothing", path)
        return None
