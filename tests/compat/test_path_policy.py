# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy kind `path` with git, gpg and ssh-keygen: what a publisher hears, and what moves at a mirror."""

from __future__ import annotations

import logging
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from history import History
from keys import Keys, shared_keys

from gtfs.ids import SHA1, SHA256, ObjectFormat, ObjectId
from gtfs.ingest import pathjudge
from gtfs.ingest.refjudge import Demands
from gtfs.ingest.refmoves import RefReport, follow_refs
from gtfs.reel.ledger import SignatureRow
from gtfs.repo.repository import open_repository
from gtfs.repo.work import Work
from gtfs.state.initialise import initialise
from gtfs.state.publish import publish_now
from gtfs.state.state import State
from gtfs.trust.keyring import Keyring
from gtfs.trust.policy import parse_policy
from gtfs.trust.sshsig import read_allowed_signers

MAIN = b"refs/heads/main"
ALL = "sign_commit sign_tag sign_archive add_user retire_user audit"
BY_TREE = "refs/heads/* path file=openpgp-policy.toml"


class Pair:
    """A publisher, and a mirror that has its objects by git and judges its refs."""

    def __init__(self, path: Path, keys: Keys, fmt: ObjectFormat = SHA1) -> None:
        self.keys = keys
        self.history = History(path / "pub.git", keys, fmt)
        self.mirror = History(path / "mirror.git", keys, fmt)
        self.ring: Keyring | None = keys.ring
        self.lines: list[str] = []
        self.local: list[str] = []

    def policy(self, users: dict[str, str], goodlist: tuple[ObjectId, ...] = (), **keyrings: bytes) -> ObjectId:
        """A tree with an openpgp-policy.toml of these users with their rights."""
        good = ", ".join(f'"{oid.hex()}"' for oid in goodlist)
        text = [f"version = 0\ncommit_goodlist = [{good}]\n"]
        for name, rights in users.items():
            data = keyrings.get(name) or self.keys.export(name)
            key = self.keys.gpg("--enarmor", data=data).replace(b"ARMORED FILE", b"PUBLIC KEY BLOCK").decode()
            text.append(f"[authorization.{name}]\n" + "".join(f"{right} = true\n" for right in rights.split()))
            text.append(f'keyring = """\n{key}"""\n')
        return self.history.tree_of({"README": b"x\n", "openpgp-policy.toml": "\n".join(text).encode()})

    def guix(self, *signers: str) -> ObjectId:
        entries = "\n".join(f'("{signer}" (name "x"))' for signer in signers)
        return self.history.tree_of({".guix-authorizations": f"(authorizations (version 0) ({entries}))".encode()})

    def publish(self, caplog: pytest.LogCaptureFixture) -> str:
        """What the publisher hears."""
        with State(open_repository(self.history.path)) as state:
            if state.config.sign_key() is None:
                initialise(state, "demo", self.keys["alice"], str(self.keys.home))
            state.config.set("policy", *self.lines)
            caplog.clear()
            publish_now(state, Work(jobs=1))
            said = "\n".join(record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)
            assert state.held is not None
            self.wanted = dict(state.held.catalogue.refs)
            self.demanded = state.held.catalogue.policy
        return said

    def follow(self, wanted: dict[bytes, ObjectId] | None = None) -> RefReport:
        """Bring all objects, and follow what was published, or ``wanted``."""
        mirror = self.mirror
        oids = self.history.refs("refs/all")
        mirror.git("fetch", "--quiet", str(self.history.path), "refs/all/*:refs/made/*")
        with State(mirror.repository) as state:
            state.take_up(Work(jobs=1))
            for number, _ in enumerate(oids):
                mirror.git("update-ref", "-d", f"refs/made/{number}")
            lines = self.demanded if wanted is None else [parse_policy(line) for line in self.lines]
            demands = Demands([parse_policy(line) for line in self.local], lines, self.ring)
            return follow_refs(state.repository, state.index, wanted or self.wanted, None, demands)

    def keep(self, *oids: ObjectId) -> None:
        """Let git bring these along, whatever is published."""
        for number, oid in enumerate(oids, len(self.history.refs("refs/all"))):
            self.history.ref(f"refs/all/{number}", oid)

    def try_(self, oid: ObjectId, name: bytes = MAIN) -> str:
        """Why the ref does not move there; "" if it has."""
        self.keep(oid)
        return self.follow({name: oid}).held_back.get(name, "")

    def main(self) -> ObjectId | None:
        return self.mirror.refs().get("refs/heads/main")


