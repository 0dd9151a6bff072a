# SPDX-License-Identifier: GPL-3.0-or-later
"""Who types a passphrase for a running node keeps nobody from writing, and what it signs by itself asks nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from keys import Keys, shared_keys
from mirrored import fetch, take_catalogue
from onefile import Publisher
from waiting import WAIT_S

from gtfs.node.node import Node, open_node
from gtfs.node.options import NodeOptions
from gtfs.repo.repository import Repository
from gtfs.state import attest
from gtfs.state.attest import AttestationDraft, attest_if_due, make_attester
from gtfs.state.freshness import FreshnessDraft, HeldAnother, draw_freshness, keep_freshness
from gtfs.state.state import State
from gtfs.trust.sign import Signer


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


@pytest.fixture
def attester(tmp_path: Path, mirror: Repository, keys: Keys) -> Iterator[State]:
    """A mirror that has all of a catalogue, and says so by a key of a person's GnuPG."""
    publisher = Publisher(tmp_path)
    with State(publisher.repository) as origin, State(mirror) as state:
        publisher.publish(origin)
        assert origin.held is not None
        take_catalogue(state, origin.held)
        fetch(state, origin)
        make_attester(state, keys["bob"], keys.home, None)
        yield state


class Typist:
    """Types a passphrase once somebody else has written."""

    def __init__(self, sign: Callable[[Any], Any]) -> None:
        self._sign = sign
        self.is_asked, self.has_written = threading.Event(), threading.Event()

    def sign(self, drawn: object) -> Any:
        self.is_asked.set()
        assert self.has_written.wait(WAIT_S)
        return self._sign(drawn)

    async def write_meanwhile(self, node: Node) -> None:
        assert await trio.to_thread.run_sync(self.is_asked.wait, WAIT_S)
        with trio.fail_after(WAIT_S / 2):
            await node._writing.run(self.has_written.set)


def test_while_somebody_types_a_passphrase_for_an_attestation_others_write(
    attester: State, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    typist = Typist(AttestationDraft.sign)
    monkeypatch.setattr(AttestationDraft, "sign", lambda drawn: typist.sign(drawn))

    async def main() -> None:
        async with open_node(attester, NodeOptions(offline=True)) as node, trio.open_nursery() as nursery:
            nursery.start_soon(typist.write_meanwhile, node)
            done = await node.publishing.handlers()["draft"]({"do": "draft"}, lambda _told: None)
            assert (done["published"]["new"], done["published"]["version"]) == (True, 1)
            again = await node.publishing.handlers()["draft"]({"do": "draft"}, lambda _told: None)
            assert not again["published"]["new"]

    trio.run(main)
    assert b"gtfs-attestation" in keys.gpg("--decrypt", str(attester.layout.attested))


def test_while_somebody_types_a_passphrase_for_a_freshness_statement_others_write(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Publisher(tmp_path)
    typist = Typist(FreshnessDraft.sign)
    monkeypatch.setattr(FreshnessDraft, "sign", lambda drawn: typist.sign(drawn))

    async def main(state: State) -> None:
        async with open_node(state, NodeOptions(offline=True)) as node, trio.open_nursery() as nursery:
            nursery.start_soon(typist.write_meanwhile, node)
            assert (await node.refresh(60, None)).is_new
            assert state.fresh is not None

    with State(publisher.repository) as state:
        state.config.set("freshnesskey", keys["carol"])
        state.config.set("validdays", "1")
        publisher.publish(state)
        trio.run(main, state)


def test_who_signs_the_freshness_of_a_catalogue_while_the_next_one_comes_is_told_to_do_it_again(
    tmp_path: Path, keys: Keys
) -> None:
    publisher = Publisher(tmp_path)
    with State(publisher.repository) as state:
        state.config.set("freshnesskey", keys["carol"])
        state.config.set("validdays", "1")
        publisher.publish(state)
        drawn = draw_freshness(state, 60)
        assert isinstance(drawn, FreshnessDraft)
        document = drawn.sign()
        publisher.publish(state)
        with pytest.raises(HeldAnother, match=r"version 2 is held since: .* run gtfs refresh again$"):
            keep_freshness(state, drawn, document)
        assert state.fresh is None


def test_what_an_attester_says_by_itself_asks_nobody_for_a_passphrase(
    attester: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    class Recorded(Signer):
        def __init__(self, *given: Any, asks: bool) -> None:
            asked.append(asks)
            super().__init__(*given, asks=asks)

    monkeypatch.setattr(attest, "Signer", Recorded)
    attest_if_due(attester)
    assert asked == [False] and attester.layout.attested.exists()
