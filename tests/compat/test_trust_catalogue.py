# SPDX-License-Identifier: GPL-3.0-or-later
"""Catalogues with real signatures: published, accepted by a mirror, and refused."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from keys import Keys, now_s, shared_keys

from gtfs.catalogue.accept import Accepted, FirstTrust, NotSigned, WrongSigner, accept
from gtfs.catalogue.document import BadCatalogue, Catalogue
from gtfs.catalogue.issue import IssueSettings, keep, next_catalogue
from gtfs.catalogue.store import CatalogueStore
from gtfs.ids import ObjectId
from gtfs.trust.keyring import Keyring
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


def issue(
    store: CatalogueStore, catalogue: Catalogue, signers: Sequence[Signer], keyring: Keyring, now_s: int
) -> Accepted:
    text = catalogue.to_text()
    return keep(store, catalogue, combine_clearsigned([s.clearsign(text) for s in signers]), keyring, now_s)


def test_a_mirror_follows_what_a_publisher_publishes(keys: Keys, store: CatalogueStore) -> None:
    signer = Signer(keys["alice"], keys.home)
    first = FirstTrust(allowed=frozenset({keys["alice"]}))
    held: Accepted | None = None
    for byte in (1, 2, 3):
        published = issue(store, make(keys, store.highest(), byte), [signer], keys.ring, now_s())
        held = accept(store.latest.read_bytes(), held, keys.ring, first, now_s())
        assert held.news and held.catalogue == published.catalogue
        assert [signature.primary for signature in held.signatures] == [keys["alice"]]
    assert held is not None and held.catalogue.version == 3


def test_previous_is_what_gpg_and_sha256sum_print(keys: Keys, store: CatalogueStore) -> None:
    signer = Signer(keys["alice"], keys.home)
    issue(store, make(keys, None, 1), [signer], keys.ring, now_s())
    text = keys.gpg("--decrypt", data=store.latest.read_bytes())
    assert make(keys, store.highest(), 2).previous == hashlib.sha256(text).hexdigest()


def test_a_harmless_change_of_the_armor_does_not_break_the_chain(keys: Keys, store: CatalogueStore) -> None:
    signer, first = Signer(keys["alice"], keys.home), FirstTrust(allowed=frozenset({keys["alice"]}))
    issue(store, make(keys, None, 1), [signer], keys.ring, now_s())
    touched = store.latest.read_bytes().replace(b"SIGNATURE-----\n\n", b"SIGNATURE-----\nComment: hello\n\n")
    held = accept(touched, None, keys.ring, first, now_s())
    issue(store, make(keys, store.highest(), 2), [signer], keys.ring, now_s())
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
    with pytest.raises(WrongSigner, match="1 of 2"):
        issue(store, make(keys, None, 1, signers=both, threshold=2), [alice], keys.ring, now_s())
    issue(store, make(keys, None, 1, signers=both, threshold=2), [alice, bob], keys.ring, now_s())
    following = make(keys, store.highest(), 2, signers=both, threshold=2)
    for few in ([bob], [bob, bob]):
        with pytest.raises(WrongSigner, match="1 of 2"):
            issue(store, following, few, keys.ring, now_s())
    assert store.versions() == [1]
    assert issue(store, following, [bob, alice], keys.ring, now_s()).catalogue.version == 2


def test_rotation_needs_the_threshold_of_both_sets(keys: Keys, store: CatalogueStore) -> None:
    people = {name: Signer(keys[name], keys.home) for name in ("alice", "bob", "carol", "mallory")}

    def by(*names: str) -> list[Signer]:
        return [people[name] for name in names]

    old, new = (keys["alice"], keys["bob"]), (keys["bob"], keys["carol"])
    issue(store, make(keys, None, 1, signers=old, threshold=2), by("alice", "bob"), keys.ring, now_s())
    following = make(keys, store.highest(), 2, signers=new, threshold=2)
    refused = {
        ("alice", "bob"): "1 of 2 needed signatures by those whom it names itself",  # the old ones only
        ("bob", "carol"): "1 of 2 needed signatures are good",  # the new ones only
        ("carol",): "0 of 2",
        ("alice", "carol", "mallory"): "1 of 2",
    }
    for names, why in refused.items():
        with pytest.raises(WrongSigner, match=why):
            issue(store, following, by(*names), keys.ring, now_s())
    assert store.versions() == [1]
    issue(store, following, by("alice", "bob", "carol"), keys.ring, now_s())
    third = make(keys, store.highest(), 3, signers=new, threshold=2)
    with pytest.raises(WrongSigner):  # alice has left
        issue(store, third, by("alice", "bob"), keys.ring, now_s())
    assert issue(store, third, by("bob", "carol"), keys.ring, now_s()).catalogue.version == 3


def test_a_key_and_its_subkey_count_as_one_signer(keys: Keys, store: CatalogueStore) -> None:
    subkey = next(iter(keys.ring.keys[keys["carol"]].subkeys))
    carol = Signer(keys["carol"], keys.home)
    for signers in ((keys["carol"], keys["alice"]), (keys["carol"], subkey)):
        text = make(keys, None, 1, signers=signers, threshold=2).to_text()
        twice = combine_clearsigned([keys.clearsign(text.encode(), "carol"), carol.clearsign(text)])
        with pytest.raises(WrongSigner, match="1 of 2"):
            accept(twice, None, keys.ring, FirstTrust(frozenset(signers)), now_s())


def test_a_threshold_that_its_own_signers_cannot_meet_is_no_catalogue(keys: Keys) -> None:
    with pytest.raises(BadCatalogue, match="2 signatures of 1 signers"):
        make(keys, None, 1, threshold=2)
    text = make(keys, None, 1).to_text().replace("Threshold: 1", "Threshold: 2").encode()
    with pytest.raises(BadCatalogue, match="Threshold"):
        accept(keys.clearsign(text, "alice"), None, keys.ring, FirstTrust(frozenset({keys["alice"]})), now_s())


def test_a_mirror_that_was_away_follows_each_rotation_or_whom_enough_of_its_own_signers_signed(
    keys: Keys, store: CatalogueStore
) -> None:
    first = FirstTrust(allowed=frozenset({keys["alice"]}))
    chain: list[bytes] = []
    for now, after in (("alice", "alice"), ("alice", "bob"), ("bob", "carol"), ("carol", "carol")):
        signers = [Signer(keys[name], keys.home) for name in dict.fromkeys((now, after))]
        following = make(keys, store.highest(), 1, signers=(keys[after],))
        chain.append(issue(store, following, signers, keys.ring, now_s()).document)
    held = accept(chain[0], None, keys.ring, first, now_s())
    for document in chain[2:]:
        with pytest.raises(WrongSigner):
            accept(document, held, keys.ring, FirstTrust(), now_s())
    # One after the other.
    walked = held
    for document in chain[1:]:
        walked = accept(document, walked, keys.ring, FirstTrust(), now_s())
    assert walked.catalogue.version == 4
    # Or at once, if alice signs on for those who were away.
    newest = keys.clearsign(make(keys, walked, 1, signers=(keys["carol"],)).to_text().encode(), "carol", "alice")
    assert accept(newest, held, keys.ring, FirstTrust(), now_s()).catalogue.version == 5
    assert accept(newest, walked, keys.ring, FirstTrust(), now_s()).catalogue.version == 5


def test_plain_gpg_verifies_what_several_signed_with_several_digests(keys: Keys) -> None:
    text = make(keys, None, 1, signers=(keys["alice"], keys["bob"]), threshold=2).to_text().encode()
    one, other = keys.clearsign(text, "alice", digest="SHA256"), keys.clearsign(text, "bob", digest="SHA512")
    both = combine_clearsigned([one, other])
    assert keys.gpg("--decrypt", data=both) == text
    assert accept(both, None, keys.ring, FirstTrust(frozenset({keys["alice"]})), now_s()).catalogue.version == 1
