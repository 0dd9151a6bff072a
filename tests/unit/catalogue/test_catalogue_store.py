# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest
from documents import DAY_S, NOW_S, B, catalogue, document

from gtfs.catalogue import statementstore
from gtfs.catalogue.accept import Accepted, Equivocation
from gtfs.catalogue.document import Catalogue, digest
from gtfs.catalogue.goback import NoSuchVersion, check_version, spans
from gtfs.catalogue.statementstore import EVIDENCE, KEPT, KEPT_DAYS, DamagedStore
from gtfs.catalogue.store import CatalogueStore
from gtfs.durable import replace_file


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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When what is written is."""
    now_s: list[float] = [NOW_S]

    def replace(path: Path, data: bytes) -> None:
        replace_file(path, data)
        os.utime(path, (now_s[0], now_s[0]))

    monkeypatch.setattr(statementstore, "replace_file", replace)
    return now_s


def save(store: CatalogueStore, version: int) -> None:
    store.save(accepted(catalogue(version, "00" * 32 if version > 1 else None)))


def test_who_signs_many_versions_at_once_leaves_those_of_the_days_before(
    store: CatalogueStore, clock: list[float]
) -> None:
    for day in range(20):  # every third day one, and another a while later
        clock[0] = NOW_S + 3 * day * DAY_S
        save(store, 2 * day + 1)
        clock[0] += DAY_S / 4
        save(store, 2 * day + 2)
    assert store.versions() == list(range(1, 41))
    clock[0] = NOW_S + 60 * DAY_S
    for version in range(41, 61 + KEPT):
        save(store, version)
    # The thief's first is that of his day.
    assert store.versions() == [*range(11, 43, 2), *range(61, 61 + KEPT)]
    held = store.highest()
    for version in (11, 39, 41):
        check_version(store, held, version)
    with pytest.raises(NoSuchVersion, match=r"is 11, 13, 15, .*, 39, 41, 61 to 159$"):
        check_version(store, held, 40)
    for version in range(1000, 1100):  # nor does a store have more of them, however long that goes on
        clock[0] += DAY_S
        save(store, version)
    assert len(store.versions()) <= KEPT + KEPT_DAYS


def test_a_clock_that_went_wrong_keeps_no_more_and_loses_no_newer_one(
    store: CatalogueStore, clock: list[float]
) -> None:
    for version in range(1, 40 + KEPT):
        clock[0] = NOW_S + (1000 * DAY_S if version == 5 else 0)
        save(store, version)
    assert store.versions() == [1, 5, *range(40, 40 + KEPT)]


@pytest.mark.parametrize(
    ("versions", "text"), [([], ""), ([3], "3"), ([1, 2], "1, 2"), ([1, 4, 5, 6, 9], "1, 4 to 6, 9")]
)
def test_versions_are_said_in_few_words(versions: list[int], text: str) -> None:
    assert spans(versions) == text


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
