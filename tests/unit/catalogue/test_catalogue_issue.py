# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses

import pytest
from documents import DAY_S, NOW_S, A, catalogue, document

from gtfs.catalogue.accept import Accepted
from gtfs.catalogue.cosign import describe
from gtfs.catalogue.document import BadCatalogue, digest
from gtfs.catalogue.issue import IssueSettings, next_catalogue, says_the_same
from gtfs.ids import ObjectId

SETTINGS = IssueSettings("demo", (A,), valid_s=DAY_S)
REFS = {b"refs/heads/b": ObjectId(b"\1" * 20), b"refs/heads/a": ObjectId(b"\2" * 20)}


def test_the_first_version_has_no_previous() -> None:
    made = next_catalogue(None, REFS, [], SETTINGS, NOW_S, head=b"refs/heads/a")
    assert (made.version, made.previous, made.valid_until_s - made.date_s) == (1, None, DAY_S)
    assert list(made.refs) == [b"refs/heads/a", b"refs/heads/b"] and made.head == b"refs/heads/a"


def test_the_next_version_names_the_held_text() -> None:
    text = catalogue(4, "00" * 32).to_text()
    held = Accepted(catalogue(4, "00" * 32), document(text), digest(text.encode()))
    made = next_catalogue(held, REFS, [], SETTINGS, NOW_S)
    assert (made.version, made.previous) == (5, digest(text.encode()))


def test_refs_that_cannot_be_published_are_refused_before_signing() -> None:
    with pytest.raises(BadCatalogue):
        next_catalogue(None, {b"refs/gtfs/tips/x": ObjectId(b"\1" * 20)}, [], SETTINGS, NOW_S)


def test_only_version_and_times_do_not_make_a_difference() -> None:
    one = next_catalogue(None, REFS, [], SETTINGS, NOW_S)
    later = dataclasses.replace(one, version=2, previous="00" * 32, date_s=NOW_S + 9, valid_until_s=NOW_S + DAY_S)
    assert says_the_same(one, later)
    assert not says_the_same(one, dataclasses.replace(later, refs={}))


def test_a_signer_is_shown_each_catalogue_that_this_one_follows() -> None:
    text = catalogue(2, "00" * 32, raced=("11" * 32,)).to_text().encode()
    shown = "\n".join(describe(text, None))
    assert "after the one with SHA-256 " + "00" * 32 in shown and "another's with SHA-256 " + "11" * 32 in shown
