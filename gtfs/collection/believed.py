# SPDX-License-Identifier: GPL-3.0-or-later
"""What a follower believes of a collection: the accepted versions, and the ring that they are judged by (design.md §5).

The rules are those of catalogues, by the same code; two publishers who race are not told from one who says two things,
and there are no freshness statements. Blocking; one caller at a time.
"""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from gtfs.catalogue.accept import AlteredChain, Believed, CatalogueRefused, Equivocation, NotSigned, WrongSigner
from gtfs.catalogue.goback import SetAside, check_version, describe_back, refuse_set_aside
from gtfs.catalogue.recovery import recover, why_fallen
from gtfs.catalogue.statementstore import StatementStore
from gtfs.collection.document import BadCollection, Collection, Signing, read_collection
from gtfs.collection.places import CollectionPlaces
from gtfs.durable import make_directory
from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint
from gtfs.state.firsttrust import NewRing, NotFollowing, first_trust
from gtfs.state.trustgiven import TrustGiven
from gtfs.trust.keyring import Keys, freeze, open_keyring
from gtfs.trust.stanza import write_time
from gtfs.trust.verify import BadSignature

log = logging.getLogger(__name__)

KEPT: Final = 16  # versions, of up to 16 MiB


class CollectionRefused(GtfsError):
    """A document that is not believed, by the rule that ``because`` names."""

    fault = Blame.TRUST

    def __init__(self, name: str, because: CatalogueRefused) -> None:
        reason = because.reason
        if isinstance(because, Equivocation):
            reason = (
                f"the publisher signed two different lists of version {because.version}; mirrors stay as they are "
                "until you have asked the publisher"
            )
        hint = " (as signer = FPR in gtfs.conf)" if isinstance(because, WrongSigner) else ""
        super().__init__(f"collection {name}: refused: {reason}{hint}")
        self.because = because


class MirrorRing(NamedTuple):
    """What a mirror is given: a keyring, None without any key, and who may sign its first catalogue."""

    keyring: Path | None
    signers: tuple[Fingerprint, ...]


def rewind_kept(places: CollectionPlaces, name: str, version: int, *, dry_run: bool) -> dict[str, Any]:
    """Do what `BelievedCollection.rewind` does, which raises the same, where no daemon has it."""
    store = StatementStore(places.layout.catalogue, read_collection, read_only=True)
    check_version(store, store.highest(), version)
    if not dry_run:
        store.go_back(version)
    return {"name": name, **describe_back(store, version, dry_run=dry_run)}


