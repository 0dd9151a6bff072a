# SPDX-License-Identifier: GPL-3.0-or-later
"""A ring that lives in a signed git repository, as Debian's keyring team keeps it (design.md §10, `gtfs trust follow`).

That repository is a mirror on this machine, and another node moves its refs by its own policy: only where that node
holds a ref is believed, and neither a push nor a ref file. What a tree brought goes with it; keys that were added by
hand stay. A tree that cannot be used leaves the ring as it is. One thread at a time, under the node's lock.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from gtfs.counted import counted
from gtfs.durable import replace_file
from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint, ObjectId
from gtfs.layout import Layout
from gtfs.reel.index import Index
from gtfs.repo.history import read_head
from gtfs.repo.repository import Repository, open_repository
from gtfs.state.config import Config
from gtfs.state.keytree import BadKeyTree, read_key_tree
from gtfs.state.state import State
from gtfs.trust.keyring import Keyring, freeze
from gtfs.trust.refnames import BadRefName, decode_name, encode_name

log = logging.getLogger(__name__)

_TOLD = 20  # files that were left out


class BadFollowing(GtfsError):
    """A ring cannot be followed as it was asked for; the text says what to do."""

    fault = Blame.SOURCE


class RingSource(NamedTuple):
    """Where a followed ring lives: a mirror, a ref that its node holds, and files or directories in the tree."""

    repository: Path
    ref: bytes
    paths: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """As JSON shows it."""
        return {"repository": str(self.repository), "ref": encode_name(self.ref), "paths": list(self.paths)}


@dataclass(frozen=True)
class Followed:
    """What following has come to, kept in a file: the ``keys`` are those that are in the ring by it alone.

    ``removed`` are those that the user took out: they do not come back.
    """

    commit: str | None = None  # from which the ring was frozen, in hexadecimal
    tried: str | None = None  # that was frozen, or whose tree is not fit for it: it is not looked at again
    trouble: str | None = None
    left_out: tuple[str, ...] = ()
    keys: frozenset[Fingerprint] = frozenset()
    removed: frozenset[Fingerprint] = frozenset()


def read_source(config: Config) -> RingSource | None:
    """What the settings name; None without, raises `BadFollowing`."""
    repository, ref = config.get("ringrepository"), config.get("ringref")
    if repository is None:
        return None
    try:
        name = decode_name(ref or "")
    except BadRefName as error:
        raise BadFollowing(f"gtfs.ringref: {error.reason}") from None
    return RingSource(Path(repository), name, tuple(config.get_all("ringpath")))


def read_followed(layout: Layout) -> Followed:
    """The record; raises `BadFollowing`, OSError."""
    try:
        found: dict[str, Any] = json.loads(layout.followed_ring.read_bytes())
        sets = {name: frozenset(map(Fingerprint, found.pop(name))) for name in ("keys", "removed")}
        return Followed(**{**found, **sets, "left_out": tuple(found.pop("left_out"))})
    except FileNotFoundError:
        return Followed()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadFollowing(f"{layout.followed_ring} cannot be read: gtfs trust REPO follow writes it anew") from None


def _write(layout: Layout, record: Followed) -> None:
    found = asdict(record) | {"keys": sorted(record.keys), "removed": sorted(record.removed)}
    replace_file(layout.followed_ring, json.dumps(found, indent=1).encode() + b"\n")


def follow(state: State, repository: Path, ref: str | None, paths: Sequence[str]) -> dict[str, Any]:
    """Follow a ring from now on, if it can be; gives what it brought.

    Raises `BadFollowing`, `BadKeyTree`, `BadKeyring`, `BadRepository`, `GnupgNotRun`, GitFailed, `IndexUnusable`,
    OSError.
    """
    opened, source = ring_source(state, repository, ref, paths)
    name = source.ref
    record = replace(_record(state.layout), removed=frozenset())  # who follows anew means all of it
    before = _digest(state)
    record = _freeze(state, source, record, held_commit(opened, name), opened)
    for setting, values in (("ringrepository", [str(opened.path)]), ("ringref", [encode_name(name)])):
        state.config.set(setting, *values)
    state.config.set("ringpath", *source.paths)
    return {**_describe(source, record), "keys": len(record.keys), "changed": before != _digest(state)}


def ring_source(state: State, repository: Path, ref: str | None, paths: Sequence[str]) -> tuple[Repository, RingSource]:
    """What is to be followed; raises `BadFollowing`, `BadRepository`, GitFailed."""
    opened = open_repository(repository)
    if opened.path == state.repository.path:
        raise BadFollowing("a repository cannot follow a ring in itself: who may change it is what the ring is to say")
    if ref is not None:
        try:
            name = decode_name(ref)
        except BadRefName as error:
            raise BadFollowing(f"--ref: {error.reason}") from None
    else:
        name = read_head(opened) or b""
    return opened, RingSource(opened.path, name, tuple(dict.fromkeys(paths)))


def _record(layout: Layout) -> Followed:
    try:
        return read_followed(layout)
    except BadFollowing:
        return Followed()


def stop_following(state: State) -> dict[str, Any]:
    """Follow no ring any more; its keys stay, as if they had been added by hand. Raises `BadFollowing`, OSError."""
    source = read_source(state.config)
    if source is None:
        raise BadFollowing("no ring is followed here")
    for setting in ("ringrepository", "ringref", "ringpath"):
        state.config.set(setting)
    record = _record(state.layout)
    state.layout.followed_ring.unlink(missing_ok=True)
    return {**source.describe(), "keys": len(record.keys)}


def held_commit(repository: Repository, ref: bytes) -> ObjectId:
    """Where that repository's own node holds the ref; raises `BadFollowing`, `IndexUnusable`."""
    path = repository.layout.index
    if not path.exists():
        raise BadFollowing(f"{repository.path} is no mirror of gtfs: its refs are moved by nobody's policy")
    with Index(path, read_only=True) as index:
        oid = index.refs.held().get(ref)
    if oid is None:
        raise BadFollowing(f"{repository.path} holds no {encode_name(ref)}: has its node followed a catalogue with it?")
    return oid


