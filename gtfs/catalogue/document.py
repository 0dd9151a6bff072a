# SPDX-License-Identifier: GPL-3.0-or-later
"""A catalogue's text: one deb822 stanza, written one way and read strictly. Pure functions, any thread.

It says nothing about signatures (`gtfs.trust.verify`) or about whether to believe it (`gtfs.catalogue.accept`).
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Self, TypeVar

from gtfs.catalogue.addresses import PUSH_FORM, TRACKER_SCHEMES, WEB_SEED_SCHEMES, is_address, is_push_url
from gtfs.catalogue.refchunks import BadCatalogue as BadCatalogue
from gtfs.catalogue.refchunks import read_refs, read_top, read_tree
from gtfs.catalogue.reftree import ChunkSource, RefTree, Top, chunk_line, plant, ref_line
from gtfs.catalogue.statement import Fields, Statement, bad, matching, read_statement
from gtfs.ids import (
    OBJECT_FORMATS,
    SHA1,
    BadId,
    InfoHash,
    ObjectFormat,
    ObjectId,
    ReelName,
    parse_object_id,
)
from gtfs.pack.account import Needs
from gtfs.trust.policy import BadPolicy, Policy, parse_policy
from gtfs.trust.refnames import BadRefName, check_ref_name, decode_name, encode_name
from gtfs.trust.stanza import BadStanza, one_line, read_stanza, write_stanza

FORMAT: Final = "gtfs-catalogue-1"
FORMAT_IN_CHUNKS: Final = "gtfs-catalogue-2"  # refs in chunks that the text names (gtfs.catalogue.reftree)
ENCODING: Final = "gtfs-pack-1"
TEXT_BYTES: Final = 16 << 20  # design.md §13
ADDRESSES: Final = 100  # trackers, and web seeds
POLICIES: Final = 1000
REEL_BYTES: Final = 32 << 30  # 2.5 MiB of piece hashes
TOTAL_BYTES: Final = 4 << 40  # a byte or two of memory for each piece
REELS: Final = 4096  # final ones of 256 MiB make 1 TiB; each is a torrent in the session

_NUMBER = re.compile(r"[1-9][0-9]{0,17}\Z")
_LIMIT = re.compile(r"[a-z][a-z_]{0,63}\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_INFOHASH = re.compile(r"[0-9a-f]{40}\Z")
_REEL = re.compile(r"([0-9a-f]{64}) ([0-9a-f]{40}) ([1-9][0-9]{0,17}) ([1-9][0-9]{0,8})\Z")

T = TypeVar("T")


@dataclass(frozen=True)
class ReelEntry:
    """One reel that the catalogue lists; size in bytes, rows the number of its commit packs."""

    name: ReelName
    infohash: InfoHash
    size: int
    rows: int


@dataclass(frozen=True)
class Catalogue(Statement):
    """One version of a publisher's statement on a repository; ``refs`` are sorted by name.

    ``top`` is what the text of one in format 2 says of its refs, ``tree`` their chunks; without the tree it is the text
    alone, and has no refs.
    """

    object_format: ObjectFormat = SHA1
    feed_key: str | None = None
    bell: InfoHash | None = None  # the torrent of which a piece comes into being with the next version (design.md §11)
    trackers: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()
    push_url: str | None = None  # where the publisher takes pushes: it is shown to people, and nothing is run with it
    policy: tuple[Policy, ...] = ()
    accepted_faults: tuple[ObjectId, ...] = ()  # sorted; objects that come in in spite of what is wrong with them
    head: bytes | None = None  # the ref that HEAD points to; it need not exist
    refs: dict[bytes, ObjectId] = field(default_factory=dict)
    reels: tuple[ReelEntry, ...] = ()
    unusable: dict[ReelName, str] = field(default_factory=dict)  # listed reels that no node can take, and why
    needs: Needs = field(default_factory=Needs)  # what a mirror's limits must be at least
    pruned: int | None = None  # the last version that left packs out which the one before it listed
    top: Top | None = None
    tree: RefTree | None = field(default=None, compare=False, repr=False)

    def why_another(self, held: Self) -> str | None:
        """See `Statement`; a repository's hash does not change."""
        if self.object_format is not held.object_format:
            why = f"it is of a {self.object_format.name} repository, not {held.object_format.name}"
            return super().why_another(held) or why
        return super().why_another(held)

    def to_text(self) -> str:
        """The one text of this catalogue; raises `BadCatalogue` if `from_text` would not take it back."""
        fields: Fields = [
            ("Format", FORMAT if self.top is None else FORMAT_IN_CHUNKS),
            *self.head_fields("Repository"),
            ("Object-Format", self.object_format.name),
            ("Encoding", ENCODING),
        ]
        if self.feed_key is not None:
            fields.append(("Feed-Key", self.feed_key))
        if self.bell is not None:
            fields.append(("Bell", self.bell.hex()))
        if self.trackers:
            fields.append(("Trackers", list(self.trackers)))
        if self.web_seeds:
            fields.append(("Web-Seeds", list(self.web_seeds)))
        if self.push_url is not None:
            fields.append(("Push-URL", self.push_url))
        if self.policy:
            fields.append(("Policy", [policy.to_line() for policy in self.policy]))
        needs = [f"{name} {least}" for name, least in self.needs._asdict().items() if least]
        if needs:
            fields.append(("Needs", needs))
        if self.accepted_faults:
            fields.append(("Accepted-Faults", [oid.hex() for oid in self.accepted_faults]))
        if self.pruned is not None:
            fields.append(("Pruned", str(self.pruned)))
        fields += self.signer_fields()
        if self.head is not None:
            fields.append(("Head", encode_name(self.head)))
        if self.top is None:
            refs = [ref_line(name, oid) for name, oid in sorted(self.refs.items())]
        else:
            refs = [chunk_line(chunk) for chunk in self.top.top]
            fields.append(("Ref-Chunks", f"{self.top.levels} {self.top.refs} {self.top.chunks} {self.top.size}"))
            if self.top.infohash is not None:
                fields.append(("Ref-Torrent", self.top.infohash.hex()))
        reels = [f"{reel.name} {reel.infohash.hex()} {reel.size} {reel.rows}" for reel in self.reels]
        fields += [("Refs", refs), ("Reels", reels)]
        try:
            text = write_stanza(fields)
        except BadStanza as error:
            raise BadCatalogue(error.reason) from None
        if text_alone(text.encode("ascii")) != (self if self.top is None else replace(self, refs={})):
            raise BadCatalogue("it would not be read back as it is")
        return text

    def in_chunks(self, known: RefTree | None) -> Catalogue:
        """The same in format 2, with what did not change from ``known``; raises `BadCatalogue`."""
        tree = plant(self.refs, known)
        top = tree.to_top(with_torrent=self.feed_key is not None)
        return with_refs(replace(self, top=top), lambda chunk: tree.data.get(chunk.digest), known)


