# SPDX-License-Identifier: GPL-3.0-or-later
"""A feed as a user or a catalogue writes it: where a newer catalogue may be found (design.md §6). Nobody is asked here.

Any thread; `gtfs.swarm.feeds` asks.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from gtfs.errors import Blame, GtfsError

LATEST: Final = "latest.asc"  # the catalogue in a directory of them
CHUNKS: Final = "chunks"  # the directory beside a catalogue that has what it names
_DOCUMENT: Final = ".asc"
_FRESHNESS: Final = ".fresh.asc"  # beside X.asc, what was said of its freshness
SALT_BYTES: Final = 64  # BEP 44
_KEY: Final = re.compile(r"[0-9A-Fa-f]{64}")


class BadFeed(GtfsError):
    """Text that is no feed; ``feed`` is the text."""

    fault = Blame.USAGE

    def __init__(self, feed: str, reason: str) -> None:
        super().__init__(f"feed {feed}: {reason}")
        self.feed = feed
        self.reason = reason


@dataclass(frozen=True)
class FileFeed:
    """A catalogue file, or a directory with ``latest.asc``."""

    text: str
    path: Path


@dataclass(frozen=True)
class HttpFeed:
    """A catalogue under an http or https URL."""

    text: str
    url: str


@dataclass(frozen=True)
class DhtFeed:
    """A publisher's pointer in the DHT: ``gtfs:KEY`` or ``gtfs:KEY/NAME``, the key in hex."""

    text: str
    key: bytes
    salt: bytes


Feed = FileFeed | HttpFeed | DhtFeed


def parse_feed(text: str) -> Feed:
    """A feed from what a user or a catalogue wrote: a path, a ``file:``, ``http:`` or ``https:`` URL, or ``gtfs:``."""
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if scheme in ("http", "https") and colon:
        try:
            parts = urlsplit(text)
            has_host = bool(parts.hostname) and parts.port != 0
        except ValueError as error:
            raise BadFeed(text, str(error)) from None
        if not has_host:
            raise BadFeed(text, "the URL names no host")
        return HttpFeed(text, text)
    if scheme == "gtfs" and colon:
        return _parse_dht(text, rest)
    if scheme == "file" and colon:
        return _parse_file(text)
    if colon and rest.startswith("//"):
        raise BadFeed(text, f"the scheme {scheme!r} is not one of file, http, https, gtfs")
    if not text:
        raise BadFeed(text, "it is empty")
    return FileFeed(text, Path(text))


def url_host(feed: FileFeed | HttpFeed) -> str | None:
    """The host that is asked, in lower case; None for a file."""
    return None if isinstance(feed, FileFeed) else (urlsplit(feed.url).hostname or "").rstrip(".")


def freshness_feed(feed: Feed) -> Feed | None:
    """Where the freshness statement lies that belongs to a feed's catalogue; None where there is no such place."""
    if isinstance(feed, FileFeed):
        path = feed.path / LATEST if feed.path.is_dir() else feed.path
        if path.name.endswith(_DOCUMENT):
            return FileFeed(feed.text, path.with_name(path.name.removesuffix(_DOCUMENT) + _FRESHNESS))
    elif isinstance(feed, HttpFeed):
        parts = urlsplit(feed.url)
        if parts.path.endswith(_DOCUMENT):
            path_there = parts.path.removesuffix(_DOCUMENT) + _FRESHNESS
            return HttpFeed(feed.text, parts._replace(path=path_there).geturl())
    return None


def chunk_feed(feed: FileFeed | HttpFeed, digest: str) -> FileFeed | HttpFeed:
    """Where a chunk lies that a feed's catalogue names: in the directory ``chunks`` beside it. ``digest`` is hex."""
    if isinstance(feed, FileFeed):
        directory = feed.path if feed.path.is_dir() else feed.path.parent
        return FileFeed(feed.text, directory.joinpath(CHUNKS, digest))
    parts = urlsplit(feed.url)
    path = f"{parts.path.rpartition('/')[0]}/{CHUNKS}/{digest}"
    return HttpFeed(feed.text, parts._replace(path=path, fragment="").geturl())


def _parse_file(text: str) -> FileFeed:
    try:
        parts = urlsplit(text)
        path = os.fsdecode(unquote_to_bytes(os.fsencode(parts.path)))
    except ValueError as error:  # a host in brackets that is none, or characters that no file name has
        raise BadFeed(text, str(error)) from None
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise BadFeed(text, "a file URL has the form file:///absolute/path")
    if "\0" in path:
        raise BadFeed(text, "no file has this name")
    return FileFeed(text, Path(path))


def _parse_dht(text: str, rest: str) -> DhtFeed:
    key, slash, name = rest.partition("/")
    try:
        salt = unquote(name).encode()
    except UnicodeEncodeError:
        raise BadFeed(text, "its name is no UTF-8") from None
    if _KEY.fullmatch(key) is None or (slash and not salt):
        raise BadFeed(text, "it has the form gtfs:KEY or gtfs:KEY/NAME, with a key of 64 hex digits")
    if len(salt) > SALT_BYTES:
        raise BadFeed(text, f"over the limit of {SALT_BYTES} bytes for a name")
    return DhtFeed(text, bytes.fromhex(key), salt)


def seed_url(base: str, file_name: str) -> str:
    """Where a file of a web seed lies: ``base`` is the address of the directory, with or without a slash at its end."""
    return f"{base.rstrip('/')}/{file_name}"
