# SPDX-License-Identifier: GPL-3.0-or-later
"""TUF's fast-forward attack: a thief publishes so high a version that the owner's next is refused; the ways back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from history import History
from owner import SUPERSEDED, revoked
from publishers import MAIN, Publishers, held, now_s, take, with_node

from gtfs.catalogue.accept import Accepted, CatalogueRefused, Equivocation, OlderVersion, WrongSigner
from gtfs.catalogue.document import BadCatalogue
from gtfs.catalogue.goback import NoSuchVersion, SetAside
from gtfs.catalogue.statement import VERSIONS
from gtfs.feed import parse_feed
from gtfs.node.node import Node
from gtfs.node.sync import move_refs
from gtfs.repo.repository import open_repository
from gtfs.repo.work import Work
from gtfs.state.describe import describe_state
from gtfs.state.divergence import why_all_stay
from gtfs.state.rewind import go_back
from gtfs.state.state import State

HIGH = 1 << 52
STOLEN, SPARE = 1, 2  # the signing subkeys of `signer`


@pytest.fixture(scope="module")
def people() -> Iterator[Publishers]:
    made = Publishers()
    yield made
    made.close()


@pytest.fixture
def attacked(people: Publishers, tmp_path: Path) -> Iterator[State]:
    """A mirror that took the versions 1 and 2 of honest signers, and the thief's of `plain`."""
    with people.mirror(tmp_path / "m.git", people.document(1)) as state:
        take(state, people.document(2, held(state)))
        assert take(state, people.document(HIGH, signers=(people["plain"],))) is not None
        yield state


def with_revoked(people: Publishers, name: str = "plain") -> bytes:
    """The ring, with the key revoked as compromised."""
    others = [n for n in ("plain", "other", "signer", "stranger") if n != name]
    return people.ring(*others) + revoked(people.owner.export(name), people.revocation(name))


def kept(state: State, version: int) -> Accepted:
    return state.catalogues.load(version)


def test_a_version_of_2_to_the_53_is_no_version(people: Publishers) -> None:
    with pytest.raises(BadCatalogue, match="below 2\\^53"):
        people.document(VERSIONS)
    assert str(VERSIONS - 1).encode() in people.document(VERSIONS - 1)


def test_without_the_revocation_a_mirror_keeps_to_the_higher_version(people: Publishers, attacked: State) -> None:
    with pytest.raises(WrongSigner):
        take(attacked, people.document(3, kept(attacked, 2), by="other", signers=(people["other"],)))
    assert held(attacked).catalogue.version == HIGH and why_all_stay(attacked) is None


def test_a_catalogue_falls_with_its_key_and_what_follows_the_one_before_takes_its_place(
    people: Publishers, attacked: State, caplog: pytest.LogCaptureFixture
) -> None:
    second = kept(attacked, 2)
    people.use_ring(attacked, with_revoked(people))
    why = why_all_stay(attacked)
    assert why is not None and people["plain"] in why and "gtfs rewind" in why
    assert held(attacked).catalogue.version == HIGH  # nothing goes back by itself
    third = people.document(3, second, by="other", signers=(people["other"],), date_s=now_s())
    assert take(attacked, third) is not None
    assert held(attacked).catalogue.version == 3 and why_all_stay(attacked) is None
    assert attacked.catalogues.versions() == [1, 2, 3]
    assert [path.name.split("-")[1] for path in attacked.catalogues.set_aside()] == [str(HIGH)]
    with pytest.raises(CatalogueRefused):  # and the thief does not come again
        take(attacked, people.document(HIGH + 1, signers=(people["plain"],)))
    caplog.clear()


