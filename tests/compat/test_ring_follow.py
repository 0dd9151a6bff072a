# SPDX-License-Identifier: GPL-3.0-or-later
"""A ring in the tree of a signed repository: what its own node holds there is frozen, and nothing else."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from keys import Keys, packet, shared_keys

from gtfs.ids import SHA1, Fingerprint, ObjectId
from gtfs.reel.index import Index
from gtfs.repo.repository import BadRepository, GitFailed, create_repository
from gtfs.state import keytree, ringfollow
from gtfs.state.keytree import BadKeyTree, KeyFileLost
from gtfs.state.ring import add, answer, describe_ring, remove
from gtfs.state.ringfollow import BadFollowing, RingFollower, follow, read_followed, stop_following
from gtfs.state.state import State
from gtfs.trust.keyring import BadKeyring
from gtfs.trust.packets import KEY_BLOCK, enarmor
from gtfs.trust.publicgpg import GnupgNotRun

MAIN = b"refs/heads/main"


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State(create_repository(tmp_path / "r.git", SHA1)) as opened:
        yield opened


class Keyrings:
    """The mirror of a keyring's repository, as its node leaves it; `push` is what plain git does to it."""

    def __init__(self, path: Path) -> None:
        self.repository = create_repository(path, SHA1)
        self.repository.git("symbolic-ref", "HEAD", MAIN.decode())
        self.repository.state_directory.mkdir(mode=0o700)
        self._made = 0

    def commit(self, files: Mapping[str, bytes], modes: Mapping[str, str] | None = None) -> ObjectId:
        git, index = self.repository.git, {"GIT_INDEX_FILE": str(self.repository.path / "made")}
        git("read-tree", "--empty", env=index)
        for name, data in files.items():
            oid = git("hash-object", "-w", "--stdin", stdin=data).decode().strip()
            mode = (modes or {}).get(name, "100644")
            git("update-index", "--add", "--cacheinfo", f"{mode},{oid},{name}", env=index)
        self._made += 1  # two of the same files in one second are two commits all the same
        tree = git("write-tree", "--missing-ok", env=index).decode().strip()
        who = {f"GIT_{role}_{what}": "a" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        return ObjectId(bytes.fromhex(git("commit-tree", "-m", f"keys {self._made}", tree, env=who).decode()))

    def push(self, oid: ObjectId) -> None:
        self.repository.git("update-ref", MAIN.decode(), oid.hex())

    def hold(self, oid: ObjectId) -> None:
        with Index(self.repository.layout.index) as index:
            index.refs.set_held({MAIN: oid})
        self.push(oid)


@pytest.fixture
def keyrings(tmp_path: Path) -> Keyrings:
    return Keyrings(tmp_path / "keyring.git")


def ring(state: State) -> frozenset[Fingerprint]:
    assert state.keyring is not None
    return state.keyring.primaries


def trouble(state: State) -> str:
    return str(describe_ring(state)["follows"]["trouble"])


def team(keys: Keys, *names: str) -> dict[str, bytes]:
    return {f"gpg/{name}": keys.export(name) for name in names}


def test_the_ring_is_as_the_tree_has_it_and_keys_added_by_hand_stay(
    keys: Keys, keyrings: Keyrings, state: State
) -> None:
    add(state, [keys.public], [keys["revoked"]])
    keyrings.hold(keyrings.commit(team(keys, "alice", "bob")))
    found = follow(state, keyrings.repository.path, None, ["gpg"])
    assert (found["keys"], found["ref"], found["changed"]) == (2, MAIN.decode(), True)
    assert ring(state) == {keys["alice"], keys["bob"], keys["revoked"]}
    follower = RingFollower()
    assert not follower.look(state)
    keyrings.hold(keyrings.commit(team(keys, "alice", "carol")))
    assert follower.look(state)
    assert ring(state) == {keys["alice"], keys["carol"], keys["revoked"]}
    assert not follower.look(state)
    assert stop_following(state)["keys"] == 2
    keyrings.hold(keyrings.commit(team(keys, "bob")))
    assert not follower.look(state)
    assert ring(state) == {keys["alice"], keys["carol"], keys["revoked"]}


def test_only_where_the_node_of_the_keyring_holds_the_ref_is_believed(
    keys: Keys, keyrings: Keyrings, state: State
) -> None:
    keyrings.push(keyrings.commit(team(keys, "alice")))
    with pytest.raises(BadFollowing, match="no mirror of gtfs"):
        follow(state, keyrings.repository.path, None, ["gpg"])
    keyrings.hold(keyrings.commit(team(keys, "bob")))
    with pytest.raises(BadFollowing, match="holds no refs/heads/other"):
        follow(state, keyrings.repository.path, "refs/heads/other", ["gpg"])
    assert state.keyring is None and describe_ring(state)["follows"] is None
    follow(state, keyrings.repository.path, None, ["gpg"])
    keyrings.push(keyrings.commit(team(keys, "mallory")))  # git moved it, and no policy
    assert not RingFollower().look(state)
    assert ring(state) == {keys["bob"]}


def test_a_revocation_that_was_known_once_is_not_forgotten(keys: Keys, keyrings: Keyrings, state: State) -> None:
    keyrings.hold(keyrings.commit({"gpg/r": keys.export("revoked")}))
    follow(state, keyrings.repository.path, None, ["gpg"])
    keyrings.hold(keyrings.commit({"gpg/r": keys.unrevoked, "gpg/a": keys.export("alice")}))
    assert RingFollower().look(state)
    assert state.keyring is not None and state.keyring.keys[keys["revoked"]].has_revocation()


@pytest.mark.parametrize("is_by_hand", [False, True])
def test_nor_is_the_revocation_of_a_key_that_left_and_comes_back(
    keys: Keys, keyrings: Keyrings, state: State, tmp_path: Path, is_by_hand: bool
) -> None:
    keyrings.hold(keyrings.commit(team(keys, "revoked", "alice")))
    follow(state, keyrings.repository.path, None, ["gpg"])
    if is_by_hand:
        remove(state, [keys["revoked"]], force=False)
    else:
        keyrings.hold(keyrings.commit(team(keys, "alice")))
        assert RingFollower().look(state)
    assert keys["revoked"] not in ring(state)
    if is_by_hand:
        old = tmp_path / "old.gpg"
        old.write_bytes(keys.unrevoked)
        add(state, [old])
    else:
        keyrings.hold(keyrings.commit({"gpg/r": keys.unrevoked, "gpg/a": keys.export("alice")}))
        assert RingFollower().look(state)
    assert state.keyring is not None and state.keyring.keys[keys["revoked"]].has_revocation()


@pytest.mark.warns
@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"other/alice": b""}, "there is no gpg in the tree"),
        ({"gpg/alice": b"nothing"}, "there is no key in it"),
        ({"gpg": b"nothing"}, "there is no key in it"),
    ],
)
def test_a_broken_tree_leaves_the_ring_and_the_status_says_so(
    keys: Keys, keyrings: Keyrings, state: State, files: dict[str, bytes], words: str
) -> None:
    first = keyrings.commit(team(keys, "alice"))
    keyrings.hold(first)
    follow(state, keyrings.repository.path, None, ["gpg"])
    follower = RingFollower()
    keyrings.hold(keyrings.commit(files))
    for _ in range(2):
        assert not follower.look(state) and not follower.has_failed  # no other look helps
    assert ring(state) == {keys["alice"]}
    assert words in trouble(state)
    assert describe_ring(state)["follows"]["commit"] == first.hex()
    keyrings.hold(keyrings.commit(team(keys, "bob")))
    assert follower.look(state)
    assert ring(state) == {keys["bob"]} and describe_ring(state)["follows"]["trouble"] is None


