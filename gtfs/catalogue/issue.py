# SPDX-License-Identifier: GPL-3.0-or-later
"""Issuing: the catalogue that follows the held one, signed, held to the rules that its mirrors apply, and kept.

Any thread; signing may ask the user for a passphrase.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gtfs.catalogue.accept import Accepted, Believed, FirstTrust, Held, NotSigned, S, accept
from gtfs.catalogue.cosign import Role, choose_signers
from gtfs.catalogue.document import Catalogue, ReelEntry, digest
from gtfs.catalogue.race import Race
from gtfs.catalogue.reftree import RefTree
from gtfs.catalogue.statement import Statement
from gtfs.catalogue.statementstore import StatementStore
from gtfs.catalogue.store import CatalogueStore
from gtfs.errors import Blame, GtfsError
from gtfs.ids import SHA1, Fingerprint, ObjectFormat, ObjectId
from gtfs.pack.account import NO_NEEDS, Needs
from gtfs.trust.keyring import Keyring
from gtfs.trust.policy import Policy
from gtfs.trust.sign import Signer, secret_keys
from gtfs.trust.verify import combine_clearsigned

VALID_S: Final = 30 * 24 * 3600


@dataclass(frozen=True)
class IssueSettings:
    """What a publisher decides about its catalogues; the rest comes from the repository."""

    repository: str
    signers: tuple[Fingerprint, ...]
    threshold: int = 1
    freshness: tuple[Fingerprint, ...] = ()
    valid_s: int = VALID_S
    object_format: ObjectFormat = SHA1
    feed_key: str | None = None
    trackers: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()
    push_url: str | None = None
    policy: tuple[Policy, ...] = ()
    accepted_faults: tuple[ObjectId, ...] = ()
    in_chunks_above: int | None = None  # bytes of refs: with more of them the text only names their chunks, format 2


def next_catalogue(
    held: Held | None,
    refs: Mapping[bytes, ObjectId],
    reels: Sequence[ReelEntry],
    settings: IssueSettings,
    now_s: int,
    *,
    head: bytes | None = None,
    needs: Needs = NO_NEEDS,
    races: Sequence[Race] = (),
) -> Catalogue:
    """The catalogue that follows ``held``, and others' ``races`` beside it.

    Raises `BadCatalogue` for refs or settings that it cannot hold.
    """
    if list(refs) != (names := sorted(refs)):
        refs = {name: refs[name] for name in names}
    before = [race.version for race in races] + ([] if held is None else [held.catalogue.version])
    catalogue = Catalogue(
        repository=settings.repository,
        version=max(before, default=0) + 1,
        previous=None if held is None else held.digest,
        date_s=now_s,
        valid_until_s=now_s + settings.valid_s,
        signers=settings.signers,
        threshold=settings.threshold,
        freshness=settings.freshness,
        object_format=settings.object_format,
        feed_key=settings.feed_key,
        trackers=settings.trackers,
        web_seeds=settings.web_seeds,
        push_url=settings.push_url,
        policy=settings.policy,
        accepted_faults=settings.accepted_faults,
        head=head,
        refs=dict(refs),
        reels=tuple(reels),
        needs=needs,
        raced=tuple(race.digest for race in races),
        pruned=None if held is None else held.catalogue.pruned,
    )
    lines = sum(map(len, refs)) + len(refs) * (2 * settings.object_format.oid_bytes + 3)
    if settings.in_chunks_above is not None and lines > settings.in_chunks_above:
        catalogue = catalogue.in_chunks(None if held is None else held.catalogue.tree)
    catalogue.to_text()
    return catalogue


def says_the_same(one: Catalogue, other: Catalogue) -> bool:
    """Whether they differ in nothing but version, previous, times, format and bell, so that issuing it can wait."""
    plain = dataclasses.replace(other, version=one.version, previous=one.previous, raced=one.raced, top=one.top)
    return one == dataclasses.replace(plain, date_s=one.date_s, valid_until_s=one.valid_until_s, bell=one.bell)


class TooFewKeys(GtfsError):
    """A catalogue needs more signatures than the keys that are here can make."""

    fault = Blame.USAGE


PROPOSE: Final = """so: gtfs publish --propose REPO FILE, gtfs sign FILE where each key is, then \
gtfs publish --complete REPO FILE.*.asc"""


def sign_together(
    text: str,
    needed: Sequence[Role],
    own: Fingerprint,
    gnupg_home: Path | None,
    *,
    asks: bool = True,
    otherwise: str = PROPOSE,
) -> bytes:
    """A statement's text signed by the key ``own`` if that will do, else by as many as are needed of those here.

    ``asks``: whether gpg may ask for a passphrase; ``otherwise``: what to do where they are not enough.
    Raises `TooFewKeys`, `SigningFailed`, `GnupgUnusable`.
    """
    by = [own]
    if any(role.lacks([own]) for role in needed):
        here = secret_keys(gnupg_home)
        named = dict.fromkeys((own, *(key for role in needed for key in role.signers)))
        usable = [key for key in named if key in here]
        chosen = choose_signers(needed, usable)
        if chosen is None:
            raise TooFewKeys(
                f"it needs signatures by {' and by '.join(map(str, needed))}; of their secret keys here: "
                f"{', '.join(usable) or 'none'}; {otherwise}"
            )
        by = chosen
    return combine_clearsigned([Signer(key, gnupg_home, asks=asks).clearsign(text) for key in by])


def keep(
    store: CatalogueStore,
    catalogue: Catalogue,
    document: bytes,
    keyring: Keyring,
    now_s: int,
    follows: RefTree | None = None,
) -> Accepted:
    """Accept a signed catalogue by the rules that mirrors apply, and keep it; only then may it be told to others.

    ``follows``: the chunks of the one before, as far as they were read.

    Raises a `CatalogueRefused` (for example when the held catalogue does not name the signer), OSError.
    """
    held, known = store.highest(follows), store.known_digest
    first = _first_signers(catalogue)
    accepted = accept(document, held, keyring, first, now_s, known_digest=known, drawn=catalogue.tree)
    return _save(store, accepted, held, catalogue.to_text())


def keep_statement(
    store: StatementStore[S], new: S, text: str, document: bytes, keyring: Keyring, now_s: int
) -> Believed[S]:
    """The same for any statement of this text."""
    held = store.highest()
    return _save(store, store.judge(document, held, keyring, _first_signers(new), now_s), held, text)


def _first_signers(new: Statement) -> FirstTrust:
    return FirstTrust(allowed=frozenset(new.signers), threshold=new.threshold)


def _save(store: StatementStore[S], accepted: Believed[S], held: Believed[S] | None, text: str) -> Believed[S]:
    if accepted.digest != digest(text.encode()):
        raise NotSigned("what was signed is another catalogue than the one that was to be")
    store.save(accepted, held)
    return accepted
