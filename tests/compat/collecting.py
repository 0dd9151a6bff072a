# SPDX-License-Identifier: GPL-3.0-or-later
"""Published repositories without git, and a publisher of collections with real keys, for tests."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from keys import Keys

from gtfs.catalogue.accept import Believed
from gtfs.catalogue.document import Catalogue, ReelEntry, digest
from gtfs.catalogue.store import CatalogueStore
from gtfs.collection.document import Collection, RepositoryEntry, Signing, read_collection
from gtfs.collection.followed import FollowedCollection, FollowSettings
from gtfs.ids import InfoHash, ObjectId, ReelName
from gtfs.layout import Layout
from gtfs.state.trustgiven import TrustGiven
from gtfs.trust.verify import split_clearsigned

DAY_S = 24 * 3600


def publish_repository(path: Path, keys: Keys, version: int = 1, *, by: str = "alice", name: str = "demo") -> None:
    """Let a directory look like a bare repository that has published this version."""
    for part in ("objects", "refs"):
        (path / part).mkdir(parents=True, exist_ok=True)
    (path / "HEAD").write_text("ref: refs/heads/main\n")
    now_s = int(time.time())
    catalogue = Catalogue(
        name, version, None if version == 1 else "ab" * 32, now_s, now_s + 30 * DAY_S, (keys[by],),
        head=b"refs/heads/main", refs={b"refs/heads/main": ObjectId(bytes([version]) * 20)},
        reels=(ReelEntry(ReelName("cd" * 32), InfoHash(b"\4" * 20), 1000, 1),),
    )  # fmt: skip
    text = catalogue.to_text().encode()
    accepted = Believed(catalogue, keys.clearsign(text, by), digest(text))
    CatalogueStore(Layout.in_repository(path).catalogue).save(accepted)


class ListPublisher:
    """Signs whatever a test wants a list to say."""

    def __init__(self, keys: Keys, *by: str) -> None:
        self.keys = keys
        self.by = by or ("alice",)

    def sign(self, collection: Collection, *by: str) -> bytes:
        return self.keys.clearsign(collection.to_text().encode(), *(by or self.by))

    def first(self, *names: str, **changes: Any) -> Collection:
        now_s = int(time.time())
        key = self.keys[self.by[0]]
        plain = Collection("kernel", 1, None, now_s, now_s + 30 * DAY_S, (key,), entries=self.entries(*names))
        return dataclasses.replace(plain, **changes)

    def entries(self, *names: str) -> tuple[RepositoryEntry, ...]:
        signing = Signing((self.keys["bob"],))
        now_s = int(time.time())
        return tuple(
            RepositoryEntry(n, f"id-{n.replace('/', '-')}", 1, now_s, signing, (f"https://example.org/{n}",))
            for n in sorted(names)
        )

    def next(self, before: Collection, *names: str, **changes: Any) -> Collection:
        """The list after another, of these repositories."""
        previous = digest(before.to_text().encode())
        changes = {"version": before.version + 1, "previous": previous, "entries": self.entries(*names), **changes}
        return dataclasses.replace(before, **changes)


def follower(tmp_path: Path, keys: Keys, *, root: Path | None = None, **changes: Any) -> FollowedCollection:
    """One who trusts alice with the list, and keeps it at ``root``."""
    if "trust" not in changes:
        changes["trust"] = TrustGiven(keyrings=(keys.public,), signers=(keys["alice"],))
    plain = FollowSettings("kernel", "https://example.org/collection.asc", tmp_path / "mirrors")
    return FollowedCollection(root or tmp_path / "state", dataclasses.replace(plain, **changes))


def held(document: bytes) -> Collection:
    """What a document lists."""
    return read_collection(split_clearsigned(document)[0])
