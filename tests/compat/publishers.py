# SPDX-License-Identifier: GPL-3.0-or-later
"""Publishers whose keys can be stolen, and mirrors without network, for tests of what catalogues can do to these."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio
from keys import DAY_S
from owner import COMPROMISED, Owner

from gtfs.catalogue.accept import Accepted, Believed, FirstTrust
from gtfs.catalogue.document import Catalogue, digest
from gtfs.feed import parse_feed
from gtfs.ids import SHA1, Fingerprint, ObjectId
from gtfs.node.node import Node, open_node
from gtfs.node.options import NodeOptions
from gtfs.repo.repository import create_repository, open_repository
from gtfs.state.state import State
from gtfs.state.takecatalogue import take_catalogue
from gtfs.trust.keyring import load_keyrings
from gtfs.trust.verify import split_clearsigned

MAIN = b"refs/heads/main"


def now_s() -> int:
    return int(time.time())


class Publishers:
    """``plain`` and ``other`` sign catalogues with their only key; ``signer`` has a primary key and two subkeys."""

    def __init__(self) -> None:
        self.owner = Owner(Path(tempfile.mkdtemp(prefix="gtfs-keys-", dir="/tmp")))

    def __getitem__(self, name: str) -> Fingerprint:
        return self.owner[name]

    def close(self) -> None:
        self.owner.close()

    def ring(self, *names: str) -> bytes:
        return self.owner.export(*(names or ("plain", "other", "signer", "stranger")))

    def revocation(self, name: str) -> bytes:
        return self.owner.revocation(name, COMPROMISED, now_s())

    def document(
        self,
        version: int,
        *follows: Accepted | bytes,
        by: str | tuple[str, ...] = "plain",
        part: int = 0,
        **changes: object,
    ) -> bytes:
        """A catalogue, signed by keys of these names, or by a part of the one; others' has another branch."""
        before = [each.digest if isinstance(each, Believed) else digest(split_clearsigned(each)[0]) for each in follows]
        fields: dict[str, object] = {
            "repository": "demo",
            "version": version,
            "previous": before[0] if before else None if version == 1 else "00" * 32,
            "raced": tuple(before[1:]),
            "date_s": now_s() - DAY_S + 60 * version if version < 1000 else now_s() - 60,
            "valid_until_s": now_s() + 30 * DAY_S,
            "signers": (self["plain"], self["other"]),
            "refs": {MAIN: ObjectId(bytes([version % 120 + (1 if by == "plain" else 121)]) * 20)},
        }
        text = Catalogue(**(fields | changes)).to_text().encode()  # type: ignore[arg-type]
        return self.sign(text, *((by,) if isinstance(by, str) else by), part=part)

    def sign(self, text: bytes, *names: str, part: int = 0) -> bytes:
        who = [w for name in names for w in ("--local-user", f"{self.owner.parts(name)[part]}!")]
        return self.owner.gpg("--armor", "--digest-algo", "SHA256", *who, "--clearsign", data=text)

    def mirror(
        self, path: Path, first: bytes, *, by: str = "plain", ring: bytes | None = None, create: bool = True
    ) -> State:
        """A mirror that holds a first catalogue; the caller closes it."""
        state = State(create_repository(path, SHA1) if create else open_repository(path))
        self.use_ring(state, self.ring() if ring is None else ring)
        assert take_catalogue(state, first, FirstTrust(frozenset({self[by]}))) is not None
        return state

    def use_ring(self, state: State, keys: bytes) -> None:
        file = state.repository.path / "keys.gpg"
        file.write_bytes(keys)
        load_keyrings([file], state.layout.keyring)
        state.use_keyring()


def take(state: State, document: bytes) -> Accepted | None:
    return take_catalogue(state, document, FirstTrust())


def held(state: State) -> Accepted:
    assert state.held is not None
    return state.held


def with_node(state: State, feeds: list[Path], act: Callable[[Node], Awaitable[None]]) -> None:
    """A node without network that has asked its feeds once."""

    async def work() -> None:
        options = NodeOptions(offline=True, feeds=tuple(parse_feed(str(feed)) for feed in feeds))
        async with open_node(state, options) as node:
            await node.poller.poll_once()
            await act(node)

    trio.run(work)