class BelievedCollection:
    """One collection, called ``name`` by the operator; see the module."""

    def __init__(self, places: CollectionPlaces, name: str, trust: TrustGiven) -> None:
        """Read what is held, and take up keys that are given anew; raises a `GtfsError`, OSError."""
        self._places = places
        self._name = name
        self._trust = trust
        self._store = StatementStore(places.layout.catalogue, read_collection, kept=KEPT)
        self._ring = NewRing(places.layout.root)
        if places.layout.keyring.exists():
            self._ring.use_keyring()
        self.held: Believed[Collection] | None = self._store.highest()
        self._ring.held = self.held
        self._fallen: str | None = None
        self._rings: dict[tuple[tuple[Fingerprint, ...], bytes], Path] = {}  # of this process, by the ring's digest
        if self.held is not None:
            first_trust(self._ring, trust, None)
            self._look_who_vouches()

    def take(self, document: bytes) -> bool:
        """Hold what is newer; whether it is. Raises `CollectionRefused`, `BadCollection`, `NotFollowing`, OSError."""
        now_s = int(time.time())
        try:
            first = first_trust(self._ring, self._trust, document)
        except BadSignature as error:
            raise CollectionRefused(self._name, NotSigned(error.reason)) from None
        if self._ring.keyring is None:
            raise NotFollowing(f"collection {self._name}: there is no key to check it with; give keyring = FILE")
        try:
            accepted = self._store.judge(document, self.held, self._ring.keyring, first, now_s)
        except CatalogueRefused as error:
            accepted = self._recover(document, now_s) or self._refuse(error)
        except BadCollection as error:
            raise BadCollection(f"of {self._name}: {error.reason}", error.field) from None
        if not accepted.news:
            return False
        self._refuse_set_aside(document)
        self._store.save(accepted, self.held)  # durable before it is acted on
        self.held = self._ring.held = accepted
        self._look_who_vouches()
        log.info("collection %s: version %d is held", self._name, accepted.catalogue.version)
        return True

    def rewind(self, version: int, *, dry_run: bool = False) -> dict[str, Any]:
        """Hold an accepted version again, and set those above it aside; what `gtfs collection rewind` shows.

        Raises `NoSuchVersion`, `DamagedStore`, OSError.
        """
        check_version(self._store, self.held, version)
        if not dry_run:
            self.held = self._ring.held = self._store.go_back(version)
            self._look_who_vouches()
            log.info("collection %s: version %d is held again", self._name, version)
        return {"name": self._name, **describe_back(self._store, version, dry_run=dry_run)}

    def _refuse_set_aside(self, document: bytes) -> None:
        try:
            refuse_set_aside(self._store, document, "gtfs collection rewind")
        except SetAside as error:
            raise CollectionRefused(self._name, error) from None

    def _refuse(self, error: CatalogueRefused) -> Believed[Collection]:
        if isinstance(error, Equivocation | AlteredChain):  # beside it stands what came in its place
            self._refuse_set_aside(error.other)
        if isinstance(error, Equivocation):
            log.error("collection %s: evidence is kept at %s", self._name, self._store.save_equivocation(error))
        raise CollectionRefused(self._name, error)

    def _recover(self, document: bytes, now_s: int) -> Believed[Collection] | None:
        """What takes the place of versions that fell with their key."""
        if self.held is None or self._ring.keyring is None:
            return None
        found = recover(document, self.held, self._store, self._ring.keyring, now_s)
        if found is None:
            return None
        new = found.accepted.catalogue.version
        log.warning(
            "collection %s: versions above %d fell with the key that signed them; %d follows", self._name,
            found.behind, new,
        )  # fmt: skip
        self.held = self._store.go_back(found.behind)
        return found.accepted

    def _look_who_vouches(self) -> None:
        assert self.held is not None
        ring = self._ring.keyring  # None where somebody took its file away: `take` says so
        before = self._store.before(self.held.catalogue.version)
        self._fallen = None if ring is None else why_fallen(self.held, before, ring)

    def why_all_stays(self) -> str | None:
        """Why mirrors neither come nor go; None where they may."""
        if self.held is None:
            return "nothing is held of it yet"
        if self._store.is_disputed(self.held):
            return f"the publisher signed two different lists of version {self.held.catalogue.version}"
        if self._fallen is not None:
            return f"version {self.held.catalogue.version} is signed by a key that is revoked since"
        end_s = self.held.catalogue.valid_until_s
        if end_s < time.time():
            return f"it is stale since {write_time(end_s)}: its publisher says nothing new"
        return None

    def next_due(self) -> int | None:
        """When it becomes stale; None if that is over."""
        end_s = 0 if self.held is None else self.held.catalogue.valid_until_s
        return end_s + 1 if end_s >= time.time() else None

    def ring_of(self, signing: Signing) -> MirrorRing:
        """For a mirror, those of these keys that are in the ring; what lacks is to be named where it is wanted.

        Raises OSError.
        """
        ring = self._ring.keyring
        here = {} if ring is None else {key: ring.keys[key] for key in signing.keys if key in ring.keys}
        signers = tuple(here) if len(here) >= signing.threshold else signing.keys
        if ring is None or not here:
            return MirrorRing(None, signers)
        known = self._rings.get((signing.keys, ring.digest))
        if known is None:
            known = self._rings[signing.keys, ring.digest] = self._write_ring(here)
        return MirrorRing(known, signers)

    def _write_ring(self, chosen: Keys) -> Path:
        path = self._places.ring(hashlib.sha256(",".join(sorted(chosen)).encode()).hexdigest()[:16])
        make_directory(path.parent)
        freeze(chosen, path, before=open_keyring(path) if path.exists() else None)
        return path
