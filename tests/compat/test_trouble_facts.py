# SPDX-License-Identifier: GPL-3.0-or-later
"""The look that each node takes at its troubles now and then: cheap, and it sees what the whole status says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from keys import DAY_S
from publishers import Publishers, now_s, with_node

from gtfs.node.node import Node
from gtfs.node.troublefacts import trouble_facts
from gtfs.overview.troubles import find_troubles
from gtfs.state.outstanding import note_failure


@pytest.fixture(scope="module")
def publishers() -> Iterator[Publishers]:
    found = Publishers()
    yield found
    found.close()


def facts(node: Node) -> dict[str, str]:
    return find_troubles(trouble_facts(node.state, node.reel_torrents, node.written, node.worktrees, node.keep_up))


@pytest.mark.warns
def test_it_finds_what_is_in_the_whole_status_and_opens_no_index(publishers: Publishers, tmp_path: Path) -> None:
    first = publishers.document(1, date_s=now_s() - 40 * DAY_S, valid_until_s=now_s() - DAY_S)
    other = publishers.document(1, date_s=now_s() - 40 * DAY_S, valid_until_s=now_s() - DAY_S, refs={})
    feed = tmp_path / "feed.asc"
    feed.write_bytes(other)
    seen: list[dict[str, str]] = []

    async def act(node: Node) -> None:
        state, index = node.state, node.state.index
        assert set(facts(node)) == {"stale", "equivocation"}
        assert facts(node) == find_troubles(node.status())
        state.config.set("signkey", publishers["plain"])
        note_failure(state.layout, ValueError("no key"))
        index.hooks.failed("post-receive", now_s(), "it ended with 1")
        state.layout.checked.write_text(json.dumps({"a" * 64: [now_s(), "a pack is not what it was"]}))
        node.written.last_error = "no space"
        seen.append(facts(node))
        assert seen[0] == find_troubles(node.status())
        assert index.rest() or index.rest()
        assert facts(node) == seen[0]
        assert not index.rest()  # there was nothing to close

    with publishers.mirror(tmp_path / "m.git", first) as state:
        with_node(state, [feed], act)
    kinds = {"stale", "equivocation", "not-published", "hook-failed", "damaged", "not-taken-in"}
    assert set(seen[0]) == kinds