def digest(text: bytes) -> str:
    """What ``Previous`` calls the catalogue of this text: ``gpg --decrypt FILE | sha256sum`` prints the same."""
    return hashlib.sha256(text).hexdigest()


def from_text(text: bytes, source: ChunkSource | None = None, known: RefTree | None = None) -> Catalogue:
    """The catalogue in an extracted text, with its refs. Unknown fields are ignored.

    Raises `BadCatalogue`, and `ChunksMissing` for chunks that neither ``source`` nor ``known`` has.
    """
    return with_refs(text_alone(text), source, known)


def with_refs(catalogue: Catalogue, source: ChunkSource | None = None, known: RefTree | None = None) -> Catalogue:
    """The whole of what `text_alone` gave; raises as `from_text` does."""
    if catalogue.top is None:
        return catalogue
    tree = read_tree(catalogue.top, source or (lambda _chunk: None), catalogue.object_format, known)
    return replace(catalogue, refs=tree.refs, tree=tree)


def text_alone(text: bytes) -> Catalogue:
    """What a text says by itself: in format 2 all but the refs. Raises `BadCatalogue`."""
    if len(text) > TEXT_BYTES:
        raise BadCatalogue(f"over the limit catalogue: {len(text)} bytes where {TEXT_BYTES} are allowed")
    try:
        values = read_stanza(text)
        if one_line(values, "Format") not in (FORMAT, FORMAT_IN_CHUNKS):
            bad(f"unknown format {one_line(values, 'Format')[:40]!r}; a newer gtfs may know it", "Format")
        if one_line(values, "Encoding") != ENCODING:
            bad(f"unknown encoding {one_line(values, 'Encoding')[:40]!r}; a newer gtfs may know it", "Encoding")
        return _read(values)
    except BadStanza as error:
        raise BadCatalogue(error.reason) from None


def _read(values: dict[str, list[str]]) -> Catalogue:
    def optional(name: str, read: Callable[[str], T]) -> T | None:
        return read(name) if name.lower() in values else None

    def infohash(name: str) -> InfoHash:
        return InfoHash(bytes.fromhex(matching(values, name, _INFOHASH, "an infohash")))

    object_format = OBJECT_FORMATS.get(one_line(values, "Object-Format"))
    if object_format is None:
        bad(f"unknown hash {one_line(values, 'Object-Format')[:40]!r}", "Object-Format")
    reels, unusable = _reels(values.get("reels", []), object_format)
    top: Top | None = None
    if one_line(values, "Format") == FORMAT_IN_CHUNKS:
        top = read_top(one_line(values, "Ref-Chunks"), values.get("refs", []), optional("Ref-Torrent", infohash))
    statement = read_statement(values, "Repository")
    pruned = optional("Pruned", lambda name: int(matching(values, name, _NUMBER, "a version number")))
    if pruned is not None and pruned > statement.version:
        bad(f"{pruned} is a later version than this one", "Pruned")
    return Catalogue(
        **vars(statement),
        object_format=object_format,
        feed_key=optional("Feed-Key", lambda name: matching(values, name, _DIGEST, "an ed25519 key in hex")),
        bell=optional("Bell", infohash),
        trackers=_addresses(values.get("trackers", []), TRACKER_SCHEMES, "Trackers"),
        web_seeds=_addresses(values.get("web-seeds", []), WEB_SEED_SCHEMES, "Web-Seeds"),
        push_url=optional("Push-URL", lambda name: _push_url(one_line(values, name), name)),
        policy=_policies(values.get("policy", [])),
        accepted_faults=_accepted_faults(values.get("accepted-faults", []), object_format),
        head=optional("Head", lambda name: _ref_name(one_line(values, name), name)),
        refs={} if top is not None else read_refs(values.get("refs", []), object_format),
        top=top,
        reels=reels,
        unusable=unusable,
        needs=_needs(values.get("needs", [])),
        pruned=pruned,
    )


