# SPDX-License-Identifier: GPL-3.0-or-later
"""A publisher's collection: its settings, and the next version of it, signed, judged as mirrors do, and kept.

Blocking; any thread. Signing may ask the user for a passphrase.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gtfs.catalogue.accept import Believed
from gtfs.catalogue.cosign import roles
from gtfs.catalogue.issue import keep_statement, sign_together
from gtfs.catalogue.statementstore import StatementStore
from gtfs.collection.believed import KEPT
from gtfs.collection.document import NAME_MARK, Collection, RepositoryEntry, Signing, read_collection
from gtfs.collection.found import FoundRepositories, Lines, find_published
from gtfs.collection.manifest import CATALOGUE_PLACE, manifest_of, pack_manifest, projects_of
from gtfs.collection.mirrors import most_absent
from gtfs.collection.places import CollectionPlaces, out_files
from gtfs.durable import make_directory, make_for_all, replace_file
from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint, parse_fingerprint
from gtfs.state.bell import make_bell
from gtfs.state.feedkey import make_feed_key
from gtfs.trust.gpgv import FUTURE_S
from gtfs.trust.keyring import choose, freeze, open_keyring, read_user_keys
from gtfs.trust.sign import Signer

VALID_DAYS: Final = 30
LONGEST_DAYS: Final = 3650
PROGRESS_S: Final = 3600  # before a daemon lists what is only another version of a repository
_DAY_S: Final = 24 * 3600
_RENEW_LEFT: Final = 0.5  # of the validity, as of a catalogue's
_FORMAT: Final = 1
_TOGETHER: Final = "a list is signed in one go: publish where all of them are, cards too"


class NoCollection(GtfsError):
    """A directory that is no collection's, or settings that cannot be used; the text says what to do."""

    fault = Blame.USAGE


class LosesMany(GtfsError):
    """The next version would list so much less that mirrors would wait for a person: so does the publisher."""

    fault = Blame.USAGE


class ListBusy(GtfsError):
    """Somebody else publishes the list just now."""

    fault = Blame.BUSY

    def __init__(self) -> None:
        super().__init__("another process publishes the list just now")


@dataclass(frozen=True)
class PublisherSettings:
    """What `gtfs collection init` was told; ``feeds`` have `NAME_MARK` where a repository's name goes."""

    name: str
    sign_key: Fingerprint
    gnupg_home: str | None = None
    feeds: tuple[str, ...] = ()
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    valid_days: int = VALID_DAYS
    out: str | None = None  # None: the directory itself
    repositories: dict[str, Any] | None = None  # what `gtfs init --collection` was told of each; None: it was not
    signers: tuple[Fingerprint, ...] = ()  # whom the list names; none: ``sign_key`` alone
    threshold: int = 1  # how many of them must sign

    @property
    def named(self) -> tuple[Fingerprint, ...]:
        """Whose signatures the next version counts by."""
        return self.signers or (self.sign_key,)

    def write(self, path: Path) -> None:
        """Keep them. Raises OSError."""
        found = {"format": _FORMAT, **dataclasses.asdict(self)}
        replace_file(path, json.dumps(found, indent=1, sort_keys=True).encode() + b"\n")


@dataclass(frozen=True)
class PublishedCollection:
    """What a publish did, or with ``--dry-run`` would do."""

    name: str
    version: int
    is_new: bool
    entries: int
    files: tuple[Path, ...]
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**dataclasses.asdict(self), "files": [str(path) for path in self.files]}


