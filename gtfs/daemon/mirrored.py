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
from gtfs.durable import make_for_all, replace_file
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
    """Write it, unless it says so already; whether it did not.

    Raises `NotMirrored` where it cannot stand, or another could not beside it, and then all is as before; OSError.
    """
    beside = ring_beside(path)
    before, ring_before = _bytes(path), _bytes(beside)
    if before == os.fsencode(text) and ring is None:
        return False
    known = {trouble.path for trouble in read_configuration(places, check).troubles} - {path}
    make_for_all(path.parent)
    try:
        if ring is not None:
            replace_file(beside, ring, for_all=True)
        replace_file(path, os.fsencode(text), for_all=True)
        troubles = read_configuration(places, check).troubles
        trouble = next((each for each in troubles if each.path not in known), None)
        if trouble is not None:
            what = "" if trouble.path == path else f"nothing of {trouble.path} would count: "
            raise NotMirrored(f"{path.name} cannot be written so: {what}{trouble.reason}")
    except BaseException:
        for place, was in ((path, before), (beside, ring_before)):
            if was is None:
                place.unlink(missing_ok=True)
            elif _bytes(place) != was:
                replace_file(place, was, for_all=True)
        raise
    if ring is None and str(beside) not in text:
        beside.unlink(missing_ok=True)
    return True


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
