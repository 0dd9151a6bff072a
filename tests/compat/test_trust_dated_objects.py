# SPDX-License-Identifier: GPL-3.0-or-later
"""Commits and tags whose key has expired since: where a catalogue lists them, and where nothing fresh vouches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from keys import now_s
from owner import DATA, EARLY, LATE, SUPERSEDED, Owner, revoked, ring_of

from gtfs.ingest.gate import PolicyGate
from gtfs.pack.format import COMMIT
from gtfs.trust import child, validity
from gtfs.trust.policy import Policy, PolicyRefused, judge_object, parse_policy
from gtfs.trust.verify import read_clearsigned, verify_detached

BAD = "does not fit"
HAS_EXPIRED = "has expired"
TOO_LATE = "a newer keyring may know"


@pytest.fixture(scope="module")
def owner() -> Iterator[Owner]:
    made = Owner(Path(tempfile.mkdtemp(prefix="gtfs-owner-", dir="/tmp")))
    yield made
    made.close()


def tag(owner: Owner, kind: bytes, name: bytes, target: bytes, signer: str | None, time_s: int = EARLY) -> bytes:
    raw = b"object %s\ntype %s\ntag %s\ntagger A <a@example.org> 1700000000 +0000\n\nm\n" % (target, kind, name)
    return raw + (owner.sign_with(signer, time_s, data=raw) if signer else b"")


def commit(owner: Owner, signer: str, time_s: int) -> bytes:
    head = b"tree %s\nauthor A <a@x> 1700000000 +0000\ncommitter A <a@x> 1700000000 +0000\n" % (b"1" * 40)
    lines = owner.sign_with(signer, time_s, data=head + b"\nm\n").rstrip(b"\n").split(b"\n")
    return head + b"gpgsig " + b"\n ".join(lines) + b"\n\nm\n"


OBJECTS: dict[str, tuple[Literal["commit", "tag"], str, str, Callable[[Owner], bytes]]] = {
    "a commit": ("commit", "", HAS_EXPIRED, lambda w: commit(w, "expired", EARLY)),
    "a late commit": ("commit", TOO_LATE, HAS_EXPIRED, lambda w: commit(w, "expired", LATE)),
    "a commit with another header": (
        "commit", BAD, BAD, lambda w: commit(w, "expired", EARLY).replace(b"\ngpgsig", b"\nx y\ngpgsig", 1),
    ),
    "a commit with a second signature header": (
        "commit", "stray", "stray", lambda w: commit(w, "expired", EARLY).replace(b"gpgsig ", b"gpgsigX y\ngpgsig ", 1),
    ),
    "a tag": ("tag", "", HAS_EXPIRED, lambda w: tag(w, b"commit", b"v1", b"1" * 40, "expired")),
    "a late tag": ("tag", TOO_LATE, HAS_EXPIRED, lambda w: tag(w, b"commit", b"v1", b"1" * 40, "expired", LATE)),
    "a tag of another name": (
        "tag", "calls itself", HAS_EXPIRED, lambda w: tag(w, b"commit", b"v0", b"1" * 40, "expired"),
    ),
    "a tag of a tag": ("tag", "", HAS_EXPIRED, lambda w: tag(w, b"tag", b"v1", b"1" * 40, "expired")),
    "an unsigned tag of a tag": ("tag", "not signed", "not signed", lambda w: tag(w, b"tag", b"v1", b"1" * 40, None)),
    "a tag with text behind": (
        "tag", "end where", "end where", lambda w: tag(w, b"commit", b"v1", b"1" * 40, "expired") + b"more\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OBJECTS)
def test_an_object_counts_by_its_date_only_where_a_catalogue_lists_it(owner: Owner, tmp_path: Path, case: str) -> None:
    kind, listed, stranger, make = OBJECTS[case]
    ring, raw = ring_of(owner, owner.short["expired"], tmp_path), make(owner)
    policy = Policy(b"**", "every-commit")
    strict = Policy(b"**", "every-commit", strict_expiry=True)
    ref = b"refs/tags/v1" if kind == "tag" else None
    for rule, is_listed, reason in ((policy, True, listed), (policy, False, stranger), (strict, True, stranger)):
        try:
            vouch = judge_object(raw, kind, rule, ring, now_s=now_s(), vouched_by_catalogue=is_listed, ref=ref)
            assert not reason and vouch.kind == "signed"
        except PolicyRefused as error:
            assert reason and reason in error.reason, error.reason


def test_a_stranger_brings_nothing_by_a_key_that_has_expired(owner: Owner, tmp_path: Path) -> None:
    raw = commit(owner, "expired", EARLY)
    ring = ring_of(owner, owner.short["expired"], tmp_path)
    gate = PolicyGate(catalogue=[parse_policy("** every-commit")], keyring=ring)
    assert gate.judge(COMMIT, raw, promised=True).kind == "signed"
    with pytest.raises(PolicyRefused, match=HAS_EXPIRED):
        gate.judge(COMMIT, raw, promised=False)
    alone = PolicyGate(keyring=ring)  # no catalogue: all are strangers
    with pytest.raises(PolicyRefused, match=HAS_EXPIRED):
        alone.judge(COMMIT, raw, promised=False)


@pytest.mark.parametrize("digest", ["SHA256", "SHA1"])
def test_no_document_counts_whose_signer_is_revoked_even_with_sha1_or_expired(
    owner: Owner, tmp_path: Path, digest: str
) -> None:
    document = owner.clearsign(b"text\n", "plain", time_s=EARLY)
    key = revoked(owner.export("plain"), owner.revocation("plain", SUPERSEDED, digest=digest))
    signed = read_clearsigned(document, ring_of(owner, key, tmp_path), None, now_s=now_s())
    assert not signed.signatures and "is revoked" in signed.rejected[0].error.reason
    old = owner.clearsign(b"text\n", "expired", time_s=EARLY)
    signed = read_clearsigned(old, ring_of(owner, owner.short["expired"], tmp_path), None, now_s=now_s())
    assert not signed.signatures and HAS_EXPIRED in signed.rejected[0].error.reason


def test_a_key_is_asked_about_once_a_keyring(owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = child.run_child

    def counted(command: Sequence[str], *args: Any, **options: Any) -> tuple[int, bytes]:
        asked.append(command[0])
        return real(command, *args, **options)

    monkeypatch.setattr(validity, "run_child", counted)
    ring = ring_of(owner, owner.short["expired"], tmp_path)
    for time_s in (EARLY, EARLY + 1, EARLY + 2):
        signature = owner.sign_with("expired", time_s)
        assert verify_detached(DATA, signature, ring, None, now_s=now_s(), at="made")
    assert asked == ["gpg"]
