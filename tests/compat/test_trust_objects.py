# SPDX-License-Identifier: GPL-3.0-or-later
"""Commits and tags that git itself signed, judged by policy."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from keys import Keys, now_s, shared_keys

from gtfs.trust.policy import Policy, PolicyRefused, Vouch, judge_object

EVERY = Policy(b"**", "every-commit")
TAGS = Policy(b"**", "tag")


class Repository:
    def __init__(self, path: Path, keys: Keys) -> None:
        self.path = path
        self.environment = {
            "PATH": "/usr/bin:/bin", "GNUPGHOME": str(keys.home), "HOME": str(path), "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org",
        }  # fmt: skip
        path.mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *args: str) -> bytes:
        command = ["git", "-C", str(self.path), *args]
        done = subprocess.run(command, check=False, capture_output=True, env=self.environment)
        assert not done.returncode, done.stderr.decode()
        return done.stdout

    def commit(self, *options: str) -> bytes:
        self.git("commit", "-q", "--allow-empty", "-m", "message\n\ngpgsig in the text", *options)
        return self.git("cat-file", "commit", "HEAD")

    def tag(self, name: str, *options: str) -> bytes:
        self.git("tag", "-m", "message", *options, name)
        return self.git("cat-file", "tag", name)


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


@pytest.fixture(scope="module")
def repository(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("objects") / "r", keys)


def refused(raw: bytes, kind: str, policy: Policy, keys: Keys, ref: bytes | None = None) -> str:
    with pytest.raises(PolicyRefused) as caught:
        judge_object(raw, kind, policy, keys.ring, now_s=now_s(), vouched_by_catalogue=True, ref=ref)  # type: ignore[arg-type]
    return caught.value.reason


def test_a_commit_that_git_signed_is_signed_by_its_primary_key(keys: Keys, repository: Repository) -> None:
    for name in ("alice", "carol"):
        raw = repository.commit(f"-S{keys[name]}")
        assert judge_object(raw, "commit", EVERY, keys.ring, now_s=now_s()) == Vouch("signed", (keys[name],))


def test_a_commit_without_or_with_a_foreign_signature_is_refused(keys: Keys, repository: Repository) -> None:
    assert refused(repository.commit(), "commit", EVERY, keys) == "the commit is not signed"
    raw = repository.commit(f"-S{keys['mallory']}")
    assert refused(raw, "commit", EVERY, keys) == "the key that signed is not in the keyring"
    only_bob = Policy(b"**", "every-commit", signers=frozenset({keys["bob"]}))
    assert "may not sign" in refused(repository.commit(f"-S{keys['alice']}"), "commit", only_bob, keys)


def test_a_changed_commit_is_refused(keys: Keys, repository: Repository) -> None:
    raw = repository.commit(f"-S{keys['alice']}")
    for changed in (
        raw.replace(b"author A", b"author B"),
        raw.replace(b"\n\n", b"\nX-Header: y\n\n", 1),
        raw.replace(b"gpgsig -", b"gpgsigX y\ngpgsig -", 1),
        raw + b"x",
    ):
        refused(changed, "commit", EVERY, keys)


def test_a_merge_of_a_signed_tag_is_judged_by_its_own_signature(keys: Keys, repository: Repository) -> None:
    repository.git("checkout", "-q", "-b", "side")
    repository.commit()
    repository.tag("merged", "-u", keys["bob"])
    repository.git("checkout", "-q", "main")
    repository.git("merge", "-q", "--no-ff", "-m", "merge", f"-S{keys['alice']}", "merged")
    raw = repository.git("cat-file", "commit", "HEAD")
    assert b"\nmergetag " in raw
    assert judge_object(raw, "commit", EVERY, keys.ring, now_s=now_s()) == Vouch("signed", (keys["alice"],))


def test_a_tag_that_git_signed_counts_under_its_own_name_only(keys: Keys, repository: Repository) -> None:
    raw = repository.tag("v1", "-u", keys["carol"])
    found = judge_object(raw, "tag", TAGS, keys.ring, now_s=now_s(), ref=b"refs/tags/v1")
    assert found == Vouch("signed", (keys["carol"],))
    assert "calls itself v1" in refused(raw, "tag", TAGS, keys, b"refs/tags/v2")
    assert refused(repository.tag("v3", "-a"), "tag", TAGS, keys) == "the tag is not signed"
    refused(raw.replace(b"tag v1", b"tag v2"), "tag", TAGS, keys, b"refs/tags/v2")
    refused(raw + b"more\n", "tag", TAGS, keys)


def test_ssh_signatures_are_named_and_refused(keys: Keys, repository: Repository) -> None:
    raw = repository.commit()
    signature = b"gpgsig -----BEGIN SSH SIGNATURE-----\n x\n -----END SSH SIGNATURE-----\n"
    assert "ssh signature" in refused(raw.replace(b"\n\n", b"\n" + signature + b"\n", 1), "commit", EVERY, keys)
