# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.ids import Fingerprint
from gtfs.trust.policy import (
    _STRICTNESS,
    BadPolicy,
    Policy,
    PolicyRefused,
    Vouch,
    check_tag_name,
    effective_policy,
    judge_object,
    parse_policy,
    policy_for,
    tighten,
)

A = Fingerprint("A" * 40)
B = Fingerprint("B" * 40)
COMMIT = b"tree " + b"1" * 40 + b"\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\nm\n"
TAG = b"object " + b"1" * 40 + b"\ntype commit\ntag v1\ntagger A <a> 1 +0000\n\nfirst\n"


@pytest.mark.parametrize(
    "line",
    [
        "refs/heads/* catalogue",
        "refs/tags/** tag threshold=2",
        f"refs/heads/main every-commit threshold=1 by={A},{B} non-fast-forward",
        f"refs/tags/** tag threshold=2 attesters={A},{B} by={B}",
        "** catalogue non-fast-forward",
        "** every-commit strict-expiry",
        "** tag threshold=2 non-fast-forward strict-expiry",
        "refs/heads/%C3%BC catalogue",
    ],
)
def test_lines_are_written_as_they_are_read(line: str) -> None:
    assert parse_policy(line).to_line() == line


@pytest.mark.parametrize(
    "line",
    [
        "", "refs/heads/*", "refs/heads/* nonsense", "heads/* tag", "refs/heads/*  tag", "refs/heads/* tag threshold=0",
        "refs/heads/* tag threshold=65", "refs/heads/* tag threshold", "refs/heads/* tag by=", "refs/x tag by=ABCD",
        "refs/heads/* tag non-fast-forward=yes", "refs/heads/* tag strict-expiry=no",
        "refs/heads/* tag strict-expiry strict-expiry", "refs/heads/* tag threshold=1 threshold=2", "refs/%61 tag",
        f"** tag threshold=3 attesters={A},{B}", f"** tag threshold=2 attesters={A},{A}", "** tag attesters=",
        "** tag attesters=ABCD", "** tag attesters=SHA256:" + "A" * 43, "refs/heads/* tag unknown=1",
        "refs/" + "*/" * 9 + " tag",
    ],
)  # fmt: skip
def test_lines_that_are_not_understood_are_refused(line: str) -> None:
    with pytest.raises(BadPolicy):
        parse_policy(line)


def test_a_star_stops_at_a_slash_and_two_do_not() -> None:
    one, two = parse_policy("refs/heads/* tag"), parse_policy("refs/**/x tag")
    assert one.matches(b"refs/heads/a\n") and not one.matches(b"refs/heads/a/b") and not one.matches(b"refs/headsXa")
    assert two.matches(b"refs/heads/a/x") and not two.matches(b"refs/heads/a/xy")


def test_the_first_line_that_matches_counts() -> None:
    lines = [parse_policy("refs/heads/main every-commit"), parse_policy("refs/** tag")]
    assert policy_for(b"refs/heads/main", lines) is lines[0]
    assert policy_for(b"refs/heads/other", lines) is lines[1]
    assert policy_for(b"x", lines) is None


def test_tightening_never_loosens() -> None:
    choices = [
        Policy(b"**", kind, threshold, signers, loose, attesters=attesters, strict_expiry=strict)
        for kind in ("catalogue", "tag", "every-commit")
        for threshold in (0, 2)
        for signers in (None, frozenset({A}), frozenset({A, B}))
        for attesters in ((None, frozenset({A}), frozenset({A, B})) if threshold else (None,))
        for loose in (False, True)
        for strict in (False, True)
    ]
    for local, catalogue in itertools.product(choices, choices):
        both = tighten(local, catalogue)
        for one in (local, catalogue):
            assert _STRICTNESS[both.kind] >= _STRICTNESS[one.kind]
            assert both.threshold >= one.threshold
            assert one.non_fast_forward or not both.non_fast_forward
            assert both.quorum >= one.quorum
            assert one.attesters is None or (both.attesters is not None and both.attesters <= one.attesters)
            assert one.signers is None or (both.signers is not None and both.signers <= one.signers)
            assert both.strict_expiry or not one.strict_expiry


