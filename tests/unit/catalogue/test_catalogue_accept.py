# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from documents import DAY_S, NOW_S, A, B, catalogue, document

from gtfs.catalogue import accept as module
from gtfs.catalogue.accept import (
    Accepted,
    AlteredChain,
    Equivocation,
    FirstTrust,
    FromFuture,
    NotSigned,
    OlderVersion,
    WrongRepository,
    WrongSigner,
    accept,
)
from gtfs.catalogue.document import BadCatalogue, Catalogue
from gtfs.ids import SHA256, Fingerprint, ObjectId
from gtfs.trust.keyring import Keyring
from gtfs.trust.policy import Policy
from gtfs.trust.verify import BadSignature, ClearSigned, Rejected, Signature, split_clearsigned, unverified_signers

RING = Keyring(Path("/nonexistent"), b"", frozenset({A, B}))
FIRST = FirstTrust(allowed=frozenset({A}))


@pytest.fixture(autouse=True)
def every_signature_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(raw: bytes, ring: Keyring, allowed: frozenset[Fingerprint] | None, *, now_s: int) -> ClearSigned:
        text, _ = split_clearsigned(raw)
        signers = [Fingerprint(signer) for signer in unverified_signers(raw)]
        good = tuple(Signature(s, now_s) for s in signers if s in (ring.primaries if allowed is None else allowed))
        refused = Rejected("somebody", BadSignature("may not sign this"))
        return ClearSigned(text, good, () if good else (refused,))

    monkeypatch.setattr(module, "read_clearsigned", read)


def take(new: Catalogue | bytes, held: Accepted | None = None, first: FirstTrust = FIRST, **more: object) -> Accepted:
    raw = new if isinstance(new, bytes) else document(new.to_text())
    return accept(raw, held, RING, first, NOW_S, **more)  # type: ignore[arg-type]


def test_the_first_catalogue_needs_an_allowed_signer() -> None:
    assert take(catalogue(5, "00" * 32)).catalogue.version == 5
    with pytest.raises(WrongSigner, match="0 of 1"):
        take(document(catalogue(1).to_text(), B))


def test_without_fingerprints_the_user_is_asked_with_the_good_signatures() -> None:
    asked = []

    def confirm(new: Catalogue, signatures: tuple[Signature, ...]) -> bool:
        asked.append((new.repository, [signature.primary for signature in signatures]))
        return len(asked) == 2

    first = FirstTrust(confirm=confirm)
    with pytest.raises(WrongSigner, match="nobody said"):
        take(catalogue(1), first=first)
    assert take(catalogue(1), first=first).news
    assert asked == [("demo", [A])] * 2
    with pytest.raises(WrongSigner):
        take(catalogue(1), first=FirstTrust())


def test_a_catalogue_needs_both_the_held_signers_and_those_that_it_names() -> None:
    held = take(catalogue(1))
    text = catalogue(2, held.digest, signers=(B,)).to_text()
    with pytest.raises(WrongSigner, match="0 of 1 needed signatures by those whom it names itself"):
        take(document(text, A), held)
    with pytest.raises(WrongSigner, match="0 of 1 needed signatures are good"):
        take(document(text, B), held)
    rotated = take(document(text, A, B), held)
    third = catalogue(3, rotated.digest, signers=(B,)).to_text()
    with pytest.raises(WrongSigner):
        take(document(third, A), rotated)
    assert take(document(third, B), rotated).news


def test_the_first_catalogue_needs_those_whom_it_names_too() -> None:
    both = catalogue(1, signers=(A, B), threshold=2).to_text()
    with pytest.raises(WrongSigner, match="1 of 2"):
        take(document(both, A))
    assert take(document(both, A, B)).news
    with pytest.raises(WrongSigner, match="0 of 1"):
        take(catalogue(1, signers=(B,)))


def test_the_held_threshold_counts() -> None:
    held = take(document(catalogue(1, signers=(A, B), threshold=2).to_text(), A, B))
    lower = catalogue(2, held.digest, signers=(A,))
    with pytest.raises(WrongSigner, match="1 of 2"):
        take(lower, held)
    assert take(document(lower.to_text(), A, B), held).news


