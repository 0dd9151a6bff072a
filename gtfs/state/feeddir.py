# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory that a web server serves: all that mirrors need of a publisher, complete at every moment. Any thread.

The order: reels and torrents, chunks, the page, and only then the catalogue that names them, each by a rename; what no
catalogue names any more goes after a grace, as mirrors may still be at it. A crash between leaves the feed before. But
what was withdrawn goes at once, and before the catalogue comes, so that no crash leaves it.
Only files are read, so nobody's lock is needed; two writers take turns.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from gtfs.catalogue.accept import Held
from gtfs.catalogue.document import BadCatalogue, Catalogue, text_alone
from gtfs.catalogue.statementstore import LATEST_FRESHNESS
from gtfs.catalogue.store import CatalogueStore
from gtfs.durable import make_for_all, replace_file, sweep_temporaries, sync_directory, temporary_in
from gtfs.errors import Blame, GtfsError
from gtfs.feed import CHUNKS, LATEST, seed_url
from gtfs.ids import METAINFO_SUFFIX, REEL_SUFFIX
from gtfs.layout import Layout
from gtfs.metainfo import BadMetainfo, info_of, with_trackers
from gtfs.repo.repository import owner_name
from gtfs.state.config import Config
from gtfs.state.control import read_object
from gtfs.state.feedpage import feed_page
from gtfs.trust.verify import BadSignature, split_clearsigned

GRACE_S: Final = 7 * 24 * 3600  # from when nothing names a file any more to its end
_LEAVING: Final = ".leaving"  # since when that is so, by name
_OURS: Final = re.compile(rf"[0-9a-f]{{64}}({re.escape(REEL_SUFFIX)}|{re.escape(METAINFO_SUFFIX)})?\Z")
_FOR_ALL: Final = 0o644
_SEARCHED_BY_ALL: Final = 0o755
_BLOCK: Final = 8 << 20


class BadFeedDirectory(GtfsError):
    """It cannot be served from there; says why."""

    fault = Blame.USAGE


def is_written(layout: Layout, directory: Path) -> bool:
    """Whether the directory has the held catalogue and what was said of its freshness; nothing held is written."""
    return all(
        _bytes(layout.catalogue / name) == _bytes(directory / name)
        for name in (LATEST, LATEST_FRESHNESS)
        if (layout.catalogue / LATEST).exists()
    )


def feed_directory(config: Config) -> Path | None:
    """Where a publisher keeps its feed by itself, None for nowhere."""
    value = config.get("feeddir")
    return None if value is None else Path(value)


def write_set_feed(layout: Layout, config: Config) -> bool:
    """Write the one of the settings, if it is not as it should be; whether it was written. Raises as `write_feed`."""
    directory = feed_directory(config)
    if directory is None:
        return False
    refuse_other(directory)
    if is_written(layout, directory):
        return False
    write_feed(layout, directory)
    return True


def write_feed(layout: Layout, directory: Path, now_s: float | None = None) -> None:
    """Bring the directory to what the held catalogue says. Raises `BadFeedDirectory`, `BadMetainfo`, OSError."""
    store = CatalogueStore(layout.catalogue)
    held = store.newest_text()
    if held is None:
        return
    with _opened(directory) as place:
        while True:
            try:
                _write_feed(layout, held, place, now_s)
                return
            except FileNotFoundError:  # what newer catalogues do not list has gone, if there are some by now
                newest = store.newest_text()
                if newest is None or newest.document == held.document:
                    raise
                held = newest


def _write_feed(layout: Layout, held: Held, place: Path, now_s: float | None) -> None:
    chunks = place / CHUNKS
    for each in (place, chunks):
        sweep_temporaries(each)
    named = _write_reels(layout, held.catalogue, place)
    named |= _write_chunks(layout, chunks)
    _write(place / "index.html", feed_page(held.catalogue).encode())
    if _has_pruned(place, held.catalogue):
        _let_go(place, named, time.time(), grace_s=0)
    _write(place / LATEST, held.document)
    _write_freshness(layout, place)
    _let_go(place, named, time.time() if now_s is None else now_s)


