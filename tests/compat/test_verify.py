# SPDX-License-Identifier: GPL-3.0-or-later
"""What `gtfs verify` says under each policy, with git, gpg and real signatures: the tree, the blame, the advice."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from history import History
from keys import DAY_S, Keys, now_s, shared_keys

from gtfs.catalogue.accept import Equivocation
from gtfs.catalogue.freshness import Freshness
from gtfs.catalogue.issue import IssueSettings, next_catalogue
from gtfs.ids import ObjectId, PackDigest, pack_name
from gtfs.ingest.refmoves import RefReport, follow_refs
from gtfs.pack.limits import Limits
from gtfs.repo.encoding import encode_many
from gtfs.repo.work import Work
from gtfs.state.describe import describe_state
from gtfs.state.explain import NothingToVerify, explain
from gtfs.state.freshness import take_freshness
from gtfs.state.initialise import initialise
from gtfs.state.listed import is_listed
from gtfs.state.publish import publish_now
from gtfs.state.rewind import go_back
from gtfs.state.ring import answer
from gtfs.state.state import State
from gtfs.trust.attestation import Attestation

pytestmark = pytest.mark.warns  # a publisher here has not all keys, and says which refs mirrors of the kind hold back

MAIN, TAG = "refs/heads/main", "refs/tags/v1"


class Pub:
    """A publisher whose policy a test gives, and a mirror that holds its catalogue; git has brought all objects."""

    def __init__(self, path: Path, keys: Keys) -> None:
        self.keys = keys
        self.root = path
        self.history = History(path / "pub.git", keys)
        self.history.git("symbolic-ref", "HEAD", MAIN)
        self.opened = contextlib.ExitStack()

    def publish(self, *lines: str, **refs: ObjectId) -> State:
        """Publish these, and give the state of a mirror that holds the catalogue and has moved no ref."""
        for name, oid in refs.items():
            self.history.ref(TAG if name == "tag" else f"refs/heads/{name}", oid)
        with State(self.history.repository) as state:
            if state.config.sign_key() is None:
                initialise(state, "demo", self.keys["alice"], str(self.keys.home))
            state.config.set("policy", *lines)
            publish_now(state, Work(jobs=1))
        return self.mirror()

    def mirror(self) -> State:
        self.opened.close()
        place = self.root / "mirror.git"
        if place.exists():
            shutil.rmtree(place)
        mirror = History(place, self.keys)
        mirror.git("fetch", "--quiet", str(self.history.path), "refs/*:refs/made/*")
        with State(mirror.repository) as made:
            made.take_up(Work(jobs=1))
        for name in mirror.refs("refs/made"):
            mirror.git("update-ref", "-d", name)
        (place / "gtfs" / "keyring.gpg").write_bytes(self.keys.export("alice", "bob", "carol", "expired"))
        held = self.history.path / "gtfs" / "catalogue"
        for file in held.iterdir():
            shutil.copy(file, place / "gtfs" / "catalogue")
        return self.opened.enter_context(State(mirror.repository))


@pytest.fixture
def pub(tmp_path: Path) -> Iterator[Pub]:
    made = Pub(tmp_path, shared_keys())
    yield made
    made.opened.close()


def follow(state: State) -> RefReport:
    assert state.held is not None
    return follow_refs(state.repository, state.index, state.held.catalogue.refs, None, state.demands())


def one(state: State, word: str) -> dict[str, Any]:
    (judged,) = explain(state, [word])["judged"]
    return dict(judged)


def rules(judged: dict[str, Any]) -> dict[str, str]:
    """The verdict of each rule at the top; of several with one name, the last."""
    return {reason["rule"]: reason["verdict"] for reason in judged["because"]}


def found(judged: dict[str, Any], rule: str) -> dict[str, Any]:
    return dict(next(r for r in reversed(judged["because"]) if r["rule"] == rule))


def blamed(state: State, word: str) -> tuple[str, str, str, str]:
    """Rule, object, cause and advice of the one reason why it is not accepted."""
    said = explain(state, [word])
    ((reason,),) = said["blamed"]
    assert not said["accepted"] and said["exit_code"] == 4
    return reason["rule"], reason["subject"], reason["cause"], reason["advice"]


# -- the catalogue ----------------------------------------------------------------------------------------------------


def test_the_chain_begins_with_who_signed_the_catalogue_its_freshness_and_the_ring(pub: Pub) -> None:
    tip = pub.history.chain(2)[-1]
    state = pub.publish("** catalogue", main=tip)
    said = explain(state, [MAIN])
    assert said["accepted"] and said["exit_code"] == 0 and said["blamed"] == [[]]
    (judged,) = said["judged"]
    assert [r["rule"] for r in judged["because"][:3]] == ["catalogue", "freshness", "keyring"]
    catalogue, freshness, ring = judged["because"][:3]
    assert state.held is not None and state.keyring is not None
    assert catalogue["subject"] == freshness["subject"] == state.held.digest
    assert catalogue["who"] == [pub.keys["alice"]] and catalogue["when"] == state.held.catalogue.date_s
    assert [(r["rule"], r["who"], r["at"]) for r in catalogue["because"]] == [("signature", [pub.keys["alice"]], "now")]
    assert ring["subject"] == state.keyring.digest.hex()
    assert found(judged, "policy")["because"][0]["text"] == "the catalogue's: ** catalogue"
    assert found(judged, "here")["subject"] == tip.hex()


def test_words_mean_refs_as_git_takes_them(pub: Pub) -> None:
    tip = pub.history.commit()
    state = pub.publish("** catalogue", main=tip, tag=pub.history.tag(tip, "v1"))
    subjects = [r["subject"] for r in explain(state, ["main", "heads/main", "v1", "HEAD", MAIN])["judged"]]
    assert subjects == [MAIN, MAIN, TAG, MAIN, MAIN]
    for word in ("nothing", "ab" * 20, f"{'ab' * 20}.pack"):
        with pytest.raises(NothingToVerify):
            explain(state, [word])


def test_a_ref_that_the_catalogue_does_not_list_is_refused_and_its_publisher_is_told_of(pub: Pub) -> None:
    state = pub.publish("** catalogue", main=pub.history.commit())
    state.repository.git("update-ref", "refs/heads/mine", pub.history.refs()[MAIN].hex())
    rule, _, cause, advice = blamed(state, "mine")
    assert (rule, cause) == ("catalogue", "not-listed") and "gtfs publish" in advice


def test_past_its_time_the_catalogue_moves_nothing_and_a_freshness_statement_says_by_whom_it_does_again(
    pub: Pub, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = pub.publish("** catalogue", main=pub.history.commit())
    held = state.held
    assert held is not None
    late_s = held.catalogue.valid_until_s + DAY_S
    monkeypatch.setattr("time.time", lambda: float(late_s))
    assert blamed(state, MAIN)[:3] == ("freshness", held.digest, "stale")
    said = Freshness("demo", held.catalogue.version, held.digest, late_s - 60, late_s + 10 * DAY_S)
    document = pub.keys.clearsign(said.to_text().encode(), "alice", time_s=late_s - 60)
    assert take_freshness(state, document)
    fresh = found(one(state, MAIN), "freshness")
    assert fresh["verdict"] == "holds" and fresh["who"] == [pub.keys["alice"]]


def test_two_catalogues_of_one_version_are_named_as_what_stands_against_every_ref(pub: Pub) -> None:
    state = pub.publish("** catalogue", main=pub.history.commit())
    assert state.held is not None
    settings = IssueSettings("demo", (pub.keys["alice"],), valid_s=20 * DAY_S)
    other = next_catalogue(None, {}, (), settings, now_s())
    document = pub.keys.clearsign(other.to_text().encode(), "alice")
    state.catalogues.save_equivocation(Equivocation(state.held.catalogue.version, None, document))
    assert blamed(state, MAIN)[::2] == ("catalogue", "two-catalogues")


# -- signatures -------------------------------------------------------------------------------------------------------


def test_every_commit_names_the_signers_and_the_one_commit_that_nobody_signed(pub: Pub) -> None:
    chain = pub.history.chain(2, by="alice")
    chain.append(pub.history.commit(chain[-1], by="bob"))
    state = pub.publish("refs/heads/* every-commit", main=chain[-1])
    every = found(one(state, MAIN), "every-commit")
    assert every["verdict"] == "holds" and every["who"] == [pub.keys["alice"], pub.keys["bob"]]
    newest = every["because"][0]
    assert (newest["rule"], newest["subject"], newest["who"]) == ("signature", chain[-1].hex(), [pub.keys["bob"]])
    assert newest["at"] == "made" and newest["when"] is not None

    unsigned = pub.history.commit(chain[-1])
    state = pub.publish("refs/heads/* every-commit", main=pub.history.commit(unsigned, by="alice"))
    rule, subject, cause, advice = blamed(state, MAIN)
    assert (rule, subject, cause) == ("every-commit", unsigned.hex(), "unsigned") and "git commit -S" in advice


@pytest.mark.parametrize(
    ("line", "by", "cause"),
    [("by={alice}", "bob", "not-allowed"), ("", "mallory", "unknown-key"), ("strict-expiry", "expired", "expired")],
)
def test_who_signed_and_may_not_is_blamed_by_cause(pub: Pub, line: str, by: str, cause: str) -> None:
    tip = pub.history.commit(by=by) if by != "expired" else signed_in_time(pub)
    state = pub.publish(f"refs/heads/* every-commit {line.format(alice=pub.keys['alice'])}".rstrip(), main=tip)
    rule, subject, found_cause, advice = blamed(state, MAIN)
    assert (rule, subject, found_cause) == ("every-commit", tip.hex(), cause) and advice


def signed_in_time(pub: Pub) -> ObjectId:
    """A commit by the key that has expired since, from when it was good."""
    history = pub.history
    head = b"tree %s\nauthor A <a@x> 1 +0000\ncommitter A <a@x> 1 +0000\n" % history.tree.hex().encode()
    signature = pub.keys.sign(head + b"\nold\n", "expired", time_s=now_s() - 3 * 365 * DAY_S + 3600)
    lines = signature.rstrip(b"\n").split(b"\n")
    return history.put("commit", head + b"gpgsig " + b"\n ".join(lines) + b"\n\nold\n")


def test_an_expired_key_counts_for_what_the_catalogue_lists_and_the_rule_of_time_is_told(pub: Pub) -> None:
    tip = signed_in_time(pub)
    state = pub.publish("refs/heads/* every-commit", main=tip)
    every = found(one(state, MAIN), "every-commit")
    assert every["because"][0]["at"] == "made" and every["because"][0]["when"] < now_s() - 2 * 365 * DAY_S


def test_a_tag_is_explained_by_its_signature_and_a_branch_by_the_tag_that_it_is_at(pub: Pub) -> None:
    tip = pub.history.commit()
    tag = pub.history.tag(tip, "v1", by="alice")
    state = pub.publish("** tag", main=tip, tag=tag)
    for ref in (TAG, MAIN):
        signed = found(one(state, ref), "tag")
        assert (signed["verdict"], signed["subject"], signed["who"]) == ("holds", tag.hex(), [pub.keys["alice"]])
    other = pub.history.commit(tip)
    state = pub.publish("** tag", main=other, tag=pub.history.tag(other, "v9", by="alice"))
    assert blamed(state, TAG)[::2] == ("tag", "tag-name")
    assert one(state, MAIN)["verdict"] == "holds"


def test_a_branch_without_a_signed_tag_is_refused_with_what_to_do(pub: Pub) -> None:
    tip = pub.history.commit()
    state = pub.publish("** tag", main=tip)
    rule, subject, cause, advice = blamed(state, MAIN)
    assert (rule, subject, cause) == ("tag", tip.hex(), "no-tag") and "git tag -s" in advice


def test_a_way_is_told_from_its_root_with_the_signers_of_its_commits(pub: Pub) -> None:
    root = pub.history.commit()
    topic = pub.history.commit(root)
    merge = pub.history.commit(root, topic, by="alice")
    line = f"refs/heads/* path by={pub.keys['alice']} root={root.hex()}"
    state = pub.publish(line, main=merge)
    (way,) = found(one(state, MAIN), "path")["because"]
    assert (way["rule"], way["subject"], way["who"]) == ("way", root.hex(), [pub.keys["alice"]])
    assert [r["subject"] for r in way["because"]] == [merge.hex()]
    unsigned = pub.history.commit(merge)
    state = pub.publish(line, main=unsigned)
    assert blamed(state, MAIN)[:3] == ("path", unsigned.hex(), "unsigned")
    state = pub.publish("refs/heads/* path", main=unsigned)
    assert blamed(state, MAIN)[::2] == ("path", "no-start")


# -- sign-offs --------------------------------------------------------------------------------------------------------


def hear(pub: Pub, state: State, who: str, oid: ObjectId) -> None:
    expected, held, row = state.expected(), state.held, state.index.packs.get(oid)
    assert expected is not None and held is not None and row is not None and row.digest is not None
    packs = {oid: PackDigest(row.digest)}
    said = Attestation("demo", held.catalogue.version, held.digest, now_s() - 60, now_s() + DAY_S,
                       {MAIN.encode(): oid}, packs)  # fmt: skip
    assert state.attestations.take(pub.keys.clearsign(said.to_text().encode(), who), expected)


def test_a_quorum_tells_whose_sign_offs_are_here_and_whose_are_not(pub: Pub) -> None:
    tip = pub.history.commit()
    who = sorted((pub.keys["bob"], pub.keys["carol"]))
    state = pub.publish(f"** catalogue threshold=2 attesters={','.join(who)}", main=tip)
    hear(pub, state, "bob", tip)
    rule, subject, cause, advice = blamed(state, MAIN)
    assert (rule, subject, cause) == ("quorum", tip.hex(), "quorum") and "attester" in advice
    offs = {
        r["subject"]: (r["verdict"], bool(r["when"])) for r in one(state, MAIN)["because"] if r["rule"] == "sign-off"
    }
    assert offs == {pub.keys["bob"]: ("holds", True), pub.keys["carol"]: ("note", False)}
    hear(pub, state, "carol", tip)
    quorum = found(one(state, MAIN), "quorum")
    assert (quorum["verdict"], sorted(quorum["who"]), len(quorum["because"])) == ("holds", who, 2)


def test_the_status_shows_the_progress_of_every_ref_that_needs_sign_offs_also_once_it_has_moved(pub: Pub) -> None:
    tip = pub.history.commit()
    who = sorted((pub.keys["bob"], pub.keys["carol"]))
    state = pub.publish(f"refs/heads/main catalogue threshold=2 attesters={','.join(who)}", main=tip, free=tip)

    def progress() -> list[tuple[str, int, list[str]]]:
        return [(q["ref"], q["needed"], q["have"]) for q in describe_state(state)["quorums"]]

    assert progress() == [(MAIN, 2, [])]
    hear(pub, state, "bob", tip)
    hear(pub, state, "carol", tip)
    assert follow(state).moved == 2
    assert progress() == [(MAIN, 2, who)] and describe_state(state)["refs_held_back"] == []


def test_a_head_that_the_owners_lines_hold_back_is_told_of(pub: Pub) -> None:
    tip = pub.history.commit()
    state = pub.publish("** catalogue", main=tip, other=tip)
    assert follow(state).moved == 2
    state.repository.git("symbolic-ref", "HEAD", "refs/heads/other")
    state.config.set("policy", "refs/heads/other catalogue threshold=2")
    (held_back,) = describe_state(state)["refs_held_back"]
    assert (held_back["ref"], held_back["sync"], held_back["wanted"]) == ("HEAD", False, None)
    assert "asks more of refs/heads/other, where HEAD is, than of refs/heads/main" in held_back["reason"]
    state.config.set("policy", "** catalogue threshold=2")
    assert [h["ref"] for h in describe_state(state)["refs_held_back"]] == []


# -- objects and packs ------------------------------------------------------------------------------------------------


def test_an_object_tells_who_vouches_for_it_and_the_refs_that_are_there(pub: Pub) -> None:
    chain = pub.history.chain(2, by="alice")
    state = pub.publish("refs/heads/* every-commit", main=chain[-1])
    judged = one(state, chain[-1].hex())
    assert judged["rule"] == "object" and judged["verdict"] == "holds"
    assert found(judged, "let-in")["who"] == [pub.keys["alice"]]
    ref = found(judged, "ref")
    assert ref["subject"] == MAIN and any(r["rule"] == "every-commit" for r in ref["because"])
    assert "ref" not in rules(one(state, chain[0].hex()))


def test_what_neither_a_catalogue_nor_a_signature_vouches_for_is_refused(pub: Pub) -> None:
    tip = pub.history.commit(by="alice")
    state = pub.publish("** catalogue", main=tip)
    stray = pub.history.commit(tip)
    pub.history.git("push", "--quiet", str(state.repository.path), f"{stray.hex()}:refs/heads/stray")
    state.take_up(Work(jobs=1))
    assert blamed(state, stray.hex())[:3] == ("let-in", stray.hex(), "unsigned")


def pack_of(pub: Pub, oid: ObjectId, place: Path) -> Path:
    (run,) = encode_many(pub.history.repository, [oid], place / "spool", Limits(), Work(jobs=1))
    path = place / pack_name(oid)
    ((stamp, offset),) = run.made
    path.write_bytes(run.spool.read_bytes()[offset : offset + stamp.length])
    return path


def test_a_pack_file_is_judged_by_its_bytes(pub: Pub, tmp_path: Path) -> None:
    tip = pub.history.commit(by="alice")
    state = pub.publish("** catalogue", main=tip)
    good = pack_of(pub, pub.history.commit(tip, by="bob"), tmp_path)
    judged = one(state, str(good))
    assert judged["verdict"] == "holds" and found(judged, "let-in")["who"] == [pub.keys["bob"]]
    assert "no catalogue names" in found(judged, "pack")["text"]

    stranger = pack_of(pub, pub.history.commit(tip, by="mallory"), tmp_path)
    assert blamed(state, str(stranger))[::2] == ("let-in", "unknown-key")
    unsigned = pack_of(pub, pub.history.commit(tip), tmp_path)
    assert blamed(state, str(unsigned))[::2] == ("let-in", "unsigned")

    data = bytearray(good.read_bytes())
    data[len(data) // 2] ^= 1
    good.write_bytes(data)
    assert blamed(state, str(good))[::2] == ("pack", "damaged")
    wrong = tmp_path / pack_name(tip)
    wrong.write_bytes(unsigned.read_bytes())
    assert blamed(state, str(wrong))[::2] == ("pack", "damaged")
    with pytest.raises(NothingToVerify):
        explain(state, [str(tmp_path / "x.pack")])


def test_a_pack_whose_parents_are_not_here_has_only_not_come_yet(pub: Pub, tmp_path: Path) -> None:
    state = pub.publish("** catalogue", main=pub.history.commit())
    parent = pub.history.commit()
    said = explain(state, [str(pack_of(pub, pub.history.commit(parent, by="bob"), tmp_path))])
    assert not said["accepted"] and said["exit_code"] == 5
    assert [(r["rule"], r["subject"]) for r in said["blamed"][0]] == [("here", parent.hex())]


def test_a_repository_without_catalogue_and_keyring_says_that_its_owner_vouches(tmp_path: Path) -> None:
    history = History(tmp_path / "r.git")
    tip = history.commit()
    history.ref(MAIN, tip)
    with State(history.repository) as state:
        state.take_up(Work(jobs=1))
        assert [found(one(state, word), "let-in")["verdict"] for word in (MAIN, tip.hex())] == ["holds", "holds"]


def test_a_publisher_is_told_to_publish_what_waits_for_that(pub: Pub) -> None:
    tip = pub.history.commit()
    pub.publish("** catalogue", main=tip)
    later = pub.history.commit(tip)
    pub.history.ref("refs/heads/new", later)
    with State(pub.history.repository) as state:
        state.take_up(Work(jobs=1))
        for word in ("new", later.hex()):
            assert blamed(state, word)[2] == "not-listed"
        assert one(state, MAIN)["verdict"] == "holds"


# -- what follows from another ring -----------------------------------------------------------------------------------


def test_removing_a_key_lists_the_refs_that_are_held_back_from_now_on(pub: Pub) -> None:
    first = pub.history.commit(by="alice")
    other = pub.history.commit(first, by="bob")
    state = pub.publish("refs/heads/* every-commit", main=first, bobs=other)
    assert follow(state).moved == 2
    assert one(state, "bobs")["verdict"] == "holds"
    done = answer(state, {"verb": "remove", "keys": [pub.keys["bob"]]})
    assert list(done["refs_held_back"]) == ["refs/heads/bobs"]
    why = done["refs_held_back"]["refs/heads/bobs"]
    assert (why["rule"], why["subject"], why["cause"]) == ("every-commit", other.hex(), "unknown-key")
    assert blamed(state, "bobs")[:3] == ("every-commit", other.hex(), "unknown-key")


def test_what_moves_refs_and_what_explains_them_say_the_same(pub: Pub) -> None:
    root = pub.history.commit(by="alice")
    places = {
        "good": pub.history.commit(root, by="alice"),
        "unsigned": pub.history.commit(root),
        "stranger": pub.history.commit(root, by="mallory"),
        "bobs": pub.history.commit(root, by="bob"),
    }
    state = pub.publish(f"refs/heads/* every-commit by={pub.keys['alice']}", **places)
    before = {name: explain(state, [name]) for name in places}
    report = follow(state)
    assert {n.decode().removeprefix("refs/heads/") for n in report.held_back} == {
        name for name, said in before.items() if not said["accepted"]
    }
    for name, reason in report.reasons.items():
        ((told,),) = before[name.decode().removeprefix("refs/heads/")]["blamed"]
        assert told == reason.describe()


@pytest.fixture
def own_keys() -> Iterator[Keys]:
    """Keys that the test may change."""
    made = Keys(Path(tempfile.mkdtemp(prefix="gtfs-keys-", dir="/tmp")))
    yield made
    made.close()


def test_a_catalogue_whose_signer_has_gone_since_is_told_and_still_held(own_keys: Keys, tmp_path: Path) -> None:
    pub = Pub(tmp_path, own_keys)
    with pub.opened:
        state = pub.publish("** catalogue", main=pub.history.commit())
        answer(state, {"verb": "remove", "keys": [own_keys["alice"]], "force": True})
        said = explain(state, [MAIN])
        catalogue = said["judged"][0]["because"][0]
        assert said["accepted"] and catalogue["who"] == []
        assert [(r["verdict"], r["cause"]) for r in catalogue["because"]] == [("note", "unknown-key")]


def test_what_only_a_catalogue_named_that_was_taken_back_is_promised_by_nobody(pub: Pub) -> None:
    one, two = pub.history.chain(2)
    pub.publish(main=one)
    pub.publish(main=two)
    with State(pub.history.repository) as state:
        assert explain(state, [two.hex()])["accepted"] and is_listed(state, state.index.packs.get(two))
        go_back(state, 1)
        assert not explain(state, [two.hex()])["accepted"] and not is_listed(state, state.index.packs.get(two))
        assert is_listed(state, state.index.packs.get(one))
