# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of keys that nobody means well with; what gpg makes of others is in tests/compat/test_trust_armor.py."""

from __future__ import annotations

import time

from gtfs.trust.armor import read_key_blocks


def test_a_long_line_of_dashes_costs_one_pass() -> None:
    began_s = time.process_time()
    assert read_key_blocks(b"-" * (1 << 20)) == ([], [])
    assert time.process_time() - began_s < 60  # milliseconds, where a pass for each dash takes hours


def test_a_line_that_looks_like_the_begin_of_a_key_is_told_of() -> None:
    for line in (
        b"-" * 70_000 + b" BEGIN PGP PUBLIC KEY",
        b"> -----begin pgp public key block-----",
        b"-BEGIN PGP PUBLIC KEY",
    ):
        blocks, (skipped,) = read_key_blocks(b"text\n" + line)
        assert not blocks
        assert skipped.startswith("line 2: ")
