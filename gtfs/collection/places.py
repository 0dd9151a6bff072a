# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a collection's files lie, its publisher's and its followers'. Paths only: nothing is made; any thread."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from gtfs.layout import Layout

COLLECTION_FILE: Final = "collection.asc"
MANIFEST_FILE: Final = "manifest.js.gz"
PROJECTS_FILE: Final = "projects.list"
_PUBLISHER: Final = ".gtfs-collection"  # no name of a repository begins with a dot
_GONE: Final = ".gone"
_ASIDE_BYTES: Final = 200  # of a name there; digits are added
_RING_SUFFIX: Final = ".gpg"


class CollectionPlaces:
    """The paths below ``root``, where a follower, or the publisher, keeps what he knows of one collection."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)  # its keyring, its accepted versions, its lock
        self.mirrors = root / "mirrors.json"
        self.approved = root / "approved.json"  # removals that a person has said yes to
        self.rings = root / "rings"  # for mirrors: of the collection's ring the keys that a repository's line names
        self.settings = root / "settings.json"  # the publisher's
        self.published = root / "manifest.json"  # what the publisher's manifest said last

    @classmethod
    def of_publisher(cls, directory: Path) -> CollectionPlaces:
        """Those of the collection of the repositories below a directory."""
        return cls(directory / _PUBLISHER)

    def ring(self, digest: str) -> Path:
        """Where the ring of some signers lies."""
        return self.rings / (digest + _RING_SUFFIX)


def moved_aside(mirrors: Path, name: str, since_s: int) -> Path:
    """Where the mirror ``name`` is moved to that was listed until then: beside the others, below a name that none has.

    It is one component, which no other mirror has there and a file system takes.
    """
    plain = name.replace("/", "+")
    if "+" in name or len(plain.encode()) > _ASIDE_BYTES:
        cut = plain.encode()[:_ASIDE_BYTES].decode("utf-8", "ignore")
        plain = f"{cut}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return mirrors / _GONE / f"{plain}-{since_s}"


def out_files(directory: Path) -> tuple[Path, Path, Path]:
    """The signed list, grokmirror's and cgit's, as a web server has them."""
    return directory / COLLECTION_FILE, directory / MANIFEST_FILE, directory / PROJECTS_FILE
