# SPDX-License-Identifier: GPL-3.0-or-later
"""Two publishers at once are no equivocation, and the next catalogue that names both heals it at every mirror."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from publishers import MAIN, Publishers, held, take, with_node

from gtfs.catalogue.accept import Accepted, AlteredChain, CatalogueRefused, Equivocation, OlderVersion
from gtfs.catalogue.document import BadCatalogue, from_text
from gtfs.catalogue.issue import IssueSettings, next_catalogue
from gtfs.ids import SHA1, ObjectId
from gtfs.node.askothers import ask_others
from gtfs.node.node import Node
from gtfs.repo.repository import create_repository, open_repository
from gtfs.repo.work import Work
from gtfs.state.config import BadConfig
from gtfs.state.describe import describe_state
from gtfs.state.divergence import why_all_stay
from gtfs.state.initialise import Wanted, initialise, make_publisher
from gtfs.state.proposal import Proposal, complete, propose
from gtfs.state.publish import publish_now
from gtfs.state.state import State
from gtfs.state.unpublishable import Unpublishable
from gtfs.trust.policy import parse_policy
from gtfs.trust.verify import combine_clearsigned, split_clearsigned


@pytest.fixture(scope="module")
def people() -> Iterator[Publishers]:
    made = Publishers()
    yield made
    made.close()


@pytest.fixture
def mirrors(people: Publishers, tmp_path: Path) -> Iterator[tuple[State, State]]:
    """Two that hold version 1."""
    first = people.document(1)
    with people.mirror(tmp_path / "x.git", first) as x, people.mirror(tmp_path / "y.git", first) as y:
        yield x, y


def test_a_race_leaves_each_mirror_with_what_it_has_and_the_next_catalogue_heals_both(
    people: Publishers, mirrors: tuple[State, State], caplog: pytest.LogCaptureFixture
) -> None:
    x, y = mirrors
    first = held(x)
    ours, theirs = people.document(2, first), people.document(2, first, by="other")
    assert take(x, ours) is not None and take(y, theirs) is not None
    for state, other in ((x, theirs), (y, ours)):
        before = held(state)
        for _ in range(2):
            assert take(state, other) is None
        assert held(state) is before and why_all_stay(state) is None
        assert state.catalogues.equivocations() == {}
        said = describe_state(state)["catalogue"]
        (race,) = said["races"]
        assert not said["equivocation"] and said["digest"] == before.digest
        assert race == {"version": 2, "digest": state.races[0].digest} and race["digest"] != before.digest
        (said_once,) = caplog.records
        assert before.digest[:16] in said_once.getMessage() and race["digest"][:16] in said_once.getMessage()
        caplog.clear()
    healed = people.document(3, ours, theirs)
    for state in (x, y):
        assert take(state, healed) is not None and held(state).catalogue.version == 3
        assert describe_state(state)["catalogue"]["races"] == []
        assert not list(state.catalogues.directory.glob("race-*"))


def test_a_catalogue_that_names_one_of_both_heals_only_those_who_hold_it(
    people: Publishers, mirrors: tuple[State, State], caplog: pytest.LogCaptureFixture
) -> None:
    x, y = mirrors
    ours, theirs = people.document(2, held(x)), people.document(2, held(x), by="other")
    take(x, ours), take(y, theirs)
    third = people.document(3, ours)
    assert take(x, third) is not None
    assert take(y, third) is None and held(y).catalogue.version == 2  # a race of another version
    assert [race.version for race in y.races] == [3]
    fourth = people.document(4, third, theirs)
    assert take(x, fourth) is not None and take(y, fourth) is not None
    caplog.clear()


def test_the_next_publisher_names_what_his_node_has_seen(
    people: Publishers, mirrors: tuple[State, State], caplog: pytest.LogCaptureFixture
) -> None:
    x, _ = mirrors
    ours, theirs = people.document(2, held(x)), people.document(2, held(x), by="other")
    take(x, ours), take(x, theirs)
    caplog.clear()
    settings = IssueSettings("demo", (people["plain"], people["other"]))
    following = next_catalogue(held(x), {}, (), settings, held(x).catalogue.date_s + 1, races=x.races)
    assert following.version == 3 and following.follows == (held(x).digest, x.races[0].digest)
    assert from_text(following.to_text().encode()) == following


def test_one_signer_who_says_two_things_is_an_equivocation_and_both_texts_are_evidence(
    people: Publishers, mirrors: tuple[State, State], caplog: pytest.LogCaptureFixture
) -> None:
    x, _ = mirrors
    ours = people.document(2, held(x))
    take(x, ours)
    for again in (people.document(2, held(x), refs={}), people.document(2, held(x), by=("other", "plain"), refs={})):
        with pytest.raises(Equivocation):
            take(x, again)
    assert [path.read_bytes() for path in x.catalogues.equivocations()[2]]
    assert why_all_stay(x) is not None and x.races == []
    caplog.clear()


def test_one_who_races_with_two_texts_is_an_equivocation_too(
    people: Publishers, mirrors: tuple[State, State], caplog: pytest.LogCaptureFixture
) -> None:
    x, _ = mirrors
    first = held(x)
    take(x, people.document(2, first))
    assert take(x, people.document(2, first, by="other")) is None
    with pytest.raises(Equivocation):
        take(x, people.document(2, first, by="other", refs={}))
    assert len(x.races) == 1 and len(x.catalogues.equivocations()[2]) == 1
    caplog.clear()


def test_nobody_makes_a_race_who_may_not_sign(people: Publishers, mirrors: tuple[State, State]) -> None:
    x, _ = mirrors
    first = held(x)
    take(x, people.document(2, first))
    with pytest.raises(CatalogueRefused):
        take(x, people.document(2, first, by="stranger"))
    with pytest.raises(AlteredChain):  # the same signer forks his own
        take(x, people.document(3, first))
    with pytest.raises(OlderVersion):
        take(x, people.document(1, by="other", refs={}))
    assert x.races == [] and not list(x.catalogues.directory.glob("race-*"))


def test_a_signature_that_anybody_of_the_ring_adds_to_both_makes_no_equivocation(
    people: Publishers, mirrors: tuple[State, State], caplog: pytest.LogCaptureFixture
) -> None:
    x, _ = mirrors
    first = held(x)
    ours, theirs = (
        combine_clearsigned([document, people.sign(split_clearsigned(document)[0], "stranger")])
        for document in (people.document(2, first), people.document(2, first, by="other"))
    )
    assert take(x, ours) is not None and take(x, theirs) is None
    assert len(x.races) == 1 and x.catalogues.equivocations() == {} and why_all_stay(x) is None
    caplog.clear()


def test_a_race_is_judged_by_the_keys_of_now(
    people: Publishers, mirrors: tuple[State, State], caplog: pytest.LogCaptureFixture
) -> None:
    x, _ = mirrors
    first = held(x)
    take(x, people.document(2, first))
    take(x, people.document(2, first, by="other"))
    assert len(x.races) == 1
    people.use_ring(x, people.ring("plain"))
    assert x.races == []
    caplog.clear()


def test_a_feed_that_gives_another_signers_catalogue_has_not_failed(
    people: Publishers, mirrors: tuple[State, State], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    x, _ = mirrors
    ours, theirs = tmp_path / "ours.asc", tmp_path / "theirs.asc"
    ours.write_bytes(people.document(2, held(x)))
    theirs.write_bytes(people.document(2, held(x), by="other"))
    take(x, ours.read_bytes())

    async def look(node: Node) -> None:
        assert [report.error for report in node.poller.reports()] == [None, None]
        assert len(node.status()["catalogue"]["races"]) == 1

    with_node(x, [ours, theirs], look)
    caplog.clear()


def git(path: Path, *args: str) -> str:
    done = subprocess.run(["git", "-C", path, *args], capture_output=True, check=True, text=True)
    return done.stdout.strip()


def commit(bare: Path, branch: str, message: str) -> str:
    tree = git(bare, "hash-object", "-w", "-t", "tree", "/dev/null")
    old = subprocess.run(["git", "-C", bare, "rev-parse", "-q", "--verify", branch], capture_output=True, text=True)
    parents = ["-p", old.stdout.strip()] if old.returncode == 0 else []
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    oid = git(bare, *who, "commit-tree", tree, *parents, "-m", message)
    git(bare, "update-ref", f"refs/heads/{branch}", oid)
    return oid


@pytest.fixture
def two(people: Publishers, tmp_path: Path) -> tuple[Path, Path]:
    """Two publishers that hold version 1, which names both; the second was a mirror that had caught up."""
    a, b = tmp_path / "a.git", tmp_path / "b.git"
    create_repository(a, SHA1)
    tip, both = commit(a, "main", "one"), (people["plain"], people["other"])
    make_publisher(open_repository(a), Wanted("demo", people["plain"], gnupg_home=people.owner.home, signers=both))
    subprocess.run(["git", "clone", "-q", "--mirror", a, b], check=True)
    first = people.document(1, refs={MAIN: ObjectId(bytes.fromhex(tip))})
    for path in (a, b):
        with people.mirror(path, first, create=False) as state:
            state.take_up(Work(jobs=1))
            state.index.refs.set_held(held(state).catalogue.refs)
    make_publisher(open_repository(b), Wanted(None, people["other"], gnupg_home=people.owner.home))
    return a, b


def publish(path: Path, feed: Path) -> Accepted:
    """As `gtfs publish` does without a node."""
    git(path, "config", "--file", str(path / "gtfs" / "config"), "--replace-all", "gtfs.source", str(feed))
    ask_others(open_repository(path))
    with State(open_repository(path)) as state:
        publish_now(state, Work(jobs=1))
        return held(state)


def latest(path: Path) -> Path:
    return path / "gtfs" / "catalogue" / "latest.asc"


def test_the_second_publisher_takes_the_others_newest_first_and_publishes_on_top_of_it(
    people: Publishers, two: tuple[Path, Path]
) -> None:
    a, b = two
    oid = commit(a, "main", "two")
    second = publish(a, latest(b))
    assert second.catalogue.version == 2
    commit(b, "side", "other")
    with pytest.raises(Unpublishable, match="refs/heads/main first; run: gtfs sync"):
        publish(b, latest(a))
    git(b, "fetch", "-q", str(a), "main:main")
    third = publish(b, latest(a))
    assert third.catalogue.version == 3 and third.catalogue.follows == (second.digest,)
    assert third.catalogue.refs[MAIN].hex() == oid and b"refs/heads/side" in third.catalogue.refs


@pytest.mark.warns
def test_two_publishers_who_raced_are_healed_by_whoever_publishes_next(
    people: Publishers, two: tuple[Path, Path]
) -> None:
    a, b = two
    commit(a, "main", "ours")
    commit(b, "side", "theirs")
    ours = publish(a, a / "none.asc")
    theirs = publish(b, b / "none.asc")
    assert ours.catalogue.version == theirs.catalogue.version == 2 and ours.digest != theirs.digest
    healed = publish(a, latest(b))
    assert healed.catalogue.version == 3 and healed.catalogue.follows == (ours.digest, theirs.digest)
    with State(open_repository(b)) as state:
        assert take(state, latest(a).read_bytes()) is not None
        assert held(state).digest == healed.digest and state.races == []


@pytest.mark.warns
def test_what_is_proposed_beside_others_who_are_ahead_is_completed(people: Publishers, two: tuple[Path, Path]) -> None:
    a, b = two
    commit(a, "main", "ours")
    ours = publish(a, a / "none.asc")
    for message in ("theirs", "more"):
        commit(b, "side", message)
        theirs = publish(b, b / "none.asc")
    git(a, "config", "--file", str(a / "gtfs" / "config"), "--replace-all", "gtfs.source", str(latest(b)))
    ask_others(open_repository(a))
    with State(open_repository(a)) as state:
        assert [race.version for race in state.races] == [3]
        waiting = propose(state)
        assert isinstance(waiting, Proposal) and waiting.catalogue.version == 4
        assert complete(state, {"one": people.sign(waiting.file.read_bytes(), "plain")}).version == 4
        assert held(state).catalogue.follows == (ours.digest, theirs.digest)


def test_a_mirror_whose_key_nobody_names_does_not_become_a_publisher(
    people: Publishers, mirrors: tuple[State, State]
) -> None:
    x, _ = mirrors
    with pytest.raises(BadConfig, match="whose Signers do not name"):
        initialise(x, None, people["stranger"], str(people.owner.home))


def test_a_mirror_whose_key_is_named_takes_over_what_the_catalogues_say(people: Publishers, tmp_path: Path) -> None:
    fields = {"policy": (parse_policy("** every-commit"),), "trackers": ("udp://t.example.org:1/announce",)}
    with people.mirror(tmp_path / "m.git", people.document(1, **fields)) as state:
        assert initialise(state, None, people["other"], str(people.owner.home)) == "demo"
        config = state.config
        assert config.get_all("policy") == ["** every-commit"] and config.get_all("tracker") == list(fields["trackers"])
        assert config.get_all("signer") == [people["plain"], people["other"]]
        assert config.sign_key() == people["other"]


@pytest.mark.parametrize(
    "lines", [(), ("ab" * 32, "ab" * 32), tuple(f"{n:064x}" for n in range(9)), ("ab" * 32, "AB" * 32)]
)
def test_previous_names_one_to_eight_different_catalogues(people: Publishers, lines: tuple[str, ...]) -> None:
    text, _ = split_clearsigned(people.document(2))
    before = b"Previous: " + b"0" * 64
    assert before in text
    with pytest.raises(BadCatalogue):
        from_text(text.replace(before, b"\n ".join([b"Previous:", *(line.encode() for line in lines)])))
    eight = b"\n ".join([b"Previous:", *(b"%064x" % n for n in range(8))])
    assert len(from_text(text.replace(before, eight)).follows) == 8
