# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back from what a thief published: a catalogue falls with the key that signed it (design.md §5). Any thread.

A thief of a key may publish a version so high, or with such ``Signers``, that the owner's next one is refused for good.
When the key, or the subkey, is revoked as compromised, what only it vouched for is not believed any more, and a
catalogue that follows the version before takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, NamedTuple

from gtfs.catalogue.accept import Believed, CatalogueRefused, FirstTrust, S
from gtfs.catalogue.document import BadCatalogue
from gtfs.catalogue.race import found_signatures
from gtfs.catalogue.statementstore import StatementStore
from gtfs.trust.gpgv import FoundSignature
from gtfs.trust.keyring import Keyring
from gtfs.trust.packets import BadPackets, claim_of
from gtfs.trust.verify import BadSignature, split_clearsigned


class TakesPlace(NamedTuple, Generic[S]):
    """A catalogue that takes the place of fallen ones, and ``behind``, the version that it follows."""

    accepted: Believed[S]
    behind: int


def why_fallen(held: Believed[S], before: Believed[S] | None, keyring: Keyring) -> str | None:
    """Why too few vouch for an accepted catalogue by the keyring of now; None while enough do.

    ``before`` is the one whose signers let it in. Only a revocation takes a voice away again: an expired key, or one
    that the keyring has no more, spoke while it could. Raises `GpgvFailed`.
    """
    if not _names_a_revoked_key(held.document, keyring):
        return None
    may = keyring.primaries if before is None else frozenset(before.catalogue.signers)
    threshold = 1 if before is None else before.catalogue.threshold
    found = found_signatures(held.document, keyring, may)
    standing = {each.primary for each in found if not _is_disowned(each, keyring)}
    gone = sorted({each.primary for each in found} - standing)
    if not gone or len(standing) >= threshold or len(standing) + len(gone) < threshold:
        return None
    return (
        f"catalogue {held.catalogue.version} is signed by {', '.join(gone)}, which is revoked since: nothing that "
        "it signed counts, and refs stay until another key's catalogue comes, or gtfs rewind"
    )


def recover(
    document: bytes, held: Believed[S], store: StatementStore[S], keyring: Keyring, now_s: int
) -> TakesPlace[S] | None:
    """What `accept` refused, if it takes the place of fallen catalogues; else None. Raises `GpgvFailed`.

    It names, in ``Previous``, an accepted version above which every one has fallen, is dated after all these, and is
    good by all the rules as if that version were the held one.
    """
    for behind, after_s in _behind_fallen(held, store, keyring):
        try:
            accepted = store.judge(document, behind, keyring, FirstTrust(), now_s)
        except (CatalogueRefused, BadCatalogue):
            continue
        new = accepted.catalogue
        if accepted.news and behind.digest in new.follows and new.date_s > after_s:
            return TakesPlace(accepted, behind.catalogue.version)
    return None


def _behind_fallen(held: Believed[S], store: StatementStore[S], keyring: Keyring) -> Iterator[tuple[Believed[S], int]]:
    """The accepted versions above which every one has fallen, and the last date of these."""
    after_s = 0
    while (behind := store.before(held.catalogue.version)) is not None and why_fallen(held, behind, keyring):
        after_s = max(after_s, held.catalogue.date_s)
        yield behind, after_s
        held = behind


def _names_a_revoked_key(document: bytes, keyring: Keyring) -> bool:
    """Whether gpgv needs to be asked: a signature claims a key of which somebody says that it is revoked."""
    try:
        packets = split_clearsigned(document)[1]
        claims = [claim_of(packet).issuer for packet in packets]
    except (BadSignature, BadPackets):
        return False
    return any(
        keyring.keys[primary].revocations(part)
        for claim in claims
        for primary in keyring.who_has(claim)
        for part in keyring.keys[primary].parts_of(claim)
    )


def _is_disowned(found: FoundSignature, keyring: Keyring) -> bool:
    """Whether the part that signed, or its key, is revoked as compromised or without a reason."""
    if not keyring.keys[found.primary].revocations(found.part):
        return False
    try:
        return keyring.validity(found.primary, found.part).revoked_s == 0
    except BadSignature:
        return False