@pytest.mark.warns
@pytest.mark.parametrize("what", ["disk", "descriptors", "git", "lost", "gpg", "ring"])
def test_what_hinders_once_takes_no_revocation_away(
    keys: Keys, keyrings: Keyrings, state: State, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise {
            "disk": OSError(errno.ENOSPC, "No space left on device"),
            "descriptors": OSError(errno.EMFILE, "Too many open files"),
            "git": GitFailed(["ls-tree"], -9, b""),
            "gpg": GnupgNotRun("gpg was killed before it ended"),
            "lost": KeyFileLost("gpg/r is missing in git"),
            "ring": BadKeyring("keyring.gpg", "it is damaged"),
        }[what]

    keyrings.hold(keyrings.commit({"gpg/r": keys.unrevoked}))
    follow(state, keyrings.repository.path, None, ["gpg"])
    keyrings.hold(keyrings.commit(team(keys, "revoked")))
    follower = RingFollower()
    with monkeypatch.context() as patch:
        patch.setattr(ringfollow, "read_key_tree" if what in ("git", "lost", "gpg", "descriptors") else "freeze", fail)
        assert not follower.look(state) and trouble(state) != "None" and follower.has_failed
        said = state.layout.followed_ring.stat()
        assert not follower.look(state)
        assert state.layout.followed_ring.stat().st_ino == said.st_ino  # the same is said once
    assert state.keyring is not None and not state.keyring.keys[keys["revoked"]].has_revocation()
    assert follower.look(state) and trouble(state) == "None" and not follower.has_failed
    assert state.keyring.keys[keys["revoked"]].has_revocation()


@pytest.mark.warns
def test_a_keyring_that_is_away_leaves_the_ring_and_is_followed_again_when_it_is_back(
    keys: Keys, keyrings: Keyrings, state: State
) -> None:
    path = keyrings.repository.path
    keyrings.hold(keyrings.commit(team(keys, "alice")))
    follow(state, path, None, ["gpg"])
    path.rename(path.with_name("away"))
    assert not RingFollower().look(state)
    assert "does not exist" in trouble(state)
    path.with_name("away").rename(path)
    assert not RingFollower().look(state)  # looked at, and the same
    assert describe_ring(state)["follows"]["trouble"] is None and ring(state) == {keys["alice"]}


def test_what_the_user_removes_stays_away_and_what_the_user_adds_stays_here(
    keys: Keys, keyrings: Keyrings, state: State
) -> None:
    keyrings.hold(keyrings.commit(team(keys, "alice", "bob", "carol")))
    follow(state, keyrings.repository.path, None, ["gpg"])
    remove(state, [keys["alice"]], force=False)
    add(state, [keys.public], [keys["bob"]])
    keyrings.hold(keyrings.commit(team(keys, "alice", "carol", "revoked")))
    assert RingFollower().look(state)
    assert ring(state) == {keys["bob"], keys["carol"], keys["revoked"]}


def test_a_key_that_signs_catalogues_stays_for_them_alone(
    keys: Keys, keyrings: Keyrings, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyrings.hold(keyrings.commit(team(keys, "alice", "bob")))
    follow(state, keyrings.repository.path, None, ["gpg"])
    monkeypatch.setattr(ringfollow, "_needed", lambda _state, _before, gone: frozenset({keys["alice"]} & set(gone)))
    keyrings.hold(keyrings.commit(team(keys, "carol")))
    assert RingFollower().look(state)
    assert state.keyring is not None
    assert (ring(state), state.keyring.everybody) == ({keys["alice"], keys["carol"]}, {keys["carol"]})
    assert "stays as it signs the catalogues" in describe_ring(state)["follows"]["left_out"][0]


def test_the_signers_of_the_held_catalogue_are_needed(keys: Keys, state: State) -> None:
    held = SimpleNamespace(catalogue=SimpleNamespace(signers=(keys["alice"],), freshness=(keys["carol"],)))
    node = SimpleNamespace(held=held, own_key=lambda: None)
    gone = {keys["alice"], keys["bob"], keys["carol"]}
    assert ringfollow._needed(node, keys.ring, gone) == {keys["alice"], keys["carol"]}  # type: ignore[arg-type]


def test_after_a_crash_the_keys_of_the_tree_are_still_not_the_users_own(
    keys: Keys, keyrings: Keyrings, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """The power goes."""

    first = keyrings.commit(team(keys, "alice"))
    keyrings.hold(first)
    follow(state, keyrings.repository.path, None, ["gpg"])
    keyrings.hold(keyrings.commit(team(keys, "alice", "bob")))

    def killed(_state: State, _named: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(State, "use_keyring", killed)
        with pytest.raises(Killed):
            RingFollower().look(state)
    state.use_keyring()
    assert ring(state) == {keys["alice"], keys["bob"]}
    keyrings.hold(first)  # the ref may have gone back meanwhile
    assert RingFollower().look(state)
    assert ring(state) == {keys["alice"]}


def test_what_is_no_file_of_keys_is_left_out_and_named(keys: Keys, keyrings: Keyrings, state: State) -> None:
    files = {
        "KEYS": b"Ask us.\n" + enarmor(keys.export("alice"), KEY_BLOCK),
        "box.kbx": (keys.home / "pubring.kbx").read_bytes(),
        "link": b"/etc/passwd",
        "below/bob": keys.export("bob"),
        "old.gpg": packet("key", b"\3" + bytes(20)),
        "new.gpg": packet("key", b"\6" + bytes(40)) + keys.export("carol"),
        "README\n": b"one key a file",
    }
    keyrings.hold(keyrings.commit(files, {"link": "120000"}))
    found = follow(state, keyrings.repository.path, None, ["KEYS", "new.gpg", "old.gpg", "README\n"])
    assert ring(state) == {keys["alice"], keys["carol"]}
    named = [line.rpartition(": ")[0].split(":")[0] for line in found["left_out"]]
    assert named == ["new.gpg", "old.gpg", "README\\n"]
    follow(state, keyrings.repository.path, None, ["."])
    assert ring(state) == set(keys.fingerprints.values())  # of the keybox
    with pytest.raises(BadKeyTree, match="there is no link in the tree"):
        follow(state, keyrings.repository.path, None, ["link"])
    assert describe_ring(state)["follows"]["paths"] == ["."]


def test_a_tree_over_a_limit_is_not_read(
    keys: Keys, keyrings: Keyrings, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyrings.hold(keyrings.commit(team(keys, "alice", "bob")))
    monkeypatch.setattr(keytree, "read_key_data", None)
    for name, most in (("FILES", 1), ("KEYRING_BYTES", 100)):
        with monkeypatch.context() as patch:
            patch.setattr(keytree, name, most)
            with pytest.raises(BadKeyTree, match="over the limit"):
                follow(state, keyrings.repository.path, None, ["gpg"])


def test_what_cannot_be_followed_is_refused_in_words(keys: Keys, keyrings: Keyrings, state: State) -> None:
    with pytest.raises(BadFollowing, match="cannot follow a ring in itself"):
        follow(state, state.repository.path, None, ["gpg"])
    with pytest.raises(BadRepository):
        follow(state, state.repository.path / "none", None, ["gpg"])
    with pytest.raises(BadFollowing, match="--ref"):
        follow(state, keyrings.repository.path, "main branch", ["gpg"])
    with pytest.raises(BadFollowing, match="no ring is followed"):
        answer(state, {"verb": "unfollow"})


def test_a_record_that_was_damaged_says_what_to_do(keys: Keys, keyrings: Keyrings, state: State) -> None:
    keyrings.hold(keyrings.commit(team(keys, "alice")))
    follow(state, keyrings.repository.path, None, ["gpg"])
    for spoilt in (b"", b"[]", b"{}", os.urandom(20)):
        state.layout.followed_ring.write_bytes(spoilt)
        with pytest.raises(BadFollowing, match="gtfs trust REPO follow writes it anew"):
            read_followed(state.layout)
        assert "writes it anew" in trouble(state)
    follow(state, keyrings.repository.path, None, ["gpg"])
    assert describe_ring(state)["follows"]["trouble"] is None