def read_settings(directory: Path) -> PublisherSettings:
    """Those of the collection of a directory; raises `NoCollection`, OSError."""
    path = CollectionPlaces.of_publisher(directory).settings
    try:
        found = json.loads(path.read_bytes())
        if found.pop("format") != _FORMAT:
            raise ValueError("it is of a newer gtfs")
        lists = {key: tuple(found[key]) for key in ("feeds", "include", "exclude")}
        lists["signers"] = tuple(parse_fingerprint(text) for text in found.get("signers", ()))
        return PublisherSettings(**{**found, **lists, "sign_key": parse_fingerprint(found["sign_key"])})
    except FileNotFoundError:
        hint = f"run: gtfs collection init {directory} --name NAME --sign-key FINGERPRINT"
        raise NoCollection(f"{directory} is no collection; {hint}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NoCollection(f"{path} cannot be read ({error}); run gtfs collection init again") from None


def default_feeds(directory: Path, url: str | None) -> tuple[str, ...]:
    """Where the repositories' catalogues are found: below the address of a web server that shows the directory."""
    top = directory.absolute().as_uri() if url is None else url.rstrip("/")
    return (f"{top}/{NAME_MARK}{CATALOGUE_PLACE}",)


def init_collection(directory: Path, settings: PublisherSettings) -> None:
    """Make a directory a collection's, or change its settings, with the key tried once.

    Raises `NoCollection`, `BadCollection`, `SigningFailed`, `BadKeyring`, OSError.
    """
    places = CollectionPlaces.of_publisher(directory)
    _next(settings, None, (), int(time.time())).to_text()
    home = None if settings.gnupg_home is None else Path(settings.gnupg_home)
    named = list(dict.fromkeys((settings.sign_key, *settings.named)))
    own = choose(named, read_user_keys(named, home), "of GnuPG")
    Signer(settings.sign_key, home).clearsign("gtfs collection init tries this key\n")
    make_directory(places.layout.root)
    with _one_at_a_time(places):
        if places.settings.exists():
            known = read_settings(directory).name
            if known != settings.name:
                raise NoCollection(f"{directory} is named {known} already; mirrors know it by that name")
        before = open_keyring(places.layout.keyring) if places.layout.keyring.exists() else None
        stay = () if before is None else before.primaries
        freeze(own, places.layout.keyring, before=before, stay=stay, left=places.layout.left_keys)
        settings.write(places.settings)


def publish_collection(
    directory: Path, *, force: bool = False, dry_run: bool = False, by_daemon: bool = False, known: Lines | None = None
) -> PublishedCollection:
    """List what is published below a directory, and sign that if it is news, or the version before lasts no more.

    A daemon waits for nobody, and that a listed repository has published again is news to it once an hour. For
    ``known`` see `find_published`. Raises `LosesMany` unless ``force``, `NoCollection`, `BadCollection`, `ListBusy`,
    `CatalogueRefused`, `SigningFailed`, `TooFewKeys`, `DamagedStore`, OSError.
    """
    places, settings = CollectionPlaces.of_publisher(directory), read_settings(directory)
    out = directory if settings.out is None else Path(settings.out)
    with _one_at_a_time(places, waits=not by_daemon):
        store, now_s = _store(places), int(time.time())
        held = store.highest()
        listed = frozenset() if held is None else frozenset(entry.name for entry in held.catalogue.entries)
        found = find_published(directory, settings.feeds, settings.include, settings.exclude, known, listed)
        new = _next(settings, held, found.entries, now_s)
        if settings.repositories is not None and not dry_run:  # there is a daemon to ring it
            bell_key = make_feed_key(places.layout.bell_key)
            new = dataclasses.replace(new, bell=make_bell(bell_key, new.repository, new.version)[1])
        text = new.to_text()
        is_first = held is None and bool(found.entries or not by_daemon)  # a daemon may be quicker than the first node
        is_new = force or is_first or (held is not None and not _is_good(held.catalogue, new, now_s, is_lazy=by_daemon))
        done = _published(new if is_new or held is None else held.catalogue, held, is_new, found, out)
        if not force:
            _refuse_loss(directory, held, done.removed)
        if dry_run or (held is None and not is_new):
            return done
        if is_new:
            home = None if settings.gnupg_home is None else Path(settings.gnupg_home)
            needed = roles(None if held is None else held.catalogue, new.signers, new.threshold)
            document = sign_together(text, needed, settings.sign_key, home, asks=not by_daemon, otherwise=_TOGETHER)
            held = keep_statement(store, new, text, document, open_keyring(places.layout.keyring), now_s)
        assert held is not None
        _write_out(places, out, held.document, found)
    return done


def held_collection(directory: Path) -> Believed[Collection] | None:
    """The version that was published last; raises `NoCollection`, `DamagedStore`, OSError."""
    read_settings(directory)
    return _store(CollectionPlaces.of_publisher(directory)).highest()


def _store(places: CollectionPlaces) -> StatementStore[Collection]:
    return StatementStore(places.layout.catalogue, read_collection, kept=KEPT)


def _next(
    settings: PublisherSettings,
    held: Believed[Collection] | None,
    entries: Sequence[RepositoryEntry],
    now_s: int,
) -> Collection:
    return Collection(
        repository=settings.name,
        version=1 if held is None else held.catalogue.version + 1,
        previous=None if held is None else held.digest,
        date_s=now_s,
        valid_until_s=now_s + settings.valid_days * _DAY_S,
        signers=settings.named,
        threshold=settings.threshold,
        feeds=settings.feeds,
        signing=Signing((settings.sign_key,)),
        entries=tuple(entries),
    )


def _is_good(held: Collection, new: Collection, now_s: int, *, is_lazy: bool) -> bool:
    """Whether the held version says what ``new`` would, and will do so for long enough."""
    same = dataclasses.replace(new, version=held.version, previous=held.previous, raced=held.raced)
    same = dataclasses.replace(same, date_s=held.date_s, valid_until_s=held.valid_until_s)
    same = dataclasses.replace(same, bell=held.bell or new.bell)  # another one of the same publisher is no news
    if is_lazy and 0 <= now_s - held.date_s < PROGRESS_S:
        same = dataclasses.replace(same, entries=_without_progress(held.entries, new.entries))
    is_long = held.valid_until_s - now_s > _RENEW_LEFT * (new.valid_until_s - new.date_s)
    return same == held and is_long and held.date_s <= now_s + FUTURE_S


def _without_progress(held: Sequence[RepositoryEntry], new: Sequence[RepositoryEntry]) -> tuple[RepositoryEntry, ...]:
    """The new lines with what each publish changes as the held ones have it: mirrors act upon nothing of it."""
    before = {entry.name: entry for entry in held}
    return tuple(
        entry
        if (old := before.get(entry.name)) is None
        else dataclasses.replace(entry, version=old.version, date_s=old.date_s, reel=old.reel, head=old.head)
        for entry in new
    )


def _refuse_loss(directory: Path, held: Believed[Collection] | None, removed: Sequence[str]) -> None:
    """A disk that is not mounted, or a glob that was mistyped, is no reason to sign. Raises `LosesMany`."""
    count = 0 if held is None else len(held.catalogue.entries)
    if len(removed) > most_absent(count):
        raise LosesMany(
            f"{len(removed)} of {count} repositories are not below {directory} any more, {removed[0]} first; if that "
            f"is meant: gtfs collection publish --force {directory}"
        )


def _published(
    new: Collection, held: Believed[Collection] | None, is_new: bool, found: FoundRepositories, out: Path
) -> PublishedCollection:
    old = {} if held is None else {entry.name: entry for entry in held.catalogue.entries}
    now = {entry.name: entry for entry in new.entries}
    return PublishedCollection(
        new.repository, new.version, is_new, len(now), out_files(out),
        added=[name for name in now if name not in old],
        changed=[name for name in now if name in old and old[name] != now[name]],
        removed=[name for name in old if name not in now],
        left_out=found.left_out,
    )  # fmt: skip


def _write_out(places: CollectionPlaces, out: Path, document: bytes, found: FoundRepositories) -> None:
    """The files that a web server shows, the signed one first. Raises OSError."""
    make_for_all(out)
    manifest = pack_manifest(manifest_of(found.entries, _fingerprints(places, found)))
    for path, data in zip(out_files(out), (document, manifest, projects_of(found.entries)), strict=True):
        if not path.exists() or path.read_bytes() != data:
            replace_file(path, data, for_all=True)


def _fingerprints(places: CollectionPlaces, found: FoundRepositories) -> dict[str, str]:
    """As grokmirror reckons them; git is asked only about those that have published since."""
    try:
        known = json.loads(places.published.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        known = {}
    said: dict[str, list[Any]] = {}
    for entry in found.entries:
        before = known.get(entry.name)
        if isinstance(before, list) and before[:1] == [entry.version] and before[1:]:
            said[entry.name] = before
            continue
        refs = found.repositories[entry.name].git("show-ref", check=False)
        if refs:
            said[entry.name] = [entry.version, hashlib.sha1(refs, usedforsecurity=False).hexdigest()]
    if said != known:
        replace_file(places.published, json.dumps(said).encode() + b"\n")
    return {name: str(value[1]) for name, value in said.items()}


@contextlib.contextmanager
def _one_at_a_time(places: CollectionPlaces, *, waits: bool = True) -> Iterator[None]:
    """Wait for whoever publishes just now, as hooks of several repositories do at once; raises `ListBusy`, OSError."""
    fd = os.open(places.layout.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            raise ListBusy from None
        yield
    finally:
        os.close(fd)