def test_a_signer_who_signed_twice_counts_once() -> None:
    with pytest.raises(WrongSigner, match="1 of 2"):
        take(document(catalogue(1, signers=(A, B), threshold=2).to_text(), A, A))


def test_the_first_catalogue_needs_as_many_as_the_user_said() -> None:
    first = FirstTrust(frozenset({A, B}), threshold=2)
    one = catalogue(1).to_text()  # which says that A alone will do
    with pytest.raises(WrongSigner, match="1 of 2"):
        take(document(one, A), first=first)
    assert take(document(one, A, B), first=first).news


def test_what_is_no_signed_document_is_refused() -> None:
    for raw in (catalogue(1).to_text().encode(), b"", document(catalogue(1).to_text()) + b"x"):
        with pytest.raises(NotSigned):
            take(raw)
    with pytest.raises(BadSignature):
        split_clearsigned(b"")


def test_a_signed_text_that_is_no_catalogue_is_refused() -> None:
    with pytest.raises(BadCatalogue):
        take(document("Format: other\n"))


def test_another_repository_or_hash_is_refused() -> None:
    held = take(catalogue(1))
    for change in ({"repository": "other"}, {"object_format": SHA256}):
        with pytest.raises(WrongRepository):
            take(catalogue(2, held.digest, **change), held)
    with pytest.raises(WrongRepository):
        take(catalogue(1), first=dataclasses.replace(FIRST, repository="other"))


def test_versions_only_grow() -> None:
    first = take(catalogue(1))
    second = take(catalogue(2, first.digest), first)
    with pytest.raises(OlderVersion, match="version 1, older than the held version 2"):
        take(first.document, second)
    assert take(catalogue(9, "00" * 32), second).catalogue.version == 9


def test_the_next_version_must_name_the_held_one() -> None:
    held = take(catalogue(1))
    with pytest.raises(AlteredChain):
        take(catalogue(2, "00" * 32), held)


def test_the_held_one_again_is_no_news() -> None:
    held = take(catalogue(1))
    assert not take(held.document, held).news
    other_signature = document(catalogue(1, signers=(A,)).to_text()).replace(b"Hash: SHA512", b"Hash: SHA256")
    again = take(other_signature, held)
    assert not again.news and again.document == held.document


def test_another_text_of_the_held_version_is_an_equivocation() -> None:
    held = take(catalogue(1))
    other = document(catalogue(1, date_s=NOW_S - 5).to_text())
    with pytest.raises(Equivocation) as caught:
        take(other, held)
    assert (caught.value.held, caught.value.other, caught.value.version) == (held.document, other, 1)


def test_another_text_of_an_older_version_is_an_equivocation_if_that_is_known() -> None:
    first = take(catalogue(1))
    second = take(catalogue(2, first.digest), first)
    known = {1: first.digest}.get
    with pytest.raises(OlderVersion):
        take(first.document, second, known_digest=known)
    with pytest.raises(Equivocation):
        take(catalogue(1, date_s=NOW_S - 5), second, known_digest=known)


def test_a_date_up_to_five_minutes_ahead_is_accepted() -> None:
    take(catalogue(1, date_s=NOW_S + 300))
    with pytest.raises(FromFuture):
        take(catalogue(1, date_s=NOW_S + 301))


def test_past_valid_until_it_is_accepted() -> None:
    assert take(catalogue(1, date_s=NOW_S - 2 * DAY_S, valid_until_s=NOW_S - DAY_S)).news


def test_lines_of_policy_for_more_refs_than_can_be_looked_at_are_refused() -> None:
    refs = {b"refs/%05d" % n: ObjectId(b"\1" * 20) for n in range(10_001)}
    policy = tuple(Policy(b"refs/x%d" % n, "catalogue") for n in range(1000))
    with pytest.raises(BadCatalogue, match="over the limit policy: 1000 lines for refs whose names have 100010 bytes"):
        take(catalogue(1, refs=refs, policy=policy))
    refs.popitem()
    assert take(catalogue(1, refs=refs, policy=policy)).news


def test_nothing_is_read_of_a_text_that_too_few_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "text_alone", None)
    with pytest.raises(WrongSigner):
        take(document(catalogue(1).to_text(), B))
