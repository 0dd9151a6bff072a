# SPDX-License-Identifier: GPL-3.0-or-later
"""Commits and tags whose key has expired since: where a catalogue lists them, and where nothing fresh vouches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from keys import now_s
from owner import EARLY, LATE, Owner, ring_of

from gtfs.trust.policy import Policy, PolicyRefused, judge_object

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
