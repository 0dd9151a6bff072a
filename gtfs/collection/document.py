# SPDX-License-Identifier: GPL-3.0-or-later
"""A collection's text: a publisher's list of repositories, written one way and read strictly. Pure; any thread.

One deb822 stanza like a catalogue's, with a line for each repository (gtfs-collection(5)). It says nothing about
signatures, nor about whether to believe it: both are `gtfs.catalogue.accept`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from gtfs.catalogue.refchunks import BadCatalogue
from gtfs.catalogue.statement import SIGNERS, VERSIONS, Fields, Statement, bad, matching, read_statement
from gtfs.collection.wanted import BadRepositoryName, check_names
from gtfs.feed import BadFeed, FileFeed, parse_feed
from gtfs.ids import Fingerprint, InfoHash
from gtfs.trust.refnames import BadRefName, check_ref_name, decode_name, encode_name
from gtfs.trust.stanza import BadStanza, one_line, read_stanza, write_stanza, write_time

FORMAT: Final = "gtfs-collection-1"
_MARK: Final = b"\nFormat: " + FORMAT.encode("ascii") + b"\n"
_HEAD_BYTES: Final = 1024
TEXT_BYTES: Final = 16 << 20  # design.md §13
ENTRIES: Final = 100_000
FEEDS: Final = 8  # of one repository
FEED_BYTES: Final = 2048
FEEDS_BYTES: Final = 64 << 20  # of all entries, with the names in them
DESCRIPTION_BYTES: Final = 200
REEL_DIGITS: Final = 16  # of a reel's name, which has 64
NAME_MARK: Final = "{}"  # in ``Feeds``, where the name goes

_NONE: Final = "-"
_ENTRY = re.compile(
    r"(?P<name>[!-~]+) (?P<id>[A-Za-z0-9][A-Za-z0-9._+-]{0,127}) (?P<version>[1-9][0-9]{0,17})"
    r" (?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})Z (?P<reel>[0-9a-f]{16}|-)"
    r" (?P<keys>[!-~]+) (?P<feeds>[!-~]+) (?P<head>[!-~]+)(?: (?P<description>[!-~]+(?: [!-~]+)*))?\Z"
)
_KEYS = re.compile(r"(?:(?P<threshold>[1-9][0-9]?)/)?(?P<keys>(?:[0-9A-F]{40}|[0-9A-F]{64})(?:,[0-9A-F]{40,64})*)\Z")
_FINGERPRINT = re.compile(r"[0-9A-F]{40}(?:[0-9A-F]{24})?\Z")
_BELL = re.compile(r"[0-9a-f]{40}\Z")


def looks_like_collection(document: bytes) -> bool:
    """Whether to judge a document as a collection rather than as a catalogue; nothing is believed yet."""
    return _MARK in document[:_HEAD_BYTES]


class BadCollection(BadCatalogue):
    """A text that is no collection; ``field`` is where, "" for the text as a whole."""

    def __init__(self, reason: str, field: str = "") -> None:
        super().__init__(reason, field)
        self.args = (f"collection refused: {field + ': ' if field else ''}{reason}",)


@dataclass(frozen=True, slots=True)
class Signing:
    """So many of these keys sign a repository's first catalogue."""

    keys: tuple[Fingerprint, ...]
    threshold: int = 1

    def to_word(self) -> str:
        """As it is written."""
        return f"{self.threshold}/" * (self.threshold > 1) + ",".join(self.keys)


@dataclass(frozen=True, slots=True)
class RepositoryEntry:
    """One repository of a collection, as it was when that was signed."""

    name: str  # a path, as `check_name` takes it
    repository: str  # the id in its catalogues
    version: int  # of its catalogue, whose date is ``date_s``
    date_s: int
    signing: Signing
    feeds: tuple[str, ...]
    reel: str | None = None  # the first digits of the name of its first reel
    head: bytes | None = None
    description: str = ""


