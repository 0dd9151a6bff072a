# SPDX-License-Identifier: GPL-3.0-or-later
"""The attacks that TUF's specification lists, each tried against a mirror; fast-forward has a file of its own.

Extraneous dependencies are not among them: nothing that a catalogue names makes a mirror fetch what it does not list.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from publishers import MAIN, Publishers, held, now_s, take, with_node

from gtfs.catalogue.accept import AlteredChain, CatalogueRefused, NotSigned, OlderVersion, WrongRepository, WrongSigner
from gtfs.catalogue.freshness import Freshness, FreshnessRefused, NewerExists
from gtfs.feed import parse_feed
from gtfs.ids import SHA256, ObjectId
from gtfs.node.node import Node
from gtfs.state.divergence import why_all_stay
from gtfs.state.freshness import is_stale, take_freshness
from gtfs.state.state import State
from gtfs.swarm.feeds import LIMIT_BYTES, FeedError, Validators, fetch
from gtfs.swarm.httpget import open_client
from gtfs.trust.verify import DOCUMENT_BYTES


@pytest.fixture(scope="module")
def people() -> Iterator[Publishers]:
    made = Publishers()
    yield made
    made.close()


@pytest.fixture
def mirror(people: Publishers, tmp_path: Path) -> Iterator[State]:
    """It holds version 1."""
    with people.mirror(tmp_path / "m.git", people.document(1)) as state:
        yield state


def freshness(people: Publishers, of: bytes | None = None, **changes: object) -> bytes:
    fields: dict[str, object] = {
        "repository": "demo",
        "version": 1,
        "digest": "0" * 64,
        "date_s": now_s() - 60,
        "valid_until_s": now_s() + 30 * 24 * 3600,
    }
    text = Freshness(**(fields | changes)).to_text().encode()  # type: ignore[arg-type]
    return people.owner.gpg("--armor", "--local-user", people["plain"], "--clearsign", data=text)


def test_arbitrary_software_refs_that_no_signer_named_are_not_believed(people: Publishers, mirror: State) -> None:
    for bad in (
        people.document(2, held(mirror), by="stranger"),  # a key of the ring that may not sign catalogues
        people.document(2, held(mirror), by="weak"),  # a key that nobody knows
        people.document(2, held(mirror)).replace(b" refs/heads/main", b" refs/heads/evil"),
    ):
        with pytest.raises(WrongSigner):
            take(mirror, bad)
    assert held(mirror).catalogue.version == 1


def test_rollback_to_an_older_catalogue_is_refused(people: Publishers, mirror: State) -> None:
    first = held(mirror)
    take(mirror, people.document(2, first))
    with pytest.raises(OlderVersion):
        take(mirror, first.document)
    assert held(mirror).catalogue.version == 2


def test_indefinite_freeze_ends_when_the_held_catalogue_is_past_its_time(people: Publishers, mirror: State) -> None:
    assert why_all_stay(mirror) is None
    later_s = held(mirror).catalogue.valid_until_s + 1
    assert is_stale(mirror, later_s)
    # A statement for an hour more helps for an hour, and says nothing of another catalogue.
    longer = freshness(people, digest=held(mirror).digest, valid_until_s=later_s + 3600)
    assert take_freshness(mirror, longer)
    assert not is_stale(mirror, later_s) and is_stale(mirror, later_s + 3601)
    take(mirror, people.document(2, held(mirror), date_s=now_s() - 3600, valid_until_s=now_s() - 60))
    why = why_all_stay(mirror)
    assert why is not None and "stale until a newer one" in why


def test_endless_data_ends_at_the_limit_of_a_catalogue(tmp_path: Path, people: Publishers, mirror: State) -> None:
    endless = tmp_path / "endless.asc"
    with open(endless, "wb") as file:
        file.write(people.document(2, held(mirror)))
        file.truncate(1 << 40)  # a terabyte with holes

    async def ask() -> None:
        async with open_client() as client:
            with pytest.raises(FeedError, match=f"more than {LIMIT_BYTES} bytes"):
                await fetch(parse_feed(str(endless)), Validators(), client)

    trio.run(ask)
    with pytest.raises(NotSigned, match="over the limit"):
        take(mirror, people.document(2, held(mirror)) + bytes(DOCUMENT_BYTES))


def test_mix_and_match_of_parts_of_two_catalogues_is_refused(people: Publishers, mirror: State) -> None:
    first = held(mirror)
    second = people.document(2, first)
    third = people.document(3, second)
    mark = b"-----BEGIN PGP SIGNATURE-----"

    def lines(document: bytes, name: bytes) -> bytes:
        return document[document.index(b"\n" + name) :].split(b"\nReels:")[0]

    refs_of_another = second.replace(lines(second, b"Refs:"), lines(third, b"Refs:"))
    assert refs_of_another != second
    for mixed in (
        third.split(mark)[0] + mark + second.split(mark)[1],
        second.split(mark)[0] + mark + first.document.split(mark)[1],
        refs_of_another,
    ):
        with pytest.raises(CatalogueRefused):
            take(mirror, mixed)
    with pytest.raises(AlteredChain):  # the next number, of another line of versions
        take(mirror, people.document(2))
    take(mirror, second)
    with pytest.raises(FreshnessRefused):  # the freshness of one for another
        take_freshness(mirror, freshness(people, version=2, digest=first.digest))
    assert held(mirror).document == second


def test_wrong_software_another_repository_of_the_same_publisher_is_refused(people: Publishers, mirror: State) -> None:
    for changes in ({"repository": "other"}, {"object_format": SHA256, "refs": {MAIN: ObjectId(b"\1" * 32)}}):
        with pytest.raises(WrongRepository):
            take(mirror, people.document(2, held(mirror), **changes))
    with pytest.raises(FreshnessRefused, match="it is of other"):
        take_freshness(mirror, freshness(people, repository="other", digest=held(mirror).digest))


@pytest.mark.warns
def test_malicious_mirrors_preventing_updates_are_passed_by_where_one_feed_is_honest(
    people: Publishers, mirror: State, tmp_path: Path
) -> None:
    first = held(mirror)
    second = people.document(2, first)
    feeds = {name: tmp_path / f"{name}.asc" for name in ("old", "garbage", "none", "forged", "honest", "older")}
    feeds["old"].write_bytes(first.document)
    feeds["older"].write_bytes(people.document(1, refs={}, by="stranger"))
    feeds["garbage"].write_bytes(b"\0" * 100_000)
    feeds["forged"].write_bytes(people.document(9, first, by="stranger"))
    feeds["honest"].write_bytes(second)

    async def look(node: Node) -> None:
        reports = {Path(report.feed).stem: report.error for report in node.poller.reports()}
        assert reports["honest"] is None
        assert all(reports[name] is not None for name in ("garbage", "none", "forged", "older"))

    with_node(mirror, list(feeds.values()), look)
    assert held(mirror).document == second


def test_malicious_mirrors_that_keep_a_newer_catalogue_back_are_noticed_by_its_freshness(
    people: Publishers, mirror: State
) -> None:
    with pytest.raises(NewerExists, match="a newer catalogue exists than the held version 1"):
        take_freshness(mirror, freshness(people, version=2))
    assert held(mirror).catalogue.version == 1


def test_key_compromise_below_the_threshold_signs_nothing(people: Publishers, tmp_path: Path) -> None:
    names = ("plain", "other", "stranger")
    three = {"signers": tuple(people[name] for name in names), "threshold": 2}
    with people.mirror(tmp_path / "m.git", people.document(1, by=names, **three)) as state:
        for stolen in names:
            for signers in (three, {"signers": (people[stolen],)}):
                with pytest.raises(WrongSigner, match="1 of 2"):
                    take(state, people.document(2, held(state), by=stolen, **signers))
            with pytest.raises(FreshnessRefused, match="1 of 2"):
                take_freshness(state, freshness(people, digest=held(state).digest))
        assert take(state, people.document(2, held(state), by=names[:2], **three)) is not None
