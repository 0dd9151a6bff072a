# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from gtfs.ids import Fingerprint, ObjectId, PackDigest
from gtfs.trust.policy import Vouch
from gtfs.trust.signoff import BadSignoff, SignoffRow, parse_signoff, signoff_text

ROWS = (
    SignoffRow(ObjectId(b"\1" * 20), PackDigest(b"\2" * 32), 300, Vouch("catalogue")),
    SignoffRow(
        ObjectId(b"\3" * 32),
        PackDigest(b"\4" * 32),
        1,
        Vouch("signed", (Fingerprint("A" * 40), Fingerprint("B" * 40))),
    ),
)


def test_rows_are_read_as_they_were_written() -> None:
    assert parse_signoff(signoff_text(ROWS, 1_800_000_000).encode()) == (1_800_000_000, ROWS)


def test_the_statement_says_why_each_pack_was_accepted() -> None:
    text = signoff_text(ROWS, 0)
    assert text.splitlines()[:3] == ["Format: gtfs-signoff-1", "Date: 1970-01-01T00:00:00Z", "Packs:"]
    assert text.splitlines()[3].endswith(" 300 catalogue")
    assert text.splitlines()[4].endswith(f" 1 signed:{'A' * 40},{'B' * 40}")


@pytest.mark.parametrize(
    ("old", "new"),
    [("signoff-1", "signoff-2"), ("catalogue", "nobody"), (" 300 ", " 0 "), ("01" * 20, "01" * 19), ("Date", "Data")],
)
def test_other_statements_are_refused(old: str, new: str) -> None:
    with pytest.raises(BadSignoff):
        parse_signoff(signoff_text(ROWS, 0).replace(old, new).encode())
