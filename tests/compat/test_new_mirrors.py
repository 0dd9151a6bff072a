# SPDX-License-Identifier: GPL-3.0-or-later
"""The first document of a mirror: believed before there is a repository, or there is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from keys import NOW_S, Keys, shared_keys

from gtfs.catalogue.accept import NotSigned, WrongSigner
from gtfs.catalogue.document import BadCatalogue, Catalogue
from gtfs.feed import parse_feed
from gtfs.ids import SHA256, Fingerprint
from gtfs.node.opening import open_source
from gtfs.node.options import NodeOptions
from gtfs.state.source import Source
from gtfs.state.trustgiven import Confirm, TrustGiven


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


def open_mirror(document: bytes, given: TrustGiven, tmp_path: Path) -> tuple[str, frozenset[str]]:
    """The format of the repository that was made, and the keys of its ring."""
    feed = tmp_path / "feed.asc"
    feed.write_bytes(document)
    source = Source(str(feed), tmp_path / "m.git", parse_feed(str(feed)))

    async def work() -> tuple[str, frozenset[str]]:
        async with open_source(source, given, NodeOptions(offline=True)) as node:
            assert node.state.keyring is not None and node.state.held is not None
            return node.state.repository.fmt.name, frozenset(node.state.keyring.primaries)

    return trio.run(work)


def text(keys: Keys, **changes: object) -> bytes:
    plain = Catalogue("demo", 1, None, NOW_S, NOW_S + 9999, (keys["alice"],))
    return dataclasses.replace(plain, **changes).to_text().encode()  # type: ignore[arg-type]


def test_a_mirror_has_the_hash_that_a_believed_catalogue_says(keys: Keys, tmp_path: Path) -> None:
    given = TrustGiven(keyrings=[keys.public], signers=[keys["alice"]])
    document = keys.clearsign(text(keys, object_format=SHA256), "alice")
    assert open_mirror(document, given, tmp_path) == ("sha256", keys.ring.primaries)


def test_whoever_is_asked_about_the_first_signer_is_asked_once(keys: Keys, tmp_path: Path) -> None:
    asked = []

    def answer(yes: bool) -> Confirm:
        def confirm(catalogue: Catalogue, people: Sequence[tuple[Fingerprint, Sequence[str]]]) -> bool:
            asked.append([fingerprint for fingerprint, _ in people])
            return yes

        return confirm

    document = keys.clearsign(text(keys), "alice")
    with pytest.raises(WrongSigner):
        open_mirror(document, TrustGiven(gnupg_home=keys.home, confirm=answer(False)), tmp_path)
    assert not (tmp_path / "m.git").exists()
    found = open_mirror(document, TrustGiven(gnupg_home=keys.home, confirm=answer(True)), tmp_path)
    assert found == ("sha1", {keys["alice"]})
    assert asked == [[keys["alice"]]] * 2


def test_a_document_that_is_not_believed_makes_no_repository(keys: Keys, tmp_path: Path) -> None:
    given = TrustGiven(keyrings=[keys.public], signers=[keys["alice"]])
    for document, error in (
        (text(keys), NotSigned),
        (keys.clearsign(text(keys), "mallory"), WrongSigner),
        (keys.clearsign(text(keys).replace(b"Object-Format: sha1", b"Object-Format: md5"), "alice"), BadCatalogue),
        (keys.clearsign(b"Object-Format: sha256\n", "mallory"), WrongSigner),
    ):
        with pytest.raises(error):
            open_mirror(document, given, tmp_path)
        assert not (tmp_path / "m.git").exists()
