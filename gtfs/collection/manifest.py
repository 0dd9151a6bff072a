# SPDX-License-Identifier: GPL-3.0-or-later
"""Grokmirror's ``manifest.js.gz`` and cgit's ``projects.list``: written beside a collection, and the first one read.

A manifest is signed by nobody: of one that is read the names count, and nothing else. Pure; any thread.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote, urlsplit

from gtfs.collection.document import ENTRIES, NAME_MARK, RepositoryEntry
from gtfs.collection.wanted import BadRepositoryName, check_names
from gtfs.errors import Blame, GtfsError
from gtfs.feed import BadFeed, FileFeed, parse_feed

UNPACKED_BYTES: Final = 64 << 20  # 100,000 repositories with long descriptions
_VALUES: Final = 16 * ENTRIES  # in all of it: two bytes may be one, and take a hundred, and time of all threads
_PARTS: Final = 64  # of a gzipped one, which has one as a rule
CATALOGUE_PLACE: Final = "/gtfs/catalogue/latest.asc"  # in a bare repository that a web server shows

_GZIP: Final = b"\x1f\x8b"


class BadManifest(GtfsError):
    """Bytes that are no manifest of grokmirror."""

    fault = Blame.DATA

    def __init__(self, reason: str) -> None:
        super().__init__(f"manifest refused: {reason}")
        self.reason = reason


def read_manifest(data: bytes) -> list[str]:
    """The names of the repositories that a manifest lists, gzipped or not, sorted; raises `BadManifest`."""
    data = _unpacked(data)
    if sum(map(data.count, (b"[", b"{", b","))) > _VALUES:
        raise BadManifest(f"over the limit manifest: more than {_VALUES} values")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadManifest(f"it is no JSON: {str(error)[:80]}") from None
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise BadManifest("it is no object of objects")
    if len(found) > ENTRIES:
        raise BadManifest(f"over the limit repositories: {len(found)} where {ENTRIES} are allowed")
    names = sorted({name.removeprefix("/") for name in found})
    try:
        check_names(names)
    except BadRepositoryName as error:
        raise BadManifest(str(error)) from None
    return names


def _unpacked(data: bytes) -> bytes:
    if not data.startswith(_GZIP):
        return data
    out, rest, parts = b"", data, 0
    while rest:  # members one after the other, as gzip has them
        if (parts := parts + 1) > _PARTS:
            raise BadManifest(f"over the limit manifest: more than {_PARTS} gzipped parts")
        stream = zlib.decompressobj(wbits=31)
        try:
            out += stream.decompress(rest, UNPACKED_BYTES + 1 - len(out))
        except zlib.error as error:
            raise BadManifest(f"it is damaged: {error}") from None
        if len(out) > UNPACKED_BYTES:
            raise BadManifest(f"over the limit manifest: more than {UNPACKED_BYTES} bytes unpacked")
        if not stream.eof:
            raise BadManifest("it ends in the middle")
        rest = stream.unused_data
    return out


def feed_beside(source: str, name: str, template: str | None) -> str:
    """The feed of a manifest's repository: by a template with `NAME_MARK`, else in the tree that the manifest tops."""
    quoted = quote(name, safe="/+")
    if template is not None:
        return template.replace(NAME_MARK, quoted)
    feed = parse_feed(source)
    if isinstance(feed, FileFeed):
        top = feed.path if feed.path.is_dir() else feed.path.parent
        return f"{top.absolute().as_uri()}/{quoted}{CATALOGUE_PLACE}"
    parts = urlsplit(source)
    if parts.scheme not in ("http", "https"):
        raise BadFeed(source, "a manifest comes from a file or a web server")
    place = f"{parts.path.rpartition('/')[0]}/{quoted}{CATALOGUE_PLACE}"
    return parts._replace(path=place, query="", fragment="").geturl()


def manifest_of(entries: Iterable[RepositoryEntry], fingerprints: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What grokmirror's manifest says of these; ``fingerprints`` are SHA-1 of each one's ``git show-ref``."""
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        said: dict[str, Any] = {"description": entry.description, "modified": entry.date_s, "reference": None}
        if entry.head is not None:
            said["head"] = f"ref: {entry.head.decode('utf-8', 'replace')}"
        if entry.name in fingerprints:
            said["fingerprint"] = fingerprints[entry.name]
        found[f"/{entry.name}"] = said
    return found


def pack_manifest(found: dict[str, dict[str, Any]]) -> bytes:
    """The file of a manifest: the same bytes for the same contents."""
    return gzip.compress(json.dumps(found, indent=1, sort_keys=True).encode() + b"\n", mtime=0)


def projects_of(entries: Iterable[RepositoryEntry]) -> bytes:
    """The file of cgit's list: a path in each line."""
    return b"".join(entry.name.encode() + b"\n" for entry in entries)
