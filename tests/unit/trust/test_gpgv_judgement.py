# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from gtfs.ids import Fingerprint
from gtfs.trust.gpgv import BadSignature, FoundSignature, Standing, _judge

P = Fingerprint("A" * 40)
NOW_S = 1_800_000_000
GOOD = (
    "[GNUPG:] NEWSIG\n[GNUPG:] KEY_CONSIDERED {p} 0\n[GNUPG:] SIG_ID x 2027-01-15 1799999000\n"
    "[GNUPG:] GOODSIG {k} A <a@example.org>\n"
    "[GNUPG:] VALIDSIG {s} 2027-01-15 1799999000 0 4 0 22 8 00 {p}\n"
).format(p=P, s="B" * 40, k="B" * 16)

GOOD_FOUND = FoundSignature(P, Fingerprint("B" * 40), 1_799_999_000, None, "good")


def judge(status: str, code: int = 0, allowed: frozenset[Fingerprint] = frozenset({P})) -> FoundSignature:
    return _judge(code, status.encode(), allowed, NOW_S, "00")


def test_the_good_case_names_the_primary_key() -> None:
    assert judge(GOOD) == GOOD_FOUND


def test_an_expired_part_beside_the_one_that_signed_does_no_harm() -> None:
    lines = GOOD.replace("[GNUPG:] KEY_CONS", "[GNUPG:] KEYEXPIRED 1\n[GNUPG:] KEYEXPIRED 2\n[GNUPG:] KEY_CONS")
    assert judge(lines) == GOOD_FOUND


@pytest.mark.parametrize(("word", "standing"), [("EXPKEYSIG", "expired"), ("REVKEYSIG", "revoked")])
def test_how_the_key_stands_today_is_told_and_decides_nothing_here(word: str, standing: Standing) -> None:
    assert judge(GOOD.replace("GOODSIG", word)) == GOOD_FOUND._replace(standing=standing)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (" 8 00 ", " 2 00 ", "weak digest"),
        (" 8 00 ", " 11 00 ", "weak digest"),
        (" 8 00 ", " 8 01 ", "class 01"),
        (" 1799999000 0 4", f" {NOW_S + 301} 0 4", "future"),
        (" 1799999000 0 4", " 20270115T000000 0 4", "unknown form"),
        (" 1799999000 0 4", f" 1799999000 {NOW_S} 4", "expired"),
        ("[GNUPG:] NEWSIG\n", "", "NEWSIG 0 times"),
        ("[GNUPG:] NEWSIG\n", "[GNUPG:] NEWSIG\n[GNUPG:] NEWSIG\n", "NEWSIG 2 times"),
        ("[GNUPG:] NEWSIG\n", "[GNUPG:] NEWSIG\n[GNUPG:] SOMETHING_NEW 1\n", "SOMETHING_NEW"),
        ("[GNUPG:] NEWSIG\n", "[GNUPG:] NEWSIG\n[GNUPG:] KEYREVOKED\n", "KEYREVOKED"),
        ("[GNUPG:] NEWSIG\n", "[GNUPG:] NEWSIG\n[GNUPG:] SIGEXPIRED 1\n", "SIGEXPIRED"),
        ("[GNUPG:] GOODSIG", "[GNUPG:] EXPKEYSIG x\n[GNUPG:] GOODSIG", "both GOODSIG and EXPKEYSIG"),
        ("[GNUPG:] GOODSIG", "[GNUPG:] REVKEYSIG x\n[GNUPG:] GOODSIG", "both GOODSIG and REVKEYSIG"),
        ("[GNUPG:] GOODSIG", "[GNUPG:] REVKEYSIG x\n[GNUPG:] EXPKEYSIG", "both EXPKEYSIG and REVKEYSIG"),
        ("[GNUPG:] GOODSIG", "[GNUPG:] EXPKEYSIG x\n[GNUPG:] EXPKEYSIG", "EXPKEYSIG 2 times"),
        ("GOODSIG B", "EXPKEYSIG C", "another key"),
        ("GOODSIG B", "REVKEYSIG C", "another key"),
        ("GOODSIG", "EXPSIG", "has expired"),
        ("[GNUPG:] GOODSIG B", "[GNUPG:] GOODSIG C", "another key"),
        ("GOODSIG", "BADSIG", "does not fit"),
        ("[GNUPG:] SIG_ID", "SIG_ID", "garbled"),
        (f"00 {P}", "00", "unknown form"),
        (f"00 {P}", "00 " + "C" * 40, "may not sign"),
        (f"00 {P}", f"00 {P[-16:]}", "may not sign"),
    ],
)
def test_every_deviation_refuses(old: str, new: str, reason: str) -> None:
    assert old in GOOD
    with pytest.raises(BadSignature, match=reason):
        judge(GOOD.replace(old, new))


def test_a_good_status_with_an_exit_code_refuses() -> None:
    for code in (1, 2, -9):
        with pytest.raises(BadSignature):
            judge(GOOD, code)


def test_a_status_that_is_cut_off_refuses() -> None:
    for end in range(len(GOOD)):
        with pytest.raises(BadSignature):
            judge(GOOD[:end])


def test_the_subkey_fingerprint_is_not_enough() -> None:
    with pytest.raises(BadSignature, match="may not sign"):
        judge(GOOD, allowed=frozenset({Fingerprint("B" * 40)}))
