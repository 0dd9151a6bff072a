# SPDX-License-Identifier: GPL-3.0-or-later
"""Catalogues with real signatures: published, accepted by a mirror, and refused."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
from keys import Keys, now_s, shared_keys

from gtfs.catalogue.accept import Accepted, FirstTrust, NotSigned, WrongSigner, accept
from gtfs.catalogue.document import Catalogue
from gtfs.catalogue.issue import IssueSettings, issue, next_catalogue
from gtfs.catalogue.store import CatalogueStore
from gtfs.ids import ObjectId
from gtfs.trust.sign import Signer
from gtfs.trust.verify import combine_clearsigned


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


@pytest.fixture
def store(tmp_path: Path) -> CatalogueStore:
    return CatalogueStore(tmp_path / "catalogue")


def make(keys: Keys, held: Accepted | None, byte: int, **changes: object) -> Catalogue:
    settings = dataclasses.replace(IssueSettings("demo", (keys["alice"],)), **changes)  # type: ignore[arg-type]
    return next_catalogue(held, {b"refs/heads/main": ObjectId(bytes([byte]) * 20)}, [], settings, now_s())


def test_a_mirror_follows_what_a_publisher_publishes(keys: Keys, store: CatalogueStore) -> None:
    signer = Signer(keys["alice"], keys.home)
    first = FirstTrust(allowed=frozenset({keys["alice"]}))
    held: Accepted | None = None
    for byte in (1, 2, 3):
        published = issue(store, make(keys, store.highest(), byte), signer, keys.ring, now_s())
        held = accept(store.latest.read_bytes(), held, keys.ring, first, now_s())
        assert held.news and held.catalogue == published.catalogue
        assert [signature.primary for signature in held.signatures] == [keys["alice"]]
    assert held is not None and held.catalogue.version == 3


def test_previous_is_what_gpg_and_sha256sum_print(keys: Keys, store: CatalogueStore) -> None:
    signer = Signer(keys["alice"], keys.home)
    issue(store, make(keys, None, 1), signer, keys.ring, now_s())
    text = keys.gpg("--decrypt", data=store.latest.read_bytes())
    assert make(keys, store.highest(), 2).previous == hashlib.sha256(text).hexdigest()


def test_a_harmless_change_of_the_armor_does_not_break_the_chain(keys: Keys, store: CatalogueStore) -> None:
    signer, first = Signer(keys["alice"], keys.home), FirstTrust(allowed=frozenset({keys["alice"]}))
    issue(store, make(keys, None, 1), signer, keys.ring, now_s())
    touched = store.latest.read_bytes().replace(b"SIGNATURE-----\n\n", b"SIGNATURE-----\nComment: hello\n\n")
    held = accept(touched, None, keys.ring, first, now_s())
    issue(store, make(keys, store.highest(), 2), signer, keys.ring, now_s())
    assert accept(store.latest.read_bytes(), held, keys.ring, first, now_s()).catalogue.version == 2


def test_unsigned_altered_and_foreign_catalogues_are_refused(keys: Keys) -> None:
    first = FirstTrust(allowed=frozenset({keys["alice"]}))
    text = make(keys, None, 1).to_text()
    document = Signer(keys["alice"], keys.home).clearsign(text)
    with pytest.raises(NotSigned):
        accept(text.encode(), None, keys.ring, first, now_s())
    with pytest.raises(WrongSigner, match="does not fit"):
        accept(document.replace(b"0101", b"0102", 1), None, keys.ring, first, now_s())
    for name in ("bob", "mallory"):
        foreign = Signer(keys[name], keys.home).clearsign(text)
        with pytest.raises(WrongSigner, match="0 of 1"):
            accept(foreign, None, keys.ring, first, now_s())


def test_a_threshold_needs_that_many_signers(keys: Keys, store: CatalogueStore) -> None:
    both = (keys["alice"], keys["bob"])
    alice, bob = Signer(keys["alice"], keys.home), Signer(keys["bob"], keys.home)
    issue(store, make(keys, None, 1, signers=both, threshold=2), alice, keys.ring, now_s())
    held = store.highest()
    following = make(keys, held, 2, signers=both, threshold=2)
    with pytest.raises(WrongSigner, match="1 of 2"):
        issue(store, following, bob, keys.ring, now_s())
    assert store.versions() == [1]
    text = following.to_text()
    document = combine_clearsigned([alice.clearsign(text), bob.clearsign(text)])
    assert accept(document, held, keys.ring, FirstTrust(), now_s()).catalogue.version == 2


def test_a_retired_signer_cannot_sign_the_next_version(keys: Keys, store: CatalogueStore) -> None:
    alice = Signer(keys["alice"], keys.home)
    issue(store, make(keys, None, 1, signers=(keys["carol"],)), alice, keys.ring, now_s())
    following = make(keys, store.highest(), 2)
    with pytest.raises(WrongSigner):
        issue(store, following, alice, keys.ring, now_s())
    assert issue(store, following, Signer(keys["carol"], keys.home), keys.ring, now_s()).catalogue.version == 2
