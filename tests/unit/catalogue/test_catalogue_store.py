# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from documents import NOW_S, B, catalogue, document

from gtfs.catalogue.accept import Accepted, Equivocation
from gtfs.catalogue.document import Catalogue, digest
from gtfs.catalogue.statementstore import EVIDENCE, DamagedStore
from gtfs.catalogue.store import CatalogueStore


def accepted(new: Catalogue) -> Accepted:
    text = new.to_text()
    return Accepted(new, document(text), digest(text.encode()))


@pytest.fixture
def store(tmp_path: Path) -> CatalogueStore:
    return CatalogueStore(tmp_path / "gtfs" / "catalogue")


def test_an_empty_store_holds_nothing(store: CatalogueStore) -> None:
    assert store.highest() is None and store.versions() == [] and store.equivocations() == {}


def test_the_highest_version_is_held_in_a_new_process_too(store: CatalogueStore) -> None:
    for version in (1, 9, 10):
        store.save(accepted(catalogue(version, "00" * 32 if version > 1 else None)))
    held = CatalogueStore(store.directory).highest()
    assert held is not None and held.catalogue.version == 10 and not held.news
    assert store.latest.read_bytes() == held.document == (store.directory / "10.asc").read_bytes()
    assert store.load(9).catalogue.version == 9
    assert store.versions() == [1, 9, 10]


def test_a_latest_that_a_crash_left_behind_is_made_good(store: CatalogueStore) -> None:
    store.save(accepted(catalogue(1)))
    old = store.latest.read_bytes()
    store.save(accepted(catalogue(2, "00" * 32)))
    store.latest.write_bytes(old)
    (store.directory / ".x.tmp").write_bytes(b"torn")
    held = store.highest()
    assert held is not None and store.latest.read_bytes() == held.document != old


def test_a_damaged_highest_version_never_gives_way_to_an_older_one(store: CatalogueStore) -> None:
    store.save(accepted(catalogue(1)))
    store.save(accepted(catalogue(2, "00" * 32)))
    path = store.directory / "2.asc"
    whole = path.read_bytes()
    for bad in (b"", whole[:100], whole.replace(b"Version: 2", b"Version: 3"), whole.replace(b"Format", b"F\0rmat")):
        path.write_bytes(bad)
        with pytest.raises(DamagedStore, match=r"2\.asc is damaged"):
            store.highest()


def test_a_version_is_never_replaced_by_another_text(store: CatalogueStore) -> None:
    first = accepted(catalogue(1))
    store.save(first)
    store.save(first)
    with pytest.raises(Equivocation):
        store.save(accepted(catalogue(1, date_s=NOW_S - 1)))
    assert store.known_digest(1) == first.digest and store.known_digest(2) is None


def test_of_other_texts_of_one_version_a_few_are_kept(store: CatalogueStore) -> None:
    first = accepted(catalogue(1))
    store.save(first)
    for number in range(EVIDENCE + 3):
        other = document(catalogue(1, date_s=NOW_S - 1 - number).to_text())
        assert store.save_equivocation(Equivocation(1, first.document, other)).exists()
    assert len(store.equivocations()[1]) == EVIDENCE and store.is_disputed(first)


def test_equivocations_are_kept_beside_the_accepted_one(store: CatalogueStore) -> None:
    first = accepted(catalogue(1))
    store.save(first)
    other = document(catalogue(1, date_s=NOW_S - 1).to_text())
    path = store.save_equivocation(Equivocation(1, first.document, other))
    assert store.save_equivocation(Equivocation(1, first.document, other)) == path
    # Another form of the signature, which anybody can make, is no other text.
    assert store.save_equivocation(
        Equivocation(1, first.document, document(catalogue(1, date_s=NOW_S - 1).to_text(), B))
    )
    assert store.equivocations() == {1: [path]} and path.read_bytes() == other
    assert store.versions() == [1]
