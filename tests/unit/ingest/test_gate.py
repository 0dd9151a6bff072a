# SPDX-License-Identifier: GPL-3.0-or-later
"""Which policy lines are about a pack, which has no ref yet: those about every branch, and no others."""

from __future__ import annotations

import pytest

from gtfs.ingest.gate import PolicyGate
from gtfs.pack.format import COMMIT
from gtfs.trust.policy import PolicyRefused, Vouch, parse_policy

RAW = b"tree " + b"1" * 40 + b"\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\nm\n"


@pytest.mark.parametrize(
    "pattern",
    [
        "refs/heads/*", "refs/heads/*/*", "refs/heads/" + "*/" * 7 + "*", "refs/heads/**/*/x", "refs/heads/main",
        "refs/heads/a**", "refs/heads/**/x", "refs/heads/*/**", "refs/tags/**", "refs/*", "refs/*/*",
    ],
)  # fmt: skip
def test_a_line_about_some_branches_is_not_about_a_pack(pattern: str) -> None:
    gate = PolicyGate(catalogue=[parse_policy(f"{pattern} every-commit")])
    assert gate.judge(COMMIT, RAW, promised=True) == Vouch("catalogue")
    local = PolicyGate([parse_policy(f"{pattern} every-commit")], catalogue=[])
    assert local.judge(COMMIT, RAW, promised=True) == Vouch("catalogue")


@pytest.mark.parametrize("pattern", ["**", "refs/**", "refs/heads/**", "refs/*/**", "refs/h**", "refs/heads/***"])
def test_a_line_about_every_branch_is_about_a_pack(pattern: str) -> None:
    for gate in (
        PolicyGate(catalogue=[parse_policy(f"{pattern} every-commit")]),
        PolicyGate([parse_policy(f"{pattern} every-commit")], catalogue=[]),
    ):
        with pytest.raises(PolicyRefused, match="no keyring is given"):
            gate.judge(COMMIT, RAW, promised=True)


def test_a_narrow_line_does_not_hide_the_wide_one_behind_it() -> None:
    lines = [parse_policy("refs/heads/* catalogue"), parse_policy("refs/heads/** every-commit")]
    with pytest.raises(PolicyRefused, match="no keyring is given"):
        PolicyGate(catalogue=lines).judge(COMMIT, RAW, promised=True)


def test_path_is_for_refs_and_what_a_catalogue_promises_comes_in() -> None:
    path = parse_policy("** path file=openpgp-policy.toml")
    assert PolicyGate(catalogue=[path]).judge(COMMIT, RAW, promised=True) == Vouch("catalogue")
    for gate in (PolicyGate(catalogue=[path]), PolicyGate([path])):  # a stranger's needs a signature of its own
        with pytest.raises(PolicyRefused, match="no keyring is given"):
            gate.judge(COMMIT, RAW, promised=False)
    both = PolicyGate([parse_policy("** every-commit")], catalogue=[path])
    with pytest.raises(PolicyRefused, match="no keyring is given"):
        both.judge(COMMIT, RAW, promised=True)
    tagged = PolicyGate([parse_policy("** tag")], catalogue=[path])
    assert tagged.judge(COMMIT, RAW, promised=True) == Vouch("catalogue")