class RingFollower:
    """Freezes the ring again when the followed ref has moved; one for each node."""

    def __init__(self) -> None:
        self._opened: Repository | None = None
        self.has_failed = False  # the last look, by what may be over some time

    def look(self, state: State) -> bool:
        """Whether the ring is another one than before. What hinders it is told in the status, and tried again at the
        next look, unless the tree itself is at fault. Raises OSError.
        """
        self.has_failed = True
        record, before = _record(state.layout), _digest(state)
        try:
            source = read_source(state.config)
            if source is not None:
                repository = self._repository(source.repository)
                oid = held_commit(repository, source.ref)
                if oid.hex() != record.tried:
                    _freeze(state, source, record, oid, repository)
            self.has_failed = False
        except (GtfsError, OSError) as error:
            # What is not the tree's own fault, such as a full disk, is over some time: then it is looked at again.
            tried = oid.hex() if isinstance(error, BadKeyTree) and error.fault.is_refusal else None
            self.has_failed = tried is None
            if (tried, str(error)) != (record.tried, record.trouble):
                log.warning("the ring that is followed stays as it is: %s", error)
                _write(state.layout, replace(_record(state.layout), tried=tried, trouble=str(error)))
        return before != _digest(state)

    def _repository(self, path: Path) -> Repository:
        if self._opened is None or self._opened.path != path:
            self._opened = open_repository(path)
        return self._opened


def _digest(state: State) -> bytes | None:
    return None if state.keyring is None else state.keyring.digest


def _freeze(state: State, source: RingSource, record: Followed, oid: ObjectId, repository: Repository) -> Followed:
    """Freeze the keys of the tree in the place of those that the record names; gives the record of it, written.

    Raises `BadKeyTree`, `BadKeyring`, `GnupgNotRun`, GitFailed, OSError; then nothing has changed.
    """
    found = read_key_tree(repository, oid, source.paths)
    before, layout = state.keyring, state.layout
    keys = {f: key for f, key in found.keys.items() if f not in record.removed}
    if not keys:
        raise BadKeyTree("there is no key in it")
    named_only = before.named_only if before is not None else frozenset()
    by_hand = (before.primaries if before is not None else frozenset()) - record.keys
    # A key that catalogues need does not go, but counts for them alone.
    kept = _needed(state, before, record.keys - keys.keys())
    brought = keys.keys() - (by_hand - named_only)
    # A crash after the ring was written must not make keys of the tree the user's own; the next look begins anew.
    meant = replace(record, tried=None, keys=record.keys | brought)
    if meant != record:  # else it was tried before
        _write(layout, meant)
    freeze(keys, layout.keyring, before=before, stay=by_hand | kept, left=layout.left_keys)
    state.use_keyring((named_only - keys.keys()) | kept)
    lost = [f"{f} is no longer in it, and stays as it signs the catalogues" for f in sorted(kept)]
    record = replace(
        record,
        commit=oid.hex(),
        tried=oid.hex(),
        trouble=None,
        left_out=(*found.left_out[:_TOLD], *lost),
        keys=frozenset(brought | kept),
    )
    _write(layout, record)
    log.info("the ring was frozen from %s of %s: %s", oid.hex(), source.repository, counted(len(keys), "key"))
    return record


def _needed(state: State, before: Keyring | None, gone: Collection[Fingerprint]) -> frozenset[Fingerprint]:
    """Those of the keys that would go without which no catalogue is believed."""
    held, own = state.held, state.own_key()
    signers = set() if held is None else {*held.catalogue.signers, *held.catalogue.freshness}
    here = before.primaries if before is not None else frozenset()
    return frozenset(gone) & here & ({own, *signers} if own is not None else signers)


def note_added(layout: Layout, keys: Collection[Fingerprint]) -> None:
    """Keys that the user added stay, whatever the followed tree does. Raises OSError."""
    record = _record(layout)
    if layout.followed_ring.exists():
        _write(layout, replace(record, keys=record.keys - set(keys), removed=record.removed - set(keys)))


def note_removed(layout: Layout, keys: Collection[Fingerprint]) -> None:
    """Keys that the user removed do not come back from the followed tree. Raises OSError."""
    record = _record(layout)
    if layout.followed_ring.exists():
        _write(layout, replace(record, keys=record.keys - set(keys), removed=record.removed | set(keys)))


def describe_followed(state: State) -> dict[str, Any] | None:
    """The followed ring in a status; None without one."""
    try:
        source = read_source(state.config)
        return None if source is None else _describe(source, read_followed(state.layout))
    except (BadFollowing, OSError) as error:
        return {"repository": None, "ref": None, "paths": [], "commit": None, "trouble": str(error), "left_out": []}


def _describe(source: RingSource, record: Followed) -> dict[str, Any]:
    return {
        **source.describe(),
        "commit": record.commit,
        "trouble": record.trouble,
        "left_out": list(record.left_out),
    }
