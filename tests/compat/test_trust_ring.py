# SPDX-License-Identifier: GPL-3.0-or-later
"""`gtfs trust`: keys in every form that distributions and people keep them in, and the web of trust of a real gpg."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from keys import Keys, packet, shared_keys

from gtfs.ids import SHA1
from gtfs.repo.repository import create_repository
from gtfs.state.ring import BadTrust, RingWatch, add, answer, describe_ring, remove
from gtfs.state.state import State
from gtfs.trust.keyring import MissingKeyring
from gtfs.trust.packets import KEY_BLOCK, enarmor
from gtfs.trust.propose import propose


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State(create_repository(tmp_path / "r.git", SHA1)) as opened:
        yield opened


def test_keys_are_taken_from_every_form_and_what_cannot_be_read_is_named(
    keys: Keys, state: State, tmp_path: Path
) -> None:
    text = (
        b"Ask us.\n\n" + enarmor(keys.export("alice"), KEY_BLOCK) + b"\nor\n" + enarmor(keys.export("bob"), KEY_BLOCK)
    )
    (tmp_path / "KEYS").write_bytes(text)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "carol.gpg").write_bytes(packet("key", b"\3" + bytes(20)) + keys.export("carol"))
    (tmp_path / "d" / "bad.asc").write_bytes(b"nothing")
    found = add(state, [tmp_path / "KEYS", tmp_path / "d", keys.home / "pubring.kbx", tmp_path / "none"])
    assert {key["fingerprint"] for key in found["taken"]} == set(keys.fingerprints.values())
    assert [line.split(":")[0].rpartition("/")[2] for line in found["left_out"]] == ["bad.asc", "carol.gpg", "none"]
    assert state.keyring is not None and found["digest"] == state.keyring.digest.hex()


def test_one_key_of_a_large_ring_can_be_taken(keys: Keys, state: State) -> None:
    add(state, [keys.public], [keys["bob"]])
    assert state.keyring is not None and state.keyring.primaries == {keys["bob"]}
    with pytest.raises(MissingKeyring):
        add(state, [keys.public], [keys["mallory"]])


def test_a_newer_copy_of_a_key_is_merged_and_named(keys: Keys, state: State, tmp_path: Path) -> None:
    (tmp_path / "old.gpg").write_bytes(keys.unrevoked)
    (tmp_path / "new.gpg").write_bytes(keys.export("revoked"))
    add(state, [tmp_path / "old.gpg"])
    assert describe_ring(state)["keys"][0]["trouble"] is None
    assert [key["was"] for key in add(state, [tmp_path / "new.gpg"])["taken"]] == ["changed"]
    assert [key["was"] for key in add(state, [tmp_path / "old.gpg"])["taken"]] == ["here"]
    assert describe_ring(state)["keys"][0]["trouble"] == "revoked"


def test_what_a_key_may_do_and_what_is_wrong_with_it_is_told(keys: Keys, state: State) -> None:
    line = f"refs/tags/** tag by={keys['expired']},{keys['mallory']}"
    state.config.set("policy", line)
    add(state, [keys.public])
    found = describe_ring(state)
    by = {key["fingerprint"]: key for key in found["keys"]}
    assert (by[keys["expired"]]["trouble"], by[keys["expired"]]["named"]) == ("expired", True)
    assert len(by[keys["expired"]]["policies"]) == 1 and by[keys["alice"]]["policies"] == []
    assert [key["fingerprint"] for key in found["missing"]] == [keys["mallory"]]
    watch = RingWatch()
    assert watch.describe(state)["expiring"] is None
    watch.look(state)
    assert watch.describe(state)["expiring"][0]["fingerprint"] == keys["expired"]


def test_attesters_are_named_by_their_lines_too(keys: Keys, state: State) -> None:
    state.config.set("policy", f"** catalogue threshold=2 attesters={keys['bob']},{keys['mallory']}")
    add(state, [keys.public])
    found = describe_ring(state)
    assert [key["fingerprint"] for key in found["keys"] if key["named"]] == [keys["bob"]]
    assert [key["fingerprint"] for key in found["missing"]] == [keys["mallory"]]


def test_a_removed_key_is_gone_and_the_key_of_the_publisher_stays(keys: Keys, state: State) -> None:
    add(state, [keys.public])
    remove(state, [keys["bob"]], force=False)
    assert state.keyring is not None and keys["bob"] not in state.keyring.primaries
    state.config.set("signkey", keys["alice"])
    with pytest.raises(BadTrust):
        remove(state, [keys["alice"]], force=False)
    with pytest.raises(BadTrust):
        answer(state, {"verb": "no such"})


def test_a_ring_of_forty_megabytes_is_read(keys: Keys, state: State, tmp_path: Path) -> None:
    padding = packet("attribute", bytes(1 << 19))
    (tmp_path / "large.gpg").write_bytes(keys.export("alice") + padding * 80 + keys.export("bob"))
    add(state, [tmp_path / "large.gpg"])
    assert state.keyring is not None and state.keyring.primaries == {keys["alice"], keys["bob"]}


def test_the_web_of_trust_is_proposed_with_its_paths(tmp_path: Path) -> None:
    own = Keys(tmp_path)
    try:

        def certify(by: str, of: str) -> None:
            own.gpg("--local-user", own[by], "--quick-sign-key", own[of])

        trust = "".join(f"{fpr}:2:\n" for name, fpr in own.fingerprints.items() if name != "alice")
        own.gpg("--import-ownertrust", data=(trust + f"{own['alice']}:6:\n").encode())
        certify("alice", "bob")
        certify("bob", "carol")
        certify("carol", "mallory")
        assert [(p.fingerprint, p.validity, p.paths) for p in propose(own.home)] == [
            (own["bob"], "full", [(own["alice"], own["bob"])])
        ]
        every = {p.fingerprint: p.paths for p in propose(own.home, every=True)}
        assert every[own["carol"]] == [(own["alice"], own["bob"], own["carol"])]
        assert own["expired"] not in every and own["revoked"] not in every
        certify("alice", "carol")
        assert len({p.fingerprint: p.paths for p in propose(own.home)}[own["carol"]]) == 2
    finally:
        own.close()
