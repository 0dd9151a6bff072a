# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from gtfs.feed import Feed, parse_feed
from gtfs.node import opening
from gtfs.node.opening import bring_believed
from gtfs.node.options import NodeOptions
from gtfs.state.trustgiven import TrustGiven

pytestmark = pytest.mark.trio
KEY = "ab" * 32


async def test_what_a_pointer_leads_to_has_to_be_of_the_id_that_its_name_is(monkeypatch: pytest.MonkeyPatch) -> None:
    expected: list[str | None] = []

    async def bring(*_: object) -> bytes:
        return b"document"

    async def believe(_feed: Feed, given: TrustGiven, *_: object) -> None:
        expected.append(given.repository)

    monkeypatch.setattr(opening, "bring_first", bring)
    monkeypatch.setattr(opening, "believe_from", believe)
    for text, known in (
        (f"gtfs:{KEY}/demo", None),
        (f"gtfs:{KEY}/demo", "of-a-list"),
        (f"gtfs:{KEY}", None),
        ("https://example.org/demo", None),
    ):
        await bring_believed(parse_feed(text), TrustGiven(repository=known), NodeOptions(), None)
    assert expected == ["demo", "of-a-list", None, None]