@dataclass(frozen=True)
class Collection(Statement):
    """One version of a publisher's list; ``entries`` by name.

    ``feeds`` have `NAME_MARK` where a name goes, and count, like ``signing``, for each entry that says nothing else.
    """

    feeds: tuple[str, ...] = ()
    signing: Signing | None = None
    entries: tuple[RepositoryEntry, ...] = ()
    bell: InfoHash | None = None  # as a catalogue's, where a daemon publishes it

    def to_text(self) -> str:
        """The one text of this collection; raises `BadCollection` if `read_collection` would not take it back."""
        fields: Fields = [("Format", FORMAT), *self.head_fields("Collection"), *self.signer_fields()]
        if self.bell is not None:
            fields.append(("Bell", self.bell.hex()))
        if self.feeds:
            fields.append(("Feeds", list(self.feeds)))
        if self.signing is not None:
            fields.append(("Keys", self.signing.to_word()))
        fields.append(("Repositories", [self._line(entry) for entry in self.entries]))
        try:
            text = write_stanza(fields)
        except BadStanza as error:
            raise BadCollection(error.reason) from None
        if read_collection(text.encode("ascii")) != self:
            raise BadCollection("it would not be read back as it is")
        return text

    def _line(self, entry: RepositoryEntry) -> str:
        usual = feeds_of(entry.name, self.feeds)
        has_usual = bool(usual) and entry.feeds[: len(usual)] == usual
        feeds = [_NONE] * has_usual + [f.replace(",", "%2C") for f in entry.feeds[len(usual) * has_usual :]]
        words = [
            encode_name(entry.name.encode()),
            entry.repository,
            str(entry.version),
            write_time(entry.date_s),
            entry.reel or _NONE,
            _NONE if entry.signing == self.signing else entry.signing.to_word(),
            ",".join(feeds),
            _NONE if entry.head is None else encode_name(entry.head),
        ]
        return " ".join((*words, *(encode_name(word.encode()) for word in entry.description.split(" ") if word)))


def feeds_of(name: str, feeds: tuple[str, ...]) -> tuple[str, ...]:
    """The feeds of a repository by those that have `NAME_MARK` where its name goes; raises `BadCollection`."""
    quoted = quote(name, safe="/+")
    if _longest(feeds, quoted) > FEED_BYTES:
        raise BadCollection(f"the feeds of {name[:80]!a} are over the limit of {FEED_BYTES} bytes", "Feeds")
    return tuple(feed.replace(NAME_MARK, quoted) for feed in feeds)


def _longest(feeds: tuple[str, ...], quoted: str) -> int:
    """Reckoned, and not made: with many marks and a long name it may be millions."""
    more = len(quoted) - len(NAME_MARK)
    return max((len(feed) + feed.count(NAME_MARK) * more for feed in feeds), default=0)


