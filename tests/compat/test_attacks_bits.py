# SPDX-License-Identifier: GPL-3.0-or-later
"""Every bit of a signed document flipped: of its text, of the armor around it, and of the signature.

Each flip goes the whole way that a document from outside goes, gpgv included; nothing is sampled or left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from keys import DAY_S, Keys, now_s, shared_keys

from gtfs.catalogue.accept import Accepted, FirstTrust, accept
from gtfs.catalogue.document import Catalogue
from gtfs.catalogue.freshness import Freshness, accept_freshness
from gtfs.errors import GtfsError
from gtfs.ids import ObjectId, PackDigest
from gtfs.trust.attestation import Attestation, accept_attestation
from gtfs.trust.policy import Vouch
from gtfs.trust.signoff import SignoffRow, read_signoff, signoff_text

OID, DIGEST = ObjectId(b"\1" * 20), PackDigest(b"\2" * 32)
Judge = Callable[[bytes], object]  # raises for what is refused; gives what is said


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


@pytest.fixture(scope="module")
def held(keys: Keys) -> Accepted:
    text = Catalogue("demo", 1, None, now_s() - DAY_S, now_s() + DAY_S, (keys["alice"],), freshness=(keys["bob"],))
    document = keys.clearsign(text.to_text().encode(), "alice")
    return accept(document, None, keys.ring, FirstTrust(frozenset({keys["alice"]})), now_s())


def flips(document: bytes) -> Iterator[bytes]:
    for at in range(len(document)):
        for bit in range(8):
            flipped = bytearray(document)
            flipped[at] ^= 1 << bit
            yield bytes(flipped)


def believed(document: bytes, judge: Judge) -> list[int]:
    """The bits, counted from the document's first, whose flip is believed nonetheless."""

    def one(flipped: bytes) -> bool:
        try:
            judge(flipped)
        except GtfsError:
            return False
        return True

    judge(document)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(one, flips(document)))
    assert len(found) == 8 * len(document)
    return [bit for bit, is_believed in enumerate(found) if is_believed]


def test_no_bit_of_a_catalogue_can_be_flipped(keys: Keys, held: Accepted) -> None:
    first = FirstTrust(frozenset({keys["alice"]}))
    assert believed(held.document, lambda document: accept(document, None, keys.ring, first, now_s())) == []


def test_no_bit_of_a_freshness_statement_can_be_flipped(keys: Keys, held: Accepted) -> None:
    said = Freshness("demo", 1, held.digest, now_s() - 60, now_s() + DAY_S)
    document = keys.clearsign(said.to_text().encode(), "bob")
    assert believed(document, lambda flipped: accept_freshness(flipped, held, keys.ring, now_s())) == []


def test_no_bit_of_a_sign_off_can_be_flipped(keys: Keys) -> None:
    rows = (SignoffRow(OID, DIGEST, 100, Vouch("signed", (keys["alice"],))),)
    document = keys.clearsign(signoff_text(rows, now_s()).encode(), "alice")
    assert believed(document, lambda flipped: read_signoff(flipped, keys.ring, None, now_s=now_s())) == []


def test_no_bit_of_an_attestation_can_be_flipped(keys: Keys, held: Accepted) -> None:
    said = Attestation("demo", 1, held.digest, now_s() - 60, now_s() + DAY_S, {b"refs/heads/m": OID}, {OID: DIGEST})
    document = keys.clearsign(said.to_text().encode(), "alice")
    assert believed(document, lambda flipped: accept_attestation(flipped, keys.ring, None, "demo", now_s())) == []