def test_a_stolen_subkey_is_enough_to_lose_and_its_primary_key_to_recover(
    people: Publishers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    me = {"signers": (people["signer"],)}
    first = people.document(1, by="signer", part=SPARE, **me)
    with people.mirror(tmp_path / "m.git", first, by="signer") as state:
        take(state, people.document(HIGH, by="signer", part=SPARE, **me))
        take(state, people.document(VERSIONS - 1, by="signer", part=SPARE, **me))  # no version comes after it
        key = people.owner.with_revoked_subkey(people.owner.export("signer"), "signer", SPARE, 2, now_s())
        people.use_ring(state, key)
        assert why_all_stay(state) is not None
        # By the other subkey, and all that was ever accepted has fallen: what it follows is all that counts.
        following = people.document(2, kept(state, 1), by="signer", part=STOLEN, date_s=now_s(), **me)
        assert take(state, following) is not None
        assert held(state).catalogue.version == 2 and len(state.catalogues.set_aside()) == 2
    caplog.clear()


def test_nothing_goes_back_that_does_not_follow_an_accepted_version_or_is_older_than_the_thiefs(
    people: Publishers, attacked: State
) -> None:
    first, second = kept(attacked, 1), kept(attacked, 2)
    people.use_ring(attacked, with_revoked(people))
    mine = {"by": "other", "signers": (people["other"],)}
    for bad in (
        people.document(3, date_s=now_s(), **mine),  # follows nothing that was accepted
        people.document(3, second, **mine),  # an old one, of before the theft
        people.document(3, second, by="stranger", date_s=now_s()),
        people.document(3, second, date_s=now_s()),  # by the revoked key
        people.document(3, second, repository="demo2", date_s=now_s(), **mine),
        people.document(2, second, date_s=now_s(), **mine),
    ):
        with pytest.raises(CatalogueRefused):
            take(attacked, bad)
    assert held(attacked).catalogue.version == HIGH
    assert first.catalogue.version == 1


def test_a_version_that_still_stands_is_never_gone_behind(people: Publishers, tmp_path: Path) -> None:
    with people.mirror(tmp_path / "m.git", people.document(1)) as state:
        first = held(state)
        second = people.document(2, first)
        take(state, second)
        take(state, people.document(3, second, by="other"))
        people.use_ring(state, with_revoked(people))
        assert why_all_stay(state) is None
        with pytest.raises(CatalogueRefused):
            take(state, people.document(2, first, by="other", date_s=now_s()))
        assert held(state).catalogue.version == 3


@pytest.mark.parametrize("how", ["gone", "superseded"])
def test_only_a_revocation_as_compromised_makes_a_catalogue_fall(people: Publishers, attacked: State, how: str) -> None:
    ring = people.ring("other", "signer")
    if how == "superseded":
        ring += revoked(people.owner.export("plain"), people.owner.revocation("plain", SUPERSEDED, now_s()))
    people.use_ring(attacked, ring)
    assert attacked.fallen is None
    with pytest.raises(CatalogueRefused):
        take(attacked, people.document(3, kept(attacked, 2), by="other", date_s=now_s()))


def test_a_catalogue_does_not_fall_when_its_key_expires(people: Publishers, tmp_path: Path) -> None:
    who = {"by": "expired", "signers": (people["expired"],)}
    first = people.document(1, **who)
    with people.mirror(tmp_path / "m.git", first, by="expired", ring=people.owner.long["expired"]) as state:
        take(state, people.document(2, held(state), **who))
        people.use_ring(state, people.owner.short["expired"])
        assert state.fallen is None
        with pytest.raises(CatalogueRefused):
            take(state, people.document(2, kept(state, 1), date_s=now_s(), **who))


def test_of_two_needed_signers_one_stolen_key_makes_no_catalogue_and_its_revocation_leaves_those_of_both_standing(
    people: Publishers, tmp_path: Path
) -> None:
    three = {"signers": (people["plain"], people["other"], people["stranger"]), "threshold": 2}
    both = ("plain", "other")
    with people.mirror(tmp_path / "m.git", people.document(1, by=both, **three)) as state:
        with pytest.raises(WrongSigner, match="1 of 2"):
            take(state, people.document(HIGH, by="plain", **three))
        take(state, people.document(2, held(state), by=("plain", "other", "stranger"), **three))
        people.use_ring(state, with_revoked(people))
        assert state.fallen is None


def test_an_owner_goes_back_by_hand_and_what_was_taken_back_is_not_taken_again(
    people: Publishers, attacked: State
) -> None:
    thiefs = held(attacked).document
    with pytest.raises(NoSuchVersion, match="1, 2"):
        go_back(attacked, 7)
    with pytest.raises(NoSuchVersion):
        go_back(attacked, HIGH)
    assert go_back(attacked, 2).catalogue.version == 2
    with pytest.raises(SetAside, match="gtfs rewind"):
        take(attacked, thiefs)
    assert take(attacked, people.document(3, held(attacked), by="other")) is not None
    with pytest.raises(OlderVersion):
        take(attacked, kept(attacked, 1).document)


def test_behind_more_versions_than_are_kept_one_may_still_go_back_to_a_day_before(
    people: Publishers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gtfs.catalogue.statementstore.KEPT", 3)
    with people.mirror(tmp_path / "m.git", people.document(1)) as state:
        yesterday_s = now_s() - 24 * 3600
        os.utime(state.catalogues.directory / "1.asc", (yesterday_s, yesterday_s))
        owners = people.document(2, held(state), by="other")
        for version in range(2, 7):
            take(state, people.document(version, held(state), refs={}))
        assert state.catalogues.versions() == [1, 2, 4, 5, 6]
        go_back(state, 1)
        assert take(state, owners) is not None


def test_what_was_taken_back_stops_nothing_when_it_comes_beside_what_took_its_place(
    people: Publishers, tmp_path: Path
) -> None:
    with people.mirror(tmp_path / "m.git", people.document(1)) as state:
        first = held(state)
        thiefs, next_of_his = people.document(2, first, refs={}), people.document(3, first)
        take(state, thiefs)
        go_back(state, 1)
        take(state, next_of_his)
        go_back(state, 1)
        assert take(state, people.document(2, first)) is not None
        for again in (thiefs, next_of_his):
            with pytest.raises(SetAside):
                take(state, again)
        assert why_all_stay(state) is None and state.catalogues.equivocations() == {}


def test_of_two_texts_of_one_version_the_other_one_holds_once_one_was_taken_back(
    people: Publishers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with people.mirror(tmp_path / "m.git", people.document(1)) as state:
        first = held(state)
        thiefs, owners = people.document(2, first, refs={}), people.document(2, first)
        take(state, thiefs)
        with pytest.raises(Equivocation):
            take(state, owners)
        assert why_all_stay(state) is not None
        go_back(state, 1)
        assert take(state, owners) is not None and why_all_stay(state) is None
        assert not describe_state(state)["catalogue"]["equivocation"]
    caplog.clear()


def test_what_was_taken_back_stays_so_after_a_restart(people: Publishers, tmp_path: Path) -> None:
    path = tmp_path / "m.git"
    with people.mirror(path, people.document(1)) as state:
        take(state, people.document(HIGH))
        thiefs = held(state).document
        go_back(state, 1)
    with State(open_repository(path)) as state:
        assert held(state).catalogue.version == 1
        assert state.catalogues.latest.read_bytes() == held(state).document
        with pytest.raises(SetAside):
            take(state, thiefs)


def test_a_ref_that_its_owner_puts_back_after_a_rewind_stays_there_and_goes_on_from_there(
    people: Publishers, tmp_path: Path
) -> None:
    history = History(tmp_path / "m.git")
    one, thiefs = history.chain(2)
    (next_of_one,) = history.chain(1, one)
    for number, oid in enumerate((thiefs, next_of_one)):
        history.ref(f"refs/made/{number}", oid)
    with people.mirror(history.path, people.document(1, refs={MAIN: one}), create=False) as state:
        state.take_up(Work(jobs=1))
        move_refs(state)
        take(state, people.document(2, held(state), refs={MAIN: thiefs, b"refs/heads/thiefs": thiefs}))
        assert move_refs(state).moved == 2
        go_back(state, 1)
        history.ref("refs/heads/main", one)
        history.ref("refs/heads/thiefs", None)

        async def nothing(node: Node) -> None:
            pass

        with_node(state, [], nothing)  # a start
        assert history.refs() == {"refs/heads/main": one}
        take(state, people.document(2, held(state), refs={MAIN: next_of_one}))
        assert move_refs(state).held_back == {} and history.refs() == {"refs/heads/main": next_of_one}


def test_while_the_held_catalogue_has_fallen_a_start_moves_no_ref(
    people: Publishers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = History(tmp_path / "m.git")
    one, thiefs = history.chain(2)
    history.ref("refs/made/1", thiefs)
    with people.mirror(history.path, people.document(1, refs={MAIN: one}), create=False) as state:
        state.take_up(Work(jobs=1))
        take(state, people.document(2, held(state), refs={MAIN: thiefs}))
        assert move_refs(state).moved == 1
        people.use_ring(state, with_revoked(people))
        history.ref("refs/heads/main", one)

        async def nothing(node: Node) -> None:
            pass

        with_node(state, [], nothing)
        assert history.refs() == {"refs/heads/main": one}
    caplog.clear()


def test_a_running_node_goes_back_when_it_is_asked(
    people: Publishers, attacked: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    feed = tmp_path / "feed.asc"
    thiefs = held(attacked).document
    feed.write_bytes(thiefs)

    async def act(node: Node) -> None:
        done = await node.publishing.rewind(2)
        assert done["version"] == 2 and len(done["files"]) == 1
        again = tmp_path / "again.asc"
        again.write_bytes(thiefs)
        node.poller.use([parse_feed(str(again))])
        await node.poller.poll_once()
        (report,) = node.poller.reports()
        assert report.error is not None and "taken back" in report.error

    with_node(attacked, [feed], act)
    assert held(attacked).catalogue.version == 2
    caplog.clear()