def plain_description(text: str) -> str:
    """What of a description a collection can say: one line that can be shown, not too long."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return shown.encode("utf-8", "replace")[:DESCRIPTION_BYTES].decode("utf-8", "ignore").rstrip()


def read_collection(text: bytes) -> Collection:
    """The collection in an extracted text. Unknown fields are ignored; raises `BadCollection`."""
    if len(text) > TEXT_BYTES:
        raise BadCollection(f"over the limit collection: {len(text)} bytes where {TEXT_BYTES} are allowed")
    try:
        values = read_stanza(text)
        if one_line(values, "Format") != FORMAT:
            bad(f"unknown format {one_line(values, 'Format')[:40]!r}; a newer gtfs may know it", "Format")
        return _read(values)
    except (BadCatalogue, BadStanza) as error:
        raise BadCollection(error.reason, getattr(error, "field", "")) from None


def _read(values: dict[str, list[str]]) -> Collection:
    feeds = tuple(values.get("feeds", []))
    if len(feeds) > FEEDS or len(set(feeds)) != len(feeds):
        bad(f"repeated, or over the limit of {FEEDS}", "Feeds")
    for feed in feeds:
        _check_feed(feed.replace(NAME_MARK, "name"), "Feeds")
    signing = _Signings().read(one_line(values, "Keys"), "Keys") if "keys" in values else None
    lines = values.get("repositories", [])
    if len(lines) > ENTRIES:
        bad(f"over the limit repositories: {len(lines)} where {ENTRIES} are allowed", "Repositories")
    reader = _Entries(feeds, signing)
    entries = tuple(map(reader.read, lines))
    if any(one.name >= other.name for one, other in pairwise(entries)):
        bad("a name is repeated or not in order", "Repositories")
    try:
        check_names([entry.name for entry in entries])
    except BadRepositoryName as error:
        bad(str(error), "Repositories")
    bell = InfoHash(bytes.fromhex(matching(values, "Bell", _BELL, "an infohash"))) if "bell" in values else None
    said = vars(read_statement(values, "Collection"))
    return Collection(**said, feeds=feeds, signing=signing, entries=entries, bell=bell)


def _check_feed(feed: str, name: str) -> None:
    try:
        parsed = parse_feed(feed)
    except (BadFeed, ValueError) as error:
        bad(str(error), name)
    if len(feed) > FEED_BYTES or (isinstance(parsed, FileFeed) and not feed.lower().startswith("file:")):
        bad(f"{feed[:80]!r} is no URL, or over the limit of {FEED_BYTES} bytes", name)


class _Signings:
    """Reads who signs; a hundred thousand lines mostly say the same few."""

    def __init__(self) -> None:
        self._known: dict[str, Signing] = {}

    def read(self, word: str, name: str) -> Signing:
        """Raises `BadCatalogue`."""
        known = self._known.get(word)
        if known is None:
            match = _KEYS.match(word)
            keys = match["keys"].split(",") if match else []
            threshold = int((match and match["threshold"]) or 1)
            if not keys or not all(map(_FINGERPRINT.match, keys)) or len(set(keys)) != len(keys):
                bad(f"{word[:60]!r} is not FINGERPRINT or NUMBER/FINGERPRINT,..., each different", name)
            if threshold > len(keys) or len(keys) > SIGNERS:
                bad(f"{threshold} signatures of {len(keys)} keys, of at most {SIGNERS}", name)
            known = self._known[word] = Signing(tuple(map(Fingerprint, keys)), threshold)
            if known.to_word() != word:
                bad(f"{word[:60]!r} is not written as it has to be", name)
        return known


class _Entries:
    """Reads the lines of ``Repositories``."""

    def __init__(self, feeds: tuple[str, ...], signing: Signing | None) -> None:
        self._feeds = feeds
        self._signing = signing
        self._signings = _Signings()
        self._feeds_bytes = 0  # so far
        self._heads: dict[str, bytes] = {}

    def read(self, line: str) -> RepositoryEntry:
        """Raises `BadCatalogue`."""
        match = _ENTRY.match(line)
        if match is None:
            bad(f"{line[:60]!r} is not NAME ID VERSION DATE REEL KEYS FEEDS HEAD DESCRIPTION", "Repositories")
        name, version = _text(match["name"]), int(match["version"])
        if version >= VERSIONS:
            bad(f"{version} is no number below 2^53", "Repositories")
        return RepositoryEntry(
            name,
            match["id"],
            version,
            _time(match["date"]),
            self._signing_of(match["keys"]),
            self._feeds_of(name, match["feeds"]),
            None if match["reel"] == _NONE else match["reel"],
            None if match["head"] == _NONE else self._head(match["head"]),
            _description(match["description"] or ""),
        )

    def _signing_of(self, word: str) -> Signing:
        if word != _NONE:
            return self._signings.read(word, "Repositories")
        return self._signing or bad("a repository without keys, and there is no field Keys", "Repositories")

    def _feeds_of(self, name: str, word: str) -> tuple[str, ...]:
        """The usual ones, of which the first word may be `_NONE`, and others."""
        first, comma, rest = word.partition(",")
        usual = feeds_of(name, self._feeds) if first == _NONE else ()
        others = tuple((rest if first == _NONE else word).split(",")) if comma or first != _NONE else ()
        for feed in others:
            _check_feed(feed, "Repositories")
        feeds = (*usual, *others)
        if not feeds or len(feeds) > 2 * FEEDS or len(set(feeds)) != len(feeds):
            bad(f"the feeds of {name[:80]!r} are none, repeated, or over the limit of {FEEDS}", "Repositories")
        self._feeds_bytes += sum(map(len, feeds))
        if self._feeds_bytes > FEEDS_BYTES:
            bad(f"over the limit feeds: more than {FEEDS_BYTES} bytes with the names in them", "Feeds")
        return feeds

    def _head(self, word: str) -> bytes:
        known = self._heads.get(word)
        if known is None:
            try:
                known = self._heads[word] = decode_name(word)
                check_ref_name(known)
            except BadRefName as error:
                bad(str(error), "Repositories")
        return known


def _text(spelled: str) -> str:
    """A text in the one spelling that it has."""
    try:
        return decode_name(spelled).decode()
    except (BadRefName, UnicodeDecodeError):
        bad(f"{spelled[:60]!r} is no UTF-8 that is spelled with %XX as it has to be", "Repositories")


def _description(words: str) -> str:
    if "%" not in words:
        return words if len(words) <= DESCRIPTION_BYTES else bad("a description is too long", "Repositories")
    text = unquote_to_bytes(words).decode("utf-8", "replace")
    spelled = " ".join(encode_name(word.encode()) for word in text.split(" "))
    if spelled != words or not text.isprintable() or len(text.encode()) > DESCRIPTION_BYTES:
        bad(f"the description {words[:60]!r} is too long, or cannot be shown", "Repositories")
    return text


def _time(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text + "+00:00").timestamp())
    except ValueError:
        bad(f"{text!r} is no time", "Repositories")