def _addresses(lines: list[str], schemes: frozenset[str], name: str) -> tuple[str, ...]:
    if len(lines) > ADDRESSES or len(set(lines)) != len(lines):
        bad(f"repeated, or over the limit of {ADDRESSES}", name)
    for line in lines:
        if not is_address(line, schemes):
            bad(f"{line[:80]!r} is no {', '.join(sorted(schemes))} address", name)
    return tuple(lines)


def _push_url(text: str, name: str) -> str:
    if not is_push_url(text):
        bad(f"{text[:80]!r} is no {PUSH_FORM}", name)
    return text


def _policies(lines: list[str]) -> tuple[Policy, ...]:
    if len(lines) > POLICIES:
        bad(f"over the limit of {POLICIES} lines", "Policy")
    try:
        policies = tuple(parse_policy(line) for line in lines)
    except BadPolicy as error:
        bad(str(error), "Policy")
    if any(policy.kind == "local" for policy in policies):
        bad("the kind local is each node's own", "Policy")
    return policies


def _needs(lines: list[str]) -> Needs:
    found: dict[str, int] = {}
    for line in lines:
        name, _, least = line.partition(" ")
        if name in found or not _LIMIT.match(name) or not _NUMBER.match(least):
            bad(f"{line[:80]!r} is not a limit and a number, or repeated", "Needs")
        found[name] = int(least)
    # One that this version does not know is one that it does not hold packs to.
    return Needs(**{name: found[name] for name in Needs._fields if name in found})


def _accepted_faults(lines: list[str], object_format: ObjectFormat) -> tuple[ObjectId, ...]:
    try:
        oids = tuple(parse_object_id(line) for line in lines)
    except BadId as error:
        bad(str(error), "Accepted-Faults")
    if any(len(oid) != object_format.oid_bytes for oid in oids):
        bad(f"an id that is none of a {object_format.name} repository", "Accepted-Faults")
    if any(one >= other for one, other in itertools.pairwise(oids)):
        bad("an id is repeated or not in order", "Accepted-Faults")
    return oids


def _ref_name(text: str, name: str) -> bytes:
    try:
        ref = decode_name(text)
        check_ref_name(ref)
    except BadRefName as error:
        bad(str(error), name)
    return ref


def _least_bytes(rows: int, object_format: ObjectFormat) -> int:
    """The size of a reel of empty packs, gtfs-reel(5): each with a header, its trailer and a row; then the footer."""
    return rows * (12 + object_format.oid_bytes + object_format.oid_bytes + 8 + 32) + 48


def _reels(lines: list[str], object_format: ObjectFormat) -> tuple[tuple[ReelEntry, ...], dict[ReelName, str]]:
    """The reels that can be had, and why the others cannot."""
    reels = []
    for line in lines:
        match = _REEL.match(line)
        if match is None:
            bad(f"{line[:60]!r} is not NAME INFOHASH SIZE ROWS", "Reels")
        infohash = InfoHash(bytes.fromhex(match[2]))
        reels.append(ReelEntry(ReelName(match[1]), infohash, int(match[3]), int(match[4])))
    if len({reel.name for reel in reels}) != len(reels) or len({reel.infohash for reel in reels}) != len(reels):
        bad("a reel is repeated", "Reels")
    usable: list[ReelEntry] = []
    unusable: dict[ReelName, str] = {}
    room = TOTAL_BYTES
    for reel in reels:
        if reel.size > REEL_BYTES:
            unusable[reel.name] = f"over the limit reel: {reel.size} bytes where {REEL_BYTES} are allowed"
        elif reel.size < _least_bytes(reel.rows, object_format):
            unusable[reel.name] = f"{reel.size} bytes cannot hold {reel.rows} packs"
        elif len(usable) == REELS:
            unusable[reel.name] = f"over the limit reels: more than {REELS}"
        elif reel.size > room:
            unusable[reel.name] = f"over the limit reels: more than {TOTAL_BYTES} bytes together"
        else:
            usable.append(reel)
            room -= reel.size
    return tuple(usable), unusable