def test_an_old_signature_counts_only_where_a_catalogue_vouches_and_no_line_is_strict() -> None:
    for line in (Policy(b"**", "every-commit"), Policy(b"**", "tag")):
        assert line.at(vouched_by_catalogue=True) == "made"
        assert line.at(vouched_by_catalogue=False) == "now"
        assert replace(line, strict_expiry=True).at(vouched_by_catalogue=True) == "now"


def test_a_threshold_of_one_asks_for_a_sign_off_only_where_attesters_are_named() -> None:
    assert parse_policy("** tag threshold=1").quorum == 0  # as before sign-offs were collected
    assert parse_policy("** tag threshold=2").quorum == 2
    assert parse_policy(f"** tag threshold=1 attesters={A}").quorum == 1
    assert parse_policy(f"** tag attesters={A}") == parse_policy(f"** tag threshold=1 attesters={A}")
    both = tighten(parse_policy(f"** catalogue attesters={A}"), parse_policy("** tag threshold=2"))
    assert (both.quorum, both.attesters) == (2, {A})


def test_a_path_beside_another_kind_keeps_who_attests() -> None:
    for one, other in itertools.permutations((f"** path attesters={A}", f"** tag threshold=2 attesters={A},{B}")):
        both = tighten(parse_policy(one), parse_policy(other))
        assert (both.quorum, both.attesters) == (2, {A})


def test_two_lists_of_signers_without_a_common_one_allow_nobody() -> None:
    both = tighten(Policy(b"**", "tag", signers=frozenset({A})), Policy(b"**", "tag", signers=frozenset({B})))
    assert both.signers == frozenset()


def test_the_policy_of_a_node_follows_what_it_has() -> None:
    main = b"refs/heads/main"
    assert effective_policy(main, [], None, has_keyring=False).kind == "local"
    assert effective_policy(main, [], None, has_keyring=True).kind == "every-commit"
    assert effective_policy(main, [parse_policy("** tag")], None, has_keyring=True).kind == "tag"
    assert effective_policy(main, [], (), has_keyring=False).kind == "catalogue"
    assert effective_policy(main, [parse_policy("** local")], (), has_keyring=False).kind == "catalogue"
    assert effective_policy(main, [], [Policy(b"**", "local")], has_keyring=False).kind == "catalogue"
    assert effective_policy(main, [parse_policy("** every-commit")], (), has_keyring=True).kind == "every-commit"
    assert not effective_policy(main, [parse_policy("** tag non-fast-forward")], (), has_keyring=True).non_fast_forward


def test_who_vouches_without_signatures() -> None:
    local, listed, tagged = Policy(b"**", "local"), Policy(b"**", "catalogue"), Policy(b"**", "tag")
    assert judge_object(COMMIT, "commit", local, None, now_s=0) == Vouch("local")
    assert judge_object(COMMIT, "commit", listed, None, now_s=0, vouched_by_catalogue=True) == Vouch("catalogue")
    assert judge_object(COMMIT, "commit", tagged, None, now_s=0, vouched_by_catalogue=True) == Vouch("catalogue")
    both = judge_object(COMMIT, "commit", tagged, None, now_s=0, vouched_by_catalogue=True, vouched_by_tag=True)
    assert both == Vouch("tag")
    for policy in (listed, tagged):
        with pytest.raises(PolicyRefused, match="vouches for it"):
            judge_object(COMMIT, "commit", policy, None, now_s=0)


def test_why_a_pack_was_accepted_is_kept_as_text() -> None:
    vouches = [Vouch("local"), Vouch("signed", (Fingerprint("A" * 40), Fingerprint("B" * 40)))]
    assert [vouch.to_text() for vouch in vouches] == ["local", f"signed:{'A' * 40}:{'B' * 40}"]