def refuse_other(directory: Path) -> None:
    """Raise `BadFeedDirectory` for a path at which something else is than a directory, or than nothing."""
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise BadFeedDirectory(f"{directory} is a link or a file: name the directory itself")


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[Path]:
    """The directory by descriptor, made with what leads there: what is looked at is what is written in."""
    is_new = False
    make_for_all(directory.parent)
    with contextlib.suppress(FileExistsError):
        directory.mkdir()
        is_new = True
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        refuse_other(directory)
        raise
    try:
        if is_new:
            os.fchmod(fd, _SEARCHED_BY_ALL)  # whatever the umask is: it is to be served
        found = os.fstat(fd)
        if found.st_uid not in (os.geteuid(), 0):
            raise BadFeedDirectory(
                f"{directory} belongs to {owner_name(found.st_uid)}, who could change what is served"
            )
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise BadFeedDirectory(f"others can write in {directory}: chmod go-w {directory}")
        fcntl.flock(fd, fcntl.LOCK_EX)
        place = Path(f"/proc/self/fd/{fd}")
        with contextlib.suppress(FileExistsError):
            (place / CHUNKS).mkdir()
            (place / CHUNKS).chmod(_SEARCHED_BY_ALL)
        if not stat.S_ISDIR((place / CHUNKS).lstat().st_mode):
            raise BadFeedDirectory(f"{directory / CHUNKS} is no directory; move it away")
        yield place
    finally:
        os.close(fd)


def _write_reels(layout: Layout, catalogue: Catalogue, place: Path) -> set[str]:
    named: set[str] = set()
    for entry in catalogue.reels:
        file_name, metainfo_name = entry.name + REEL_SUFFIX, entry.name + METAINFO_SUFFIX
        named |= {file_name, metainfo_name}
        _put(layout.reel(entry.name), place / file_name, entry.size)
        try:
            info = info_of(layout.metainfo(entry.name).read_bytes())
        except BadMetainfo as error:
            raise BadMetainfo(f"{file_name}: {error}") from None
        web_seeds = [seed_url(base, file_name) for base in catalogue.web_seeds]
        _write(place / metainfo_name, with_trackers(info, catalogue.trackers, web_seeds))
    return named


def _write_chunks(layout: Layout, chunks: Path) -> set[str]:
    try:
        names = _ours_in(layout.chunks)
    except FileNotFoundError:
        return set()
    for name in names:
        there = _bytes(chunks / name)  # all of it: a disk may have damaged it, and each is small
        if there is None or hashlib.sha256(there).hexdigest() != name:
            _write(chunks / name, (layout.chunks / name).read_bytes())
    return {f"{CHUNKS}/{name}" for name in names}


def _has_pruned(place: Path, new: Catalogue) -> bool:
    """Whether something was withdrawn since the catalogue that is there."""
    before = _bytes(place / LATEST)
    if before is None or new.pruned is None:
        return False
    try:
        return text_alone(split_clearsigned(before)[0]).pruned != new.pruned
    except (BadSignature, BadCatalogue):
        return True


def _write_freshness(layout: Layout, place: Path) -> None:
    said = _bytes(layout.catalogue / LATEST_FRESHNESS)
    if said is None:
        (place / LATEST_FRESHNESS).unlink(missing_ok=True)
    else:
        _write(place / LATEST_FRESHNESS, said)


def _put(source: Path, target: Path, size: int) -> None:
    """Another name of a reel where both are on one disk, else a copy."""
    with contextlib.suppress(FileNotFoundError):
        found = target.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_size == size:
            return
    _refuse_holes(source, size)
    fd, temporary = temporary_in(target.parent, _FOR_ALL)
    os.close(fd)
    try:
        temporary.unlink()
        try:
            temporary.hardlink_to(source)
            temporary.chmod(_FOR_ALL)  # the other name lies in a directory that is ours alone
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                raise
            _copy(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(target.parent)


def _refuse_holes(source: Path, size: int) -> None:
    """A publisher may list what is still to come from others; of a copy the holes would stay."""
    with source.open("rb") as file:
        if os.lseek(file.fileno(), 0, os.SEEK_HOLE) < size:
            raise BadFeedDirectory(f"reel {source.name} is not whole here yet, and is served once it is: run gtfs sync")


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("xb") as writer:
        os.fchmod(writer.fileno(), _FOR_ALL)
        while block := reader.read(_BLOCK):
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())


def _write(path: Path, data: bytes) -> None:
    if _bytes(path) != data:
        replace_file(path, data, for_all=True)


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _ours_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if _OURS.match(path.name)]


def _let_go(place: Path, named: Collection[str], now_s: float, grace_s: float = GRACE_S) -> None:
    """Remove what nothing has named for long; files that we never put there stay."""
    there = {name for name in _ours_in(place) if name.endswith((REEL_SUFFIX, METAINFO_SUFFIX))}
    there |= {f"{CHUNKS}/{name}" for name in _ours_in(place / CHUNKS)}
    before = read_object(_bytes(place / _LEAVING) or b"{}") or {}
    leaving: dict[str, float] = {}
    for name in sorted(there.difference(named)):
        since = before.get(name)
        since_s = float(since) if isinstance(since, int | float) and since <= now_s else now_s
        if now_s - since_s >= grace_s:
            (place / name).unlink(missing_ok=True)
        else:
            leaving[name] = since_s
    if leaving != before:
        replace_file(place / _LEAVING, json.dumps(leaving).encode() + b"\n")
