# SPDX-License-Identifier: GPL-3.0-or-later
"""The drop-ins of gtfs.conf(5) that ``gtfs mirror`` writes, and what is configured in their place. Any thread."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gtfs.collection.followed import FollowSettings
from gtfs.daemon.added import AddedRepositories
from gtfs.daemon.conf import Configuration, OptionsCheck, mirror_directory, read_configuration, real_path
from gtfs.daemon.places import Places
from gtfs.durable import replace_file
from gtfs.errors import Blame, GtfsError
from gtfs.feed import LATEST, FileFeed, parse_feed
from gtfs.repo.gitsyntax import quoted


class NotMirrored(GtfsError):
    """The directory, or the name, is that of something else; says what to do."""

    fault = Blame.USAGE


@dataclass(frozen=True)
class ConfiguredMirror:
    """A repository or a collection that the daemon is told to mirror; ``origin`` is where."""

    name: str
    source: str
    directory: Path
    options: tuple[str, ...]
    origin: str
    is_collection: bool = False
    trusted: frozenset[object] = frozenset()  # the keyrings and signers of a collection


def find_configured(places: Places, configuration: Configuration) -> list[ConfiguredMirror]:
    """All of them. Raises `BadList`, OSError."""
    try:
        added = AddedRepositories(places.added).all()
    except PermissionError:  # another user's, who runs the daemon
        added = []
    found = [ConfiguredMirror(w.name, w.source, w.directory, w.options, w.origin) for w in configuration.repositories]
    found += [ConfiguredMirror(w.name, w.source, w.directory, w.options, w.origin) for w in added]
    for c in (c for c in configuration.collections if isinstance(c, FollowSettings)):
        trusted = frozenset([*c.trust.keyrings, *c.trust.signers])
        origin = f"collection {c.name}"
        found.append(ConfiguredMirror(c.name, c.source, c.directory, tuple(c.options), origin, True, trusted))
    return found


def same_source(one: str, other: str) -> bool:
    """Whether two SOURCEs are one feed."""
    return one == other or _feed_of(one) == _feed_of(other)


def _feed_of(text: str) -> object:
    try:
        feed = parse_feed(text)
    except GtfsError:
        return text
    if isinstance(feed, FileFeed):
        return real_path(feed.path / LATEST if feed.path.is_dir() else feed.path)
    return feed


def configured_at(found: Sequence[ConfiguredMirror], source: str, directory: Path) -> ConfiguredMirror | None:
    """What is mirrored in this directory already, from this source; raises `NotMirrored` for another one."""
    place = real_path(directory)
    for mirror in found:
        if real_path(mirror.directory) == place:
            if same_source(mirror.source, source):
                return mirror
            raise NotMirrored(
                f"{directory} is {mirror.name} of {mirror.origin}, which mirrors {mirror.source}; give another DIR, or "
                "take that out of there and move the directory away"
            )
    return None


def drop_in(places: Places, name: str) -> Path:
    """The file that names a mirror."""
    return places.drop_ins / f"mirror-{name}.conf"


def ring_beside(path: Path) -> Path:
    """Where the ring lies by which the daemon makes a mirror for the first time."""
    return path.with_suffix(".gpg")


def drop_in_text(name: str, source: str, directory: Path, options: Sequence[str]) -> str:
    """What it says."""
    rows = [("source", source), ("directory", directory), *(("options", words) for words in options)]
    return f"[repository {quoted(name)}]\n" + "".join(f"\t{key} = {quoted(str(value))}\n" for key, value in rows)


def default_directory(mirrors: Path | None, name: str) -> Path:
    """Where a mirror goes that no place was given for: below ``mirrors``, None for the current directory."""
    return mirror_directory(Path.cwd() if mirrors is None else mirrors, name)


def write_drop_in(places: Places, check: OptionsCheck, path: Path, text: str, ring: bytes | None = None) -> bool:
    """Write it, unless it says so already; whether it did not. Raises `NotMirrored` where it cannot stand, OSError."""
    before = path.read_bytes() if path.exists() else None
    if before == os.fsencode(text) and ring is None:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    if ring is not None:
        replace_file(ring_beside(path), ring, mode=0o644)
    replace_file(path, os.fsencode(text), mode=0o644)
    if ring is None:
        ring_beside(path).unlink(missing_ok=True)
    trouble = next((t for t in read_configuration(places, check).troubles if t.path == path), None)
    if trouble is not None:
        if before is None:
            path.unlink()
        else:
            replace_file(path, before, mode=0o644)
        raise NotMirrored(f"it cannot be mirrored so: {trouble.reason}")
    return True