def test_demanded_signatures_need_a_keyring() -> None:
    for raw, kind, policy in ((COMMIT, "commit", "every-commit"), (TAG, "tag", "tag"), (TAG, "tag", "every-commit")):
        with pytest.raises(PolicyRefused, match="no keyring"):
            judge_object(raw, kind, Policy(b"**", policy), None, now_s=0, vouched_by_catalogue=True)  # type: ignore[arg-type]


def test_a_tag_must_bear_the_name_of_its_ref() -> None:
    check_tag_name(TAG, b"refs/tags/v1")
    for ref in (b"refs/tags/v2", b"refs/heads/v1", b"refs/tags/x/v1"):
        with pytest.raises(PolicyRefused, match="calls itself v1"):
            check_tag_name(TAG, ref)


@given(st.text("ab/*", min_size=1, max_size=9), st.text("ab/", max_size=12))
def test_patterns_match_what_a_plain_regular_expression_of_them_matches(pattern: str, ref: str) -> None:
    plain = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    matches = Policy(pattern.encode(), "catalogue").matches(ref.encode())
    assert matches == (re.fullmatch(plain, ref) is not None)


@pytest.mark.parametrize("pattern", ["refs/" + "*a" * 7 + "*b", "**a**a**a*b", "**a*a**a*a**a/b"])
def test_stars_take_no_time_by_the_power_of_their_number(pattern: str) -> None:
    assert not parse_policy(f"{pattern} catalogue").matches(b"refs/" + b"a" * 1019)  # else this never ends


# -- path -----------------------------------------------------------------------------------------------------------

SSH = "SHA256:" + "aB3+/" * 8 + "xyz"


@pytest.mark.parametrize(
    "line",
    [
        "refs/heads/* path",
        f"refs/heads/* path by={A},{SSH}",
        f"refs/heads/main path file=openpgp-policy.toml root={'1' * 40}",
        f"** path threshold=2 by={A} file=.guix-authorizations root={'2' * 64} non-fast-forward",
    ],
)
def test_lines_of_path_are_written_as_they_are_read(line: str) -> None:
    assert parse_policy(line).to_line() == line


@pytest.mark.parametrize(
    "line",
    [
        "** path root=", "** path root=1234", f"** path root={'A' * 40}", "** path file=", "** path file=README",
        "** path file=../openpgp-policy.toml", f"** tag root={'1' * 40}", "** every-commit file=openpgp-policy.toml",
        "** path by=SHA256:abc", f"** path root={'1' * 40} root={'2' * 40}",
        "** path file=openpgp-policy.toml file=.guix-authorizations",
    ],
)  # fmt: skip
def test_lines_of_path_that_are_not_understood_are_refused(line: str) -> None:
    with pytest.raises(BadPolicy):
        parse_policy(line)


def test_path_beside_another_kind_holds_with_it() -> None:
    path = parse_policy(f"** path by={A} file=openpgp-policy.toml root={'1' * 40} non-fast-forward")
    for text in (f"** every-commit by={B} threshold=3", f"** tag by={B} threshold=3"):
        other = parse_policy(text)
        for both in (tighten(path, other), tighten(other, path)):
            assert both.part("path") == both and both.part(other.kind) == other
            assert (both.signers, both.files, both.roots) == (path.signers, path.files, path.roots)
            assert (both.threshold, both.non_fast_forward) == (3, False)
    for looser in ("** catalogue", "** catalogue non-fast-forward"):
        assert tighten(path, parse_policy(looser)).part("path") == tighten(parse_policy(looser), path)
    assert effective_policy(b"refs/heads/x", [path], (), has_keyring=False).kind == "path"


def test_two_lines_of_path_are_joined_part_by_part() -> None:
    one = parse_policy(f"** path by={A},{B} file=openpgp-policy.toml root={'1' * 40}")
    two = parse_policy(f"** path by={A} file=.guix-authorizations root={'2' * 40}")
    both = tighten(one, two)
    assert both.signers == {A} and both.files == one.files | two.files and both.roots == one.roots | two.roots
    assert both.also is None