@pytest.fixture(params=[SHA1, SHA256], ids=["sha1", "sha256"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    return Pair(tmp_path, shared_keys(), request.param)


@pytest.fixture
def one(tmp_path: Path) -> Pair:
    return Pair(tmp_path, shared_keys())


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Pair]:
    """With keys that the test may change."""
    keys = Keys(Path(tempfile.mkdtemp(prefix="gtfs-keys-", dir="/tmp")))
    yield Pair(tmp_path, keys)
    keys.close()


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """How many of one program were started since the last time that it was asked."""
    started: list[str] = []
    real = subprocess.Popen.__init__

    def counted(self: Any, command: Any, *args: Any, **options: Any) -> None:
        started.append(command[0])
        real(self, command, *args, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", counted)

    def count(program: str) -> int:
        found = [name for name in started if program in name]
        started.clear()
        return len(found)

    return count


# -- from publish to the mirror's refs ------------------------------------------------------------------------------


@pytest.mark.warns
def test_what_has_a_way_moves_and_of_what_has_none_the_publisher_hears_first(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    h = pair.history
    tree = pair.policy({"alice": ALL, "bob": "sign_commit"})
    root = h.commit(tree=tree)
    a = h.commit(root, by="alice", tree=tree)
    topic = h.commit(h.commit(root, tree=tree), by="mallory", tree=tree)
    merge = h.commit(a, topic, by="bob", tree=tree)
    pair.lines = [f"{BY_TREE} root={root.hex()}"]
    pair.ring = None  # the keys are in the tree
    pair.keep(merge)
    h.ref("refs/heads/main", merge)
    assert pair.publish(caplog) == ""
    assert pair.follow().held_back == {} and pair.main() == merge

    bad = h.commit(merge, by="mallory", tree=tree)
    pair.keep(bad)
    h.ref("refs/heads/main", bad)
    reason = f"the key that signed is not in the keyring ({bad.hex()})"
    assert pair.publish(caplog) == f"mirrors with the keys of this node hold refs/heads/main back: {reason}"
    assert pair.follow().held_back == {MAIN: reason} and pair.main() == merge

    good = h.commit(merge, bad, by="alice", tree=tree)
    pair.keep(good)
    h.ref("refs/heads/main", good)
    assert pair.publish(caplog) == ""
    assert pair.follow().held_back == {} and pair.main() == good


def test_a_ref_that_is_not_here_yet_needs_a_trusted_root(one: Pair) -> None:
    h = one.history
    tree = one.policy({"alice": ALL})
    root, foreign = h.commit(tree=tree), h.commit(tree=tree, by="alice")
    first = h.commit(root, by="alice", tree=tree)
    after_foreign = h.commit(foreign, by="alice", tree=tree)
    one.lines = [BY_TREE]
    assert "root=OID" in one.try_(first)
    one.lines = [f"{BY_TREE} root={'1' * 40}"]
    assert "which is no commit that is here" in one.try_(first)
    one.lines = [f"{BY_TREE} root={'1' * 64}"]
    assert "which is no commit that is here" in one.try_(first)
    one.lines = [f"{BY_TREE} root={root.hex()}"]
    assert f"the policy wants a way from {root.hex()}, and it does not descend" in one.try_(after_foreign)
    one.local = [f"{BY_TREE} root={foreign.hex()}"]  # tightens: both roots
    assert "does not descend" in one.try_(first)
    one.local = []
    assert one.try_(first) == ""
    one.lines = [BY_TREE]
    assert one.try_(h.commit(first, by="alice", tree=tree)) == ""


def test_a_way_leads_from_where_the_ref_stands_and_from_where_a_catalogue_had_it(one: Pair) -> None:
    """bob is retired; what he signs beside his retirement and merges with it comes back to no mirror."""
    h = one.history
    old, new = one.policy({"alice": ALL, "bob": "sign_commit"}), one.policy({"alice": ALL})
    root = h.commit(tree=old)
    retired = h.commit(root, by="alice", tree=new)
    fork = h.commit(h.commit(root, by="bob", tree=old), retired, by="bob", tree=old)
    one.lines = [f"{BY_TREE} root={root.hex()}"]
    assert one.try_(retired) == ""
    assert "is not in the keyring" in one.try_(fork)
    one.mirror.ref("refs/heads/main", root)  # by its owner
    assert "is not in the keyring" in one.try_(fork)
    one.mirror.ref("refs/heads/main", None)
    assert "is not in the keyring" in one.try_(fork)
    # The policy of the past is not offered again by who may sign commits alone.
    keeps = one.policy({"alice": ALL, "carol": "sign_commit"})
    more = h.commit(retired, by="alice", tree=keeps)
    assert one.try_(more) == ""
    assert "lacks the right" in one.try_(h.commit(more, by="carol", tree=old))


def test_rollback_and_teleport_are_refused_under_path(one: Pair) -> None:
    h = one.history
    tree = one.policy({"alice": ALL})
    root = h.commit(tree=tree)
    chain = h.chain(1, root)  # unsigned: on no way
    a = h.commit(root, by="alice", tree=tree)
    b = h.commit(a, by="alice", tree=tree)
    other = h.commit(root, by="alice", tree=tree)
    one.lines = [f"{BY_TREE} root={root.hex()}"]
    assert one.try_(b) == ""
    for place in (a, other, root, chain[0]):
        one.try_(place)
        assert one.main() == b
    # A ref that one catalogue leaves out comes back no older.
    one.keep(a)
    one.follow({b"refs/heads/other": other})
    assert one.main() is None
    assert "where a catalogue had it, and" in one.try_(a)
    assert one.try_(b) == ""


def test_a_ref_that_may_go_anywhere_needs_a_way_from_its_root_alone(one: Pair) -> None:
    h = one.history
    tree = one.policy({"alice": ALL})
    root = h.commit(tree=tree)
    a, b = (h.commit(root, by="alice", tree=tree) for _ in range(2))
    one.lines = [f"{BY_TREE} root={root.hex()} non-fast-forward"]
    assert (one.try_(a), one.try_(b)) == ("", "")
    assert "the commit is not signed" in one.try_(h.commit(root, tree=tree))
    one.lines = [f"{BY_TREE} non-fast-forward"]
    assert "does not descend" in one.try_(a)


def test_a_local_line_of_another_kind_holds_beside_path(one: Pair) -> None:
    h = one.history
    tree = one.policy({"alice": ALL, "bob": "sign_commit"})
    root = h.commit(by="alice", tree=tree)
    unsigned = h.commit(root, tree=tree)
    merge = h.commit(h.commit(root, by="bob", tree=tree), unsigned, by="alice", tree=tree)
    one.lines = [f"{BY_TREE} root={root.hex()}"]
    one.local = ["** every-commit"]
    assert one.try_(merge) == f"the commit is not signed ({unsigned.hex()})"
    one.local = ["** tag"]
    assert "no signed tag names" in one.try_(merge)
    one.keep(h.tag(merge, "v1", by="alice"))
    assert one.try_(merge) == ""
    bad = h.commit(merge, by="mallory", tree=tree)
    one.keep(h.tag(bad, "v2", by="alice"))
    assert "is not in the keyring" in one.try_(bad)


def test_an_octopus_by_one_who_may_brings_in_every_branch(one: Pair) -> None:
    h = one.history
    tree = one.policy({"alice": ALL})
    root = h.commit(tree=tree)
    arms = [h.commit(root, tree=tree, by=by) for by in (None, "mallory", "bob", "alice", None)]
    one.lines = [f"{BY_TREE} root={root.hex()}"]
    assert one.try_(h.commit(*arms, by="mallory", tree=tree)) != ""
    assert one.try_(h.commit(*arms, by="alice", tree=tree)) == ""


def test_a_tag_needs_the_right_to_sign_tags_where_it_stands_and_its_own_name(pair: Pair) -> None:
    h = pair.history
    tree = pair.policy({"alice": ALL, "bob": "sign_commit"})
    root = h.commit(tree=tree)
    good, wild = h.commit(root, by="bob", tree=tree), h.commit(root, tree=tree)
    pair.lines = [f"refs/tags/* path file=openpgp-policy.toml root={root.hex()}"]
    for tag, name, reason in (
        (h.tag(good, "v1", by="alice"), b"refs/tags/v1", ""),
        (h.tag(good, "v1", by="alice"), b"refs/tags/v2", "calls itself"),
        (h.tag(good, "v3", by="bob"), b"refs/tags/v3", "has no right sign_tag"),
        (h.tag(good, "v4"), b"refs/tags/v4", "the tag is not signed"),
        (h.tag(wild, "v5", by="alice"), b"refs/tags/v5", "the commit is not signed"),
        (good, b"refs/tags/v6", ""),
        (wild, b"refs/tags/v7", "the commit is not signed"),
    ):
        found = pair.try_(tag, name)
        assert reason in found and bool(reason) == bool(found)


def test_a_policy_that_is_no_regular_file_lets_nobody_sign(one: Pair) -> None:
    h = one.history
    root = h.commit(tree=h.tree_of({"openpgp-policy.toml": b"elsewhere"}, mode="120000"))
    one.lines = [f"{BY_TREE} root={root.hex()}"]
    assert "openpgp-policy.toml is no regular file" in one.try_(h.commit(root, by="alice"))
    root = h.commit()
    one.lines = [f"{BY_TREE} root={root.hex()}"]
    assert "has no openpgp-policy.toml" in one.try_(h.commit(root, by="alice"), b"refs/heads/other")


def test_a_key_revoked_later_withdraws_its_commits_until_they_are_audited(own: Pair) -> None:
    h, keys = own.history, own.keys
    before = keys.export("bob")
    users = {"alice": ALL, "bob": "sign_commit"}
    root = h.commit(tree=own.policy(users))
    his = h.commit(root, by="bob", tree=own.policy(users))
    own.lines = [f"{BY_TREE} root={root.hex()}"]
    own.ring = None
    assert own.try_(his) == ""
    keys._revoke("bob")
    revokes = h.commit(his, by="alice", tree=own.policy(users))
    reason = own.try_(revokes)
    assert reason.startswith("the key that signed is revoked: ") and reason.endswith(f"({his.hex()})")
    audited = h.commit(revokes, by="alice", tree=own.policy(users, goodlist=(his,)))
    assert own.try_(audited) == ""
    # Nobody without the right takes the revocation out again.
    users = {"alice": ALL, "bob": "sign_commit", "carol": "sign_commit"}
    with_carol = h.commit(audited, by="alice", tree=own.policy(users, goodlist=(his,)))
    forgets = h.commit(with_carol, by="carol", tree=own.policy(users, goodlist=(his,), bob=before))
    assert own.try_(with_carol) == "" and "lacks the right retire_user" in own.try_(forgets)


def test_a_way_by_guix_authorizations_that_name_a_subkey(pair: Pair) -> None:
    h, keys = pair.history, pair.keys
    (subkey,) = keys.ring.keys[keys["carol"]].subkeys
    tree = pair.guix(keys["alice"], subkey)
    root = h.commit(tree=tree)
    pair.lines = [f"** path file=.guix-authorizations root={root.hex()}"]
    by_carol = h.commit(h.commit(root, by="alice", tree=tree), by="carol", tree=tree)
    assert pair.try_(by_carol) == ""
    assert "is not in the .guix-authorizations" in pair.try_(h.commit(by_carol, by="bob", tree=tree))
    primary_only = h.commit(by_carol, by="alice", tree=pair.guix(keys["bob"]))
    assert pair.try_(primary_only) == ""
    assert "is not in" in pair.try_(h.commit(primary_only, by="carol", tree=tree))
    pair.ring = None
    assert "no keyring is given" in pair.try_(h.commit(primary_only, by="bob", tree=tree))


def test_each_signature_is_checked_once_and_history_listed_once(one: Pair, processes: Callable[[str], int]) -> None:
    h = one.history
    tree = one.policy({"alice": ALL})
    root = h.commit(tree=tree)
    at = root
    chain = []
    for _ in range(12):
        at = h.commit(at, by="alice", tree=tree)
        chain.append(at)
    one.lines = [f"** path file=openpgp-policy.toml root={root.hex()}"]
    one.keep(chain[-1])
    refs = {b"refs/heads/n%d" % n: chain[n % 10] for n in range(50)}
    processes("")
    assert one.follow(refs).held_back == {}
    assert processes("gpgv") == 10
    refs = {b"refs/heads/n%d" % n: chain[n % 10 + 2] for n in range(50)}
    assert one.follow(refs).held_back == {}
    assert processes("gpgv") == 2


def test_a_history_longer_than_the_limit_is_a_clear_refusal(one: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    h = one.history
    tree = one.policy({"alice": ALL})
    root = h.commit(tree=tree)
    chain = [root]
    for _ in range(5):
        chain.append(h.commit(chain[-1], by="alice", tree=tree))
    monkeypatch.setattr(pathjudge, "COMMITS", 5)
    one.lines = [f"{BY_TREE} root={root.hex()}"]
    assert "over the limit" in one.try_(chain[5])
    one.lines = [f"{BY_TREE} root={chain[1].hex()}"]
    assert one.try_(chain[5]) == ""


# -- SSH ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def ssh_keys(tmp_path: Path) -> dict[str, Path]:
    made = {}
    for name, kind in (("ed", "ed25519"), ("ec", "ecdsa"), ("rsa", "rsa"), ("foreign", "ed25519")):
        made[name] = tmp_path / name
        command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(made[name])]
        subprocess.run(command, check=True)
    return made


def public(path: Path) -> str:
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def ssh_fingerprint(path: Path) -> str:
    return subprocess.check_output(["ssh-keygen", "-l", "-f", str(path)], text=True).split()[1]


def with_signature(history: History, data: bytes, signature: bytes) -> ObjectId:
    head, _, body = data.partition(b"\n\n")
    lines = signature.rstrip(b"\n").split(b"\n")
    return history.put("commit", head + b"\ngpgsig " + b"\n ".join(lines) + b"\n\n" + body)


def allow(pair: Pair, *lines: str) -> None:
    directory = pair.mirror.repository.state_directory
    directory.mkdir(mode=0o700, exist_ok=True)
    (directory / "allowed_signers").write_text("".join(f"{line}\n" for line in lines))


def test_ssh_signatures_count_by_the_nodes_allowed_signers(pair: Pair, ssh_keys: dict[str, Path]) -> None:
    h = pair.history
    root = h.commit()
    at = root
    for name in ("ed", "ec", "rsa"):
        at = h.commit(at, ssh=ssh_keys[name])
    at = h.commit(at, by="alice")
    pair.lines = [f"** path root={root.hex()}"]
    assert "has an SSH signature, and this node knows no SSH keys; put the file of allowed signers" in pair.try_(at)
    allow(pair, *(f"{name}@example.org {public(ssh_keys[name])}" for name in ("ed", "ec")))
    assert f"the SSH key {ssh_fingerprint(ssh_keys['rsa'])} is not among the allowed signers" in pair.try_(at)
    allow(pair, *(f'{name}@example.org namespaces="git" {public(ssh_keys[name])}' for name in ("ed", "ec", "rsa")))
    assert pair.try_(at) == ""
    assert "is not among the allowed signers" in pair.try_(h.commit(at, ssh=ssh_keys["foreign"]))
    pair.lines = [f"** path root={at.hex()} by={ssh_fingerprint(ssh_keys['ed'])}"]
    assert pair.try_(ok := h.commit(at, ssh=ssh_keys["ed"])) == ""
    assert "may not sign this" in pair.try_(h.commit(ok, ssh=ssh_keys["ec"]))
    assert "may not sign this" in pair.try_(h.commit(ok, by="alice"))
    # The same under the other kinds; a key that is taken out withdraws what it signed.
    pair.lines = ["** every-commit"]
    every = h.commit(h.commit(ssh=ssh_keys["ed"]), by="alice")
    assert pair.try_(every, b"refs/heads/every") == ""
    allow(pair, f"ec@example.org {public(ssh_keys['ec'])}")
    assert "is not among the allowed signers" in pair.try_(h.commit(every, by="alice"), b"refs/heads/every")


def test_an_ssh_key_that_counts_no_more_by_its_time_loses_what_was_found_before(
    pair: Pair, ssh_keys: dict[str, Path]
) -> None:
    oid = pair.history.commit(ssh=ssh_keys["ed"])
    pair.lines, key = ["** every-commit"], public(ssh_keys["ed"])
    for until, found in (("20200101", "is not among the allowed signers"), ("20990101", "")):
        allow(pair, f'ed@example.org valid-before="{until}" {key}')
        allowed = read_allowed_signers(pair.mirror.repository.layout.allowed_signers)
        assert allowed is not None
        signer = ssh_fingerprint(ssh_keys["ed"])
        with State(pair.mirror.repository) as state:  # as it was found while the key counted
            state.index.signers.put({oid: SignatureRow(signer, signer, 0, None, allowed.digest)})
        said = pair.try_(oid)
        assert found in said and bool(found) == bool(said)


def test_a_tag_may_have_an_ssh_signature(one: Pair, ssh_keys: dict[str, Path]) -> None:
    h = one.history
    root = h.commit()
    one.lines = [f"** path root={root.hex()}"]
    allow(one, f"ed@example.org {public(ssh_keys['ed'])}")
    raw = b"object %s\ntype commit\ntag v1\ntagger A <a> 1 +0000\n\ntag\n" % root.hex().encode()
    signature = h.sign(raw, None, ssh_keys["ed"])
    assert one.try_(h.put("tag", raw + signature), b"refs/tags/v1") == ""
    renamed = h.put("tag", raw.replace(b"v1", b"v2") + signature)
    assert "does not find the signature" in one.try_(renamed, b"refs/tags/v2")
    one.lines = ["** tag"]
    assert "is a tag that stands at" in one.try_(h.put("tag", raw + h.sign(raw, None, ssh_keys["ec"])), b"refs/tags/v1")
    other = raw.replace(b"v1", b"v3")
    assert one.try_(h.put("tag", other + h.sign(other, None, ssh_keys["ed"])), b"refs/tags/v3") == ""


def test_ssh_signatures_that_are_not_what_git_makes_are_refused(one: Pair, ssh_keys: dict[str, Path]) -> None:
    h = one.history
    root = h.commit()
    one.lines = [f"** path root={root.hex()}"]
    allow(one, f"ed@example.org {public(ssh_keys['ed'])}", f'ec@example.org namespaces="file" {public(ssh_keys["ec"])}')

    good = h.git("cat-file", "commit", h.commit(root).hex()) + b"\n"
    signature = h.sign(good, None, ssh_keys["ed"])
    first, *_, last, _ = signature.split(b"\n")
    cases = [
        (good, signature, ""),
        (good.replace(b"A U Thor", b"A U Thox"), signature, "does not find the signature"),
        (good, h.sign(good, None, ssh_keys["ec"]), "does not find the signature"),
        (good, h.sign(good, None, ssh_keys["ed"], namespace="file"), "not one that git makes"),
        (good, b"\n".join([first, b"AAAA", last]), "unknown form"),
        (good, b"\n".join([first, b"!!!!", last]), "unknown form"),
        (good, signature.replace(last, b"trailing\n" + last), "unknown form"),
    ]
    for number, (data, text, reason) in enumerate(cases):
        found = one.try_(with_signature(h, data, text), b"refs/heads/n%d" % number)
        assert reason in found and bool(reason) == bool(found), (number, found)


def test_an_ssh_certificate_authority_lets_nobody_sign(one: Pair, ssh_keys: dict[str, Path], tmp_path: Path) -> None:
    h = one.history
    root = h.commit()
    one.lines = [f"** path root={root.hex()}"]
    authority = ["ssh-keygen", "-q", "-s", str(ssh_keys["rsa"]), "-I", "ed", "-n", "ed@example.org"]
    subprocess.run([*authority, str(ssh_keys["ed"].with_suffix(".pub"))], check=True)
    allow(one, f"*@example.org cert-authority {public(ssh_keys['rsa'])}")
    certificate = tmp_path / "ed-cert.pub"
    data = b"tree %s\nparent %s\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\nm\n" % (
        h.tree.hex().encode(), root.hex().encode(),
    )  # fmt: skip
    sign = 'ssh-add -q "$1" && ssh-keygen -q -Y sign -f "$2" -n git'
    command = ["ssh-agent", "sh", "-c", sign, "sh", str(ssh_keys["ed"]), str(certificate)]
    signature = subprocess.run(command, input=data, capture_output=True, check=True).stdout
    assert "made with a certificate" in one.try_(with_signature(h, data, signature))
