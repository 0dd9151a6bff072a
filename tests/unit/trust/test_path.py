# SPDX-License-Identifier: GPL-3.0-or-later
"""`path` over toy histories: who signed is a name, and a signature is good if the ring has a key of that name."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toykeys import RIGHTS, armored, fingerprint, guix, key_packets, policy, table

from gtfs.ids import Fingerprint, ObjectId
from gtfs.trust import path as path_module
from gtfs.trust.keyring import Keyring, keyring_of
from gtfs.trust.path import Kind, NoWay, StepJudge, find_way, latest_policy
from gtfs.trust.policy import Policy, PolicyRefused, parse_policy
from gtfs.trust.publickey import KeyReader
from gtfs.trust.reason import Reason, refused
from gtfs.trust.treepolicy import GUIX, SEQUOIA

ALL = " ".join(RIGHTS)
BY_TREE = Policy(b"**", "path", files=frozenset({SEQUOIA}))
BY_GUIX = Policy(b"**", "path", files=frozenset({GUIX}))


def ring(*names: str, revoked: Sequence[str] = ()) -> Keyring:
    reader = KeyReader()
    for name in names:
        reader.read(key_packets(name, revoked=name in revoked))
    return keyring_of(reader.keys)


def by(*names: str) -> Policy:
    return Policy(b"**", "path", signers=frozenset(map(fingerprint, names)))


def name(text: str) -> ObjectId:
    return ObjectId(text.encode().ljust(20, b"."))


@dataclass
class Toy:
    """Commits by their names; of one commit the tree holds one file of each name."""

    own: Keyring | None = None
    parents_of: dict[ObjectId, list[ObjectId]] = field(default_factory=dict)
    signed_by: dict[ObjectId, str] = field(default_factory=dict)
    files: dict[ObjectId, dict[str, bytes]] = field(default_factory=dict)
    asked: list[ObjectId] = field(default_factory=list)

    def commit(
        self,
        text: str,
        parents: str = "",
        *,
        signer: str = "",
        sequoia: bytes | None = None,
        listed: bytes | None = None,
    ) -> None:
        """Another commit; files that are not given are those of its first parent, and b"" removes one."""
        oid, above = name(text), [name(p) for p in parents.split()]
        files = dict(self.files[above[0]]) if above else {}
        for file, data in ((SEQUOIA, sequoia), (GUIX, listed)):
            if data is not None:
                files[file] = data
        self.parents_of[oid], self.signed_by[oid] = above, signer
        self.files[oid] = {file: data for file, data in files.items() if data}

    def file_id(self, commit: ObjectId, name: str) -> ObjectId | None:
        return ObjectId(self.files[commit][name]) if name in self.files[commit] else None

    def blob(self, oid: ObjectId, limit: int) -> bytes:
        return oid

    def signer(self, oid: ObjectId, kind: Kind) -> Fingerprint:
        if self.own is None:
            raise PolicyRefused("no keyring is given")
        return self.signer_in(oid, kind, self.own)

    def signer_in(self, oid: ObjectId, kind: Kind, ring: Keyring) -> Fingerprint:
        self.asked.append(oid)
        who = self.signed_by[oid]
        if not who:
            raise PolicyRefused(f"the {kind} is not signed")
        if who.startswith("SHA256:"):
            return Fingerprint(who)
        key = fingerprint(who)
        if key not in ring.primaries:
            raise PolicyRefused("the key that signed is not in the keyring")
        if ring.keys[key].has_revocation():
            raise PolicyRefused("the key that signed is revoked")
        return key

    def signing_key(self, oid: ObjectId) -> Fingerprint | None:
        return None if not self.signed_by[oid] else fingerprint(self.signed_by[oid] + "'s subkey")

    def way(self, start: str, target: str, demanded: Policy = BY_TREE) -> list[str] | str:
        """The names of the commits on a way, or why there is none."""
        judge = StepJudge(demanded, self, self.own, latest_policy(demanded, self, name(target)))
        after = {name(start)}
        for oid, parents in self.parents_of.items():  # in the order of their making
            if after & set(parents):
                after.add(oid)
        try:
            way = find_way(name(start), name(target), Steps(self, after, judge), {})
        except NoWay as e:
            return e.reason
        return [oid.decode().rstrip(".") for oid in way]


@dataclass
class Steps:
    toy: Toy
    after: set[ObjectId]
    judge: StepJudge

    def parents(self, commit: ObjectId) -> Sequence[ObjectId]:
        return [p for p in self.toy.parents_of[commit] if p in self.after]

    def objection(self, child: ObjectId, parent: ObjectId) -> Reason | None:
        return self.judge.objection(child, parent)


@pytest.fixture
def toy() -> Toy:
    """alice may do all, bob sign commits."""
    made = Toy()
    made.commit("root", sequoia=policy({"alice": ALL, "bob": "sign_commit"}))
    return made


# -- the search -----------------------------------------------------------------------------------------------------


class Grid:
    """Merges of merges: each commit has two parents, both of the row below; some steps are forbidden."""

    def __init__(self, rows: int, forbidden: frozenset[tuple[int, int]] = frozenset()) -> None:
        self.rows = rows
        self.forbidden = forbidden
        self.looked_at = 0

    def oid(self, row: int, side: int) -> ObjectId:
        return ObjectId(b"%04d%d" % (row, side))

    def parents(self, commit: ObjectId) -> Sequence[ObjectId]:
        row, side = int(commit[:4]), int(commit[4:])
        if row == 0:
            return ()
        return [self.oid(row - 1, 0)] if row == 1 else [self.oid(row - 1, side), self.oid(row - 1, 1 - side)]

    def objection(self, child: ObjectId, parent: ObjectId) -> Reason | None:
        self.looked_at += 1
        is_forbidden = (int(child[:4]), int(child[4:])) in self.forbidden
        return refused("path", child.hex(), "forbidden", "not-allowed") if is_forbidden else None


def test_a_search_looks_at_each_step_once_however_many_ways_there_are() -> None:
    grid = Grid(1000)
    assert len(find_way(grid.oid(0, 0), grid.oid(999, 0), grid, {})) == 1000
    assert grid.looked_at == 999  # first parents first
    # Nobody may sign the first commit: 2^998 ways end there.
    closed: dict[ObjectId, Reason] = {}
    grid = Grid(1000, frozenset({(1, 0), (1, 1)}))
    with pytest.raises(NoWay, match="forbidden"):
        find_way(grid.oid(0, 0), grid.oid(999, 0), grid, closed)
    assert grid.looked_at <= 2 * 2 * 1000
    looked_at = grid.looked_at
    with pytest.raises(NoWay, match="forbidden"):
        find_way(grid.oid(0, 0), grid.oid(999, 1), grid, closed)
    assert grid.looked_at <= looked_at + 2


def test_a_search_ends_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_module, "STEPS", 100)
    grid = Grid(200)
    with pytest.raises(NoWay, match="over the limit"):
        find_way(grid.oid(0, 0), grid.oid(199, 0), grid, {})
    assert len(find_way(grid.oid(99, 0), grid.oid(199, 0), grid, {})) == 101


@given(st.frozensets(st.tuples(st.integers(1, 7), st.integers(0, 1))), st.integers(0, 1))
def test_a_way_is_found_exactly_where_one_is(forbidden: frozenset[tuple[int, int]], side: int) -> None:
    grid = Grid(8, forbidden)
    start, target = grid.oid(0, 0), grid.oid(7, side)

    def leads(commit: ObjectId) -> bool:
        return commit == start or (
            grid.objection(commit, commit) is None and any(leads(parent) for parent in grid.parents(commit))
        )

    try:
        way = find_way(start, target, grid, {})
    except NoWay:
        assert not leads(target)
    else:
        assert way[0] == start and way[-1] == target
        assert all(a in grid.parents(b) and grid.objection(b, a) is None for a, b in itertools.pairwise(way))


# -- who may sign ---------------------------------------------------------------------------------------------------


def test_a_way_of_signers_whom_the_parents_policies_name(toy: Toy) -> None:
    toy.commit("a", "root", signer="alice")
    toy.commit("b", "a", signer="bob")
    assert toy.way("root", "b") == ["root", "a", "b"]
    assert toy.way("b", "b") == ["b"]
    assert toy.way("root", "b", by("alice")) == f"no keyring is given ({name('b').hex()})"
    toy.own = ring("alice", "bob")
    assert toy.way("root", "b", by("alice", "bob")) == ["root", "a", "b"]
    assert toy.way("root", "b", Policy(b"**", "path")) == ["root", "a", "b"]
    assert toy.way("root", "b", by("alice")) == f"{fingerprint('bob')} may not sign this ({name('b').hex()})"


def test_a_list_in_the_line_tightens_the_one_in_the_tree(toy: Toy) -> None:
    toy.commit("a", "root", signer="alice")
    toy.commit("b", "a", signer="bob")
    only_alice = Policy(b"**", "path", signers=frozenset({fingerprint("alice")}), files=frozenset({SEQUOIA}))
    assert toy.way("root", "a", only_alice) == ["root", "a"]
    assert "may not sign" in toy.way("root", "b", only_alice)


def test_keys_that_are_kept_for_catalogues_count_only_where_named(toy: Toy) -> None:
    toy.own = ring("alice", "bob").with_named_only([fingerprint("bob")])
    toy.commit("b", "root", signer="bob")
    assert "may not sign" in toy.way("root", "b", Policy(b"**", "path"))
    assert toy.way("root", "b", by("bob")) == ["root", "b"]


def test_an_unsigned_commit_is_on_no_way(toy: Toy) -> None:
    toy.commit("a", "root")
    toy.commit("b", "a", signer="alice")
    assert toy.way("root", "b") == f"the commit is not signed ({name('a').hex()})"


def test_a_merge_by_one_who_may_brings_in_what_nobody_signed(toy: Toy) -> None:
    toy.commit("main", "root", signer="alice")
    toy.commit("topic1", "root")
    toy.commit("topic2", "topic1", signer="mallory")
    toy.commit("merge", "main topic2", signer="bob")
    assert toy.way("root", "merge") == ["root", "main", "merge"]
    toy.commit("other", "main topic2", signer="mallory")
    assert "not in the keyring" in toy.way("root", "other")


def test_a_way_may_lead_by_any_parent_of_an_octopus(toy: Toy) -> None:
    for n in range(5):
        toy.commit(f"topic{n}", "root")
    toy.commit("signed", "root", signer="bob")
    toy.commit("octopus", "topic0 topic1 topic2 signed topic3 topic4", signer="alice")
    assert toy.way("root", "octopus") == ["root", "signed", "octopus"]
    toy.commit("loose", "topic0 topic1 topic2 topic3 topic4", signer="alice")
    assert "not signed" in toy.way("root", "loose")


def test_no_way_begins_at_another_root_commit(toy: Toy) -> None:
    toy.commit("root2", signer="alice", sequoia=policy({"alice": ALL}))
    toy.commit("a", "root2", signer="alice")
    toy.commit("merge", "a root", signer="alice")
    assert toy.way("root", "a") == f"no way leads to {name('a').hex()} from {name('root').hex()}"
    assert toy.way("root", "merge") == ["root", "merge"]
    toy.commit("unrelated", "root2", signer="mallory", sequoia=policy({"mallory": ALL}))
    toy.commit("takeover", "unrelated root", signer="mallory")
    assert isinstance(toy.way("root", "takeover"), str)


def test_teleport_to_a_branch_that_others_sign_is_no_way(toy: Toy) -> None:
    """A ref of one branch is shown where another branch stands, whose own policy lets others sign."""
    toy.commit("main", "root", signer="alice")
    toy.commit("experiments", "root", signer="alice", sequoia=policy({"alice": ALL, "eve": "sign_commit"}))
    toy.commit("wild", "experiments", signer="eve")
    assert toy.way("root", "wild") == ["root", "experiments", "wild"]
    assert isinstance(toy.way("main", "wild"), str)
    toy.commit("bridge", "wild main", signer="eve")  # it does descend from both
    assert "not in the keyring" in toy.way("main", "bridge")


# -- changes of the policy ------------------------------------------------------------------------------------------


def test_a_signer_who_adds_himself_is_judged_by_the_policy_before(toy: Toy) -> None:
    with_mallory = policy({"alice": ALL, "bob": "sign_commit", "mallory": ALL})
    toy.commit("smuggled", "root", signer="mallory", sequoia=with_mallory)
    toy.commit("after", "smuggled", signer="mallory")
    assert toy.way("root", "after") == f"the key that signed is not in the keyring ({name('smuggled').hex()})"


def test_who_may_sign_commits_may_not_add_signers(toy: Toy) -> None:
    toy.commit("adds", "root", signer="bob", sequoia=policy({"alice": ALL, "bob": "sign_commit", "eve": "sign_commit"}))
    assert "adds the user eve" in toy.way("root", "adds") and "lacks the right add_user" in toy.way("root", "adds")
    toy.commit("gains", "root", signer="bob", sequoia=policy({"alice": ALL, "bob": ALL}))
    assert "rights to the user bob" in toy.way("root", "gains")
    toy.commit("right", "root", signer="alice", sequoia=policy({"alice": ALL, "bob": "sign_commit", "eve": ALL}))
    toy.commit("eve", "right", signer="eve")
    assert toy.way("root", "eve") == ["root", "right", "eve"]


def test_a_side_branch_that_authorises_somebody_is_not_let_in_by_whom_it_authorises(toy: Toy) -> None:
    toy.commit("main", "root", signer="alice")
    toy.commit("side", "root", signer="mallory", sequoia=policy({"mallory": ALL}))
    for text, parents in (("one", "main side"), ("two", "side main")):
        toy.commit(text, parents, signer="mallory", sequoia=policy({"mallory": ALL}))
        assert isinstance(toy.way("root", text), str) and isinstance(toy.way("main", text), str)


def test_a_merge_brings_in_a_policy_only_with_the_right_to_change_it(toy: Toy) -> None:
    toy.commit("main", "root", signer="alice")
    more = policy({"alice": ALL, "bob": "sign_commit", "eve": "sign_commit"})
    toy.commit("side", "root", signer="alice", sequoia=more)
    toy.commit("by bob", "main", signer="bob")
    toy.parents_of[name("by bob")].append(name("side"))
    toy.files[name("by bob")] = {SEQUOIA: more}
    assert "adds the user eve" in toy.way("main", "by bob")
    assert toy.way("root", "by bob") == ["root", "side", "by bob"]  # alice added eve there
    toy.signed_by[name("by bob")] = "alice"
    assert toy.way("main", "by bob") == ["main", "by bob"]


def test_an_old_policy_is_not_offered_again(toy: Toy) -> None:
    old = policy({"alice": ALL, "bob": "sign_commit"})
    toy.commit("retired", "root", signer="alice", sequoia=policy({"alice": ALL, "carol": "sign_commit"}))
    toy.commit("again", "retired", signer="carol", sequoia=old)
    assert "adds the user bob" in toy.way("root", "again")
    toy.commit("bob", "retired", signer="bob", sequoia=old)
    assert "not in the keyring" in toy.way("root", "bob")


def test_a_retired_signer_signs_nothing_new_and_what_he_signed_stays(toy: Toy) -> None:
    toy.commit("his", "root", signer="bob")
    toy.commit("retired", "his", signer="alice", sequoia=policy({"alice": ALL}))
    assert toy.way("root", "retired") == ["root", "his", "retired"]
    toy.commit("late", "retired", signer="bob")
    assert "not in the keyring" in toy.way("root", "late")
    # From where he still might: there the ref stood no more.
    toy.commit("fork", "his", signer="bob")
    toy.commit("back", "fork retired", signer="bob")
    assert "not in the keyring" in toy.way("retired", "back")


def test_the_keys_of_the_parents_policy_count_and_not_the_childs(toy: Toy) -> None:
    swapped = policy({"alice": ALL}, table("bob", "sign_commit", armored("mallory")))
    toy.commit("swap", "root", signer="mallory", sequoia=swapped)
    assert "not in the keyring" in toy.way("root", "swap")
    toy.commit("bobs", "root", signer="bob", sequoia=swapped)
    assert "lacks the right" in toy.way("root", "bobs")


def test_a_policy_that_goes_or_cannot_be_read_lets_nobody_follow(toy: Toy) -> None:
    toy.commit("bob", "root", signer="bob", sequoia=b"")
    assert "removes the user" in toy.way("root", "bob")
    toy.commit("gone", "root", signer="alice", sequoia=b"")
    assert toy.way("root", "gone") == ["root", "gone"]
    toy.commit("next", "gone", signer="alice")
    assert f"{name('gone').hex()} has no openpgp-policy.toml" in toy.way("root", "next")
    toy.commit("broken", "root", signer="alice", sequoia=b"version = 1")
    assert "its openpgp-policy.toml cannot be read" in toy.way("root", "broken")
    toy.commit("large", "root", signer="alice", sequoia=b"version = 0\n" + b"#" * (1 << 20))
    assert "over the limit" in toy.way("root", "large")


def test_the_right_to_sign_commits_is_needed_for_commits_and_another_for_tags(toy: Toy) -> None:
    toy.commit("start", sequoia=policy({"alice": "sign_commit", "robot": "sign_tag"}))
    toy.commit("c", "start", signer="robot")
    assert "has no right sign_commit" in toy.way("start", "c")
    judge = StepJudge(BY_TREE, toy, None, None)
    for signer, allowed in (("robot", True), ("alice", False), ("mallory", False), ("", False)):
        toy.signed_by[name("tag")] = signer
        if allowed:
            judge.check_tag(name("tag"), name("start"))
        else:
            with pytest.raises(PolicyRefused):
                judge.check_tag(name("tag"), name("start"))


# -- revoked keys and the list of audited commits -------------------------------------------------------------------


def revoking(*goodlist: str) -> bytes:
    revoked = table("bob", "sign_commit", armored("bob", revoked=True))
    return policy({"alice": ALL}, revoked, goodlist=tuple(name(text).hex() for text in goodlist))


def test_a_revocation_counts_for_what_the_key_signed_before(toy: Toy) -> None:
    toy.commit("his", "root", signer="bob")
    toy.commit("revokes", "his", signer="alice", sequoia=revoking())
    toy.commit("now", "revokes", signer="alice")
    assert toy.way("root", "his") == ["root", "his"]
    for place in ("revokes", "now"):
        assert toy.way("root", place) == f"the key that signed is revoked ({name('his').hex()})"
    assert toy.way("his", "now") == ["his", "revokes", "now"]  # or a newer root


def test_a_revocation_counts_after_its_key_has_left_the_policy(toy: Toy) -> None:
    toy.commit("his", "root", signer="bob")
    toy.commit("revokes", "his", signer="alice", sequoia=revoking())
    toy.commit("removes", "revokes", signer="alice", sequoia=policy({"alice": ALL}))
    toy.commit("now", "removes", signer="alice")
    assert toy.way("root", "now") == f"the key that signed is revoked ({name('his').hex()})"
    # One who left without a revocation keeps what he signed.
    toy.commit("retires", "his", signer="alice", sequoia=policy({"alice": ALL}))
    assert toy.way("root", "retires") == ["root", "his", "retires"]


def test_a_revocation_in_the_nodes_own_ring_counts_too(toy: Toy) -> None:
    toy.commit("his", "root", signer="bob")
    toy.own = ring("bob", revoked=["bob"])
    assert "revoked" in toy.way("root", "his")


def test_an_audited_commit_of_a_revoked_key_counts(toy: Toy) -> None:
    toy.commit("his", "root", signer="bob")
    toy.commit("revokes", "his", signer="alice", sequoia=revoking("his"))
    assert toy.way("root", "revokes") == ["root", "his", "revokes"]


def test_the_list_of_audited_commits_lets_in_no_other_commit(toy: Toy) -> None:
    """Neither one that was never signed by one who might, nor one that somebody else than an auditor lists."""
    for text, signer in (("unsigned", ""), ("mallory", "mallory")):
        toy.commit(text, "root", signer=signer)
        toy.commit(f"{text} good", text, signer="alice", sequoia=revoking(text))
        assert name(text).hex() in toy.way("root", f"{text} good")
    toy.commit("self", "root", signer="bob", sequoia=revoking("self"))
    assert "lacks the right audit" in toy.way("root", "self")


def test_only_an_auditor_lists_audited_commits(toy: Toy) -> None:
    toy.commit("his", "root", signer="bob")
    toy.commit("revokes", "his", signer="alice", sequoia=policy({"alice": ALL, "carol": "sign_commit"}))
    listed = policy({"alice": ALL, "carol": "sign_commit"}, goodlist=(name("his").hex(),))
    toy.commit("listed", "revokes", signer="carol", sequoia=listed)
    assert "lacks the right audit" in toy.way("root", "listed")


def test_a_revocation_is_taken_out_of_a_policy_only_with_the_right_to(toy: Toy) -> None:
    users = {"alice": ALL, "eve": "sign_commit add_user"}
    revoked = table("bob", "sign_commit", armored("bob", revoked=True))
    toy.commit("revokes", "root", signer="alice", sequoia=policy(users, revoked))
    toy.commit("forgets", "revokes", signer="eve", sequoia=policy({**users, "bob": "sign_commit"}))
    assert "lacks the right retire_user" in toy.way("root", "forgets")


# -- Guix -----------------------------------------------------------------------------------------------------------


def test_a_way_by_guix_authorizations(toy: Toy) -> None:
    toy.own = ring("alice", "bob", "eve")
    toy.commit("start", listed=guix(fingerprint("alice")))
    toy.commit("unsigned", "start")
    toy.commit("adds-bob", "start unsigned", signer="alice", listed=guix(fingerprint("alice"), fingerprint("bob")))
    toy.commit("bob", "adds-bob", signer="bob")
    assert toy.way("start", "bob", BY_GUIX) == ["start", "adds-bob", "bob"]
    toy.commit("eve", "bob", signer="eve")
    assert "is not in the .guix-authorizations" in toy.way("start", "eve", BY_GUIX)
    toy.commit("self", "bob", signer="eve", listed=guix(fingerprint("eve")))
    assert "is not in the .guix-authorizations" in toy.way("start", "self", BY_GUIX)


def test_guix_names_the_subkey_that_signs(toy: Toy) -> None:
    toy.own = ring("alice", "bob")
    toy.commit("start", listed=guix(fingerprint("alice's subkey")))
    toy.commit("a", "start", signer="alice")
    toy.commit("b", "a", signer="bob")
    assert toy.way("start", "a", BY_GUIX) == ["start", "a"]
    assert "is not in" in toy.way("start", "b", BY_GUIX)


def test_guix_authorizations_are_neither_removed_nor_broken(toy: Toy) -> None:
    toy.own = ring("alice")
    toy.commit("start", listed=guix(fingerprint("alice")))
    toy.commit("removes", "start", signer="alice", listed=b"")
    assert "it removes .guix-authorizations" in toy.way("start", "removes", BY_GUIX)
    toy.commit("breaks", "start", signer="alice", listed=b"(")
    assert "cannot be read" in toy.way("start", "breaks", BY_GUIX)


def test_two_lists_in_the_tree_must_both_name_the_signer(toy: Toy) -> None:
    toy.own = ring("alice", "bob")
    both = parse_policy("** path file=.guix-authorizations")
    both = Policy(b"**", "path", files=both.files | BY_TREE.files)
    toy.commit("start", sequoia=policy({"alice": ALL, "bob": "sign_commit"}), listed=guix(fingerprint("alice")))
    toy.commit("a", "start", signer="alice")
    toy.commit("b", "start", signer="bob")
    assert toy.way("start", "a", both) == ["start", "a"]
    assert "is not in" in toy.way("start", "b", both)


def test_an_ssh_key_counts_where_it_is_named_or_nobody_is(toy: Toy) -> None:
    key = Fingerprint("SHA256:" + "x" * 43)
    toy.own = ring("alice")
    toy.commit("start", sequoia=policy({"alice": ALL}), listed=guix(key, version=1))
    toy.commit("c", "start", signer=key)
    assert toy.way("start", "c", Policy(b"**", "path")) == ["start", "c"]
    assert toy.way("start", "c", Policy(b"**", "path", signers=frozenset({key}))) == ["start", "c"]
    assert "may not sign" in toy.way("start", "c", by("alice"))
