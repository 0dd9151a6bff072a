# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from gtfs.ids import Fingerprint
from gtfs.trust.certifications import good_certifications
from gtfs.trust.keyfacts import parse_facts
from gtfs.trust.weboftrust import PATHS, disjoint_paths, find_path, verified_paths

ME, A, B, C, D, E, F = (Fingerprint(letter * 40) for letter in "0ABCDEF")


def test_paths_that_share_somebody_are_not_counted_twice() -> None:
    certifiers = {C: {A, B}, A: {ME}, B: {ME}, D: {C}}
    assert disjoint_paths(certifiers, {ME}, C) == [(ME, A, C), (ME, B, C)]
    assert disjoint_paths(certifiers, {ME}, D) == [(ME, A, C, D)]


def test_a_direct_certification_and_a_way_round_are_two_paths() -> None:
    assert disjoint_paths({B: {ME, A}, A: {ME}}, {ME}, B) == [(ME, B), (ME, A, B)]


def test_a_path_has_five_steps_and_no_more() -> None:
    certifiers = {A: {ME}, B: {A}, C: {B}, D: {C}, E: {D}, F: {E}}
    assert find_path(certifiers, {ME}, E) == (ME, A, B, C, D, E)
    assert find_path(certifiers, {ME}, F) is None


def test_cycles_and_self_certifications_end() -> None:
    certifiers = {A: {A, B}, B: {A, B}}
    assert find_path(certifiers, {ME}, A) is None
    assert verified_paths(certifiers, {ME}, [A], lambda asked: asked) == {A: []}


def test_a_key_with_ten_thousand_certifiers_is_searched_once_for_each_path() -> None:
    crowd = [Fingerprint(f"{number:040X}") for number in range(1, 10_001)]
    certifiers = {A: set(crowd), **{key: {ME} for key in crowd}}
    assert len(disjoint_paths(certifiers, {ME}, A)) == PATHS


def test_a_certification_that_is_not_good_is_no_step() -> None:
    claimed = {C: {A, B}, A: {ME}, B: {ME}}
    found = verified_paths(claimed, {ME}, [C], lambda asked: [edge for edge in asked if edge != (A, C)])
    assert found == {C: [(ME, B, C)]}


LISTED = """tru::1:0:0:3:1:5
pub:-:255:22:AAAAAAAAAAAAAAAA:1000:::-:::scESC::::::23::0:
fpr:::::::::{A}:
uid:-::::1000::H::a\\x3a <a@x>::::::::::0:
sig:!::22:AAAAAAAAAAAAAAAA:1000::::a:13x:::::8:
sig:{mark}::22:0000000000000000:{made}::{expires}::me:10x:::::8:
{more}pub:{me}:255:22:0000000000000000:900:2000::-:::scSC::::::23::0:
fpr:::::::::{ME}:
uid:-::::900::H::me::::::::::0:
"""


def listed(mark: str = "!", made: int = 1100, expires: str = "", more: str = "", me: str = "-") -> bytes:
    return (
        LISTED.format(A=A, ME=ME, mark=mark, made=made, expires=expires, more=more, me=me)
        .replace(f"{made}::{expires}::", f"{made}:{expires}:::")
        .encode()
    )


def test_only_what_gpg_calls_good_is_a_certification() -> None:
    edge = {("0" * 16, A)}
    assert good_certifications(listed(), 1500) == edge
    for bad in (listed("-"), listed("?"), listed("%"), listed(made=1600), listed(expires="1400"), listed(me="r")):
        assert not good_certifications(bad, 1500)
    assert good_certifications(listed(expires="1600"), 1500) == edge


def test_a_certification_that_was_taken_back_counts_only_if_it_is_newer() -> None:
    more = "rev:!::22:0000000000000000:{}::::me:30x:::::8:\n"
    assert not good_certifications(listed(more=more.format(1200)), 1500)
    assert good_certifications(listed(more=more.format(1050)), 1500)


def test_the_facts_of_a_key_are_read_from_colons() -> None:
    first, second = parse_facts(listed())
    assert (first.fingerprint, first.user_ids, first.expires_s, first.can_sign) == (A, ("a: <a@x>",), None, True)
    assert first.trouble(1500) is None
    assert second.trouble(1500, days=0) is None and second.trouble(1500) == "expires in 1 days"
    assert second.trouble(2000) == "expired"
