# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of accepted catalogues, ``$GIT_DIR/gtfs/catalogue`` (design.md §7).

Beside what `gtfs.catalogue.statementstore` says of any: the chunks that a catalogue names are durable before it is
(`gtfs.catalogue.chunkstore`), and others' catalogues of a race are kept. One writer (the node's lock), any thread.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from gtfs.catalogue.accept import Accepted, FirstTrust, Held, accept
from gtfs.catalogue.chunkstore import ChunkStore
from gtfs.catalogue.dates import PublishDates
from gtfs.catalogue.document import BadCatalogue, Catalogue, text_alone, with_refs
from gtfs.catalogue.race import Race
from gtfs.catalogue.refchunks import ChunksMissing, named_below
from gtfs.catalogue.reftree import Chunk, RefTree
from gtfs.catalogue.statementstore import DamagedStore, StatementStore
from gtfs.durable import replace_file
from gtfs.feed import CHUNKS
from gtfs.trust.keyring import Keyring
from gtfs.trust.verify import BadSignature, split_clearsigned

SWEPT: Final = 16  # versions after which chunks that nothing names any more are looked for
_RACE = re.compile(r"race-([1-9][0-9]{0,17})-([0-9a-f]{64})\.asc\Z")


class CatalogueStore(StatementStore[Catalogue]):
    """The catalogues under one directory, which is made if it is missing."""

    def __init__(self, directory: Path, *, read_only: bool = False) -> None:
        super().__init__(directory, text_alone, read_only=read_only)
        self.chunks = ChunkStore(directory / CHUNKS)
        self._dates = PublishDates(directory)

    def judge(self, document: bytes, held: Held | None, keyring: Keyring, first: FirstTrust, now_s: int) -> Accepted:
        """See `StatementStore`; with the chunks that are here."""
        return accept(
            document, held, keyring, first, now_s, known_digest=self.known_digest, chunks=self.chunks.get
        )  # fmt: skip

    def dates(self) -> dict[int, int]:
        """When each of them was signed, in seconds since 1970; one that cannot be read is missing."""
        return self._dates.of(self.versions())

    def save(self, accepted: Accepted, before: Held | None = None) -> None:
        """See `StatementStore`. Chunks that the one ``before`` named, which is held, are here for good."""
        super().save(accepted, before)
        version, versions = accepted.catalogue.version, self.versions()
        if version >= versions[-1]:
            self._drop_races(accepted)
        if versions[1:] and version // SWEPT != versions[-2] // SWEPT:
            self.drop_unnamed_chunks()

    def _save_parts(self, accepted: Accepted, before: Held | None) -> None:
        tree = accepted.catalogue.tree
        if tree is not None:
            old = None if before is None else before.catalogue.tree
            self.chunks.make_durable(tree, () if old is None else old.data.keys())

    def highest(self, known: RefTree | None = None) -> Held | None:
        """See `StatementStore`; chunks of a tree that is ``known`` are not read again."""
        versions = self.versions()
        return self._mended(self.load(versions[-1], known)) if versions else None

    def newest_text(self) -> Held | None:
        """The held catalogue as its text alone has it; nothing is mended."""
        versions = self.versions()
        return self._load_text(versions[-1]) if versions else None

    def drop_unnamed_chunks(self) -> None:
        """Delete the chunks that none of the documents here names. Raises OSError."""
        here = self.chunks.digests()
        if here:
            self.chunks.drop(here - self._named(here))

    def _named(self, here: Collection[str]) -> set[str]:
        """The chunks that the documents here name, as far down as they are ``here``."""
        named: set[str] = set()
        for path in self.directory.glob("*.asc"):
            try:
                top = text_alone(split_clearsigned(path.read_bytes())[0]).top
            except (BadSignature, BadCatalogue):
                continue  # a freshness statement, or damaged
            level: Iterable[Chunk] = () if top is None else top.top
            for is_last in [False] * (top.levels if top is not None else 0) + [True]:
                new = [chunk for chunk in level if chunk.digest not in named]
                named.update(chunk.digest for chunk in new)
                level = (
                    () if is_last else [below for chunk in new if chunk.digest in here for below in self._below(chunk)]
                )
        return named

    def _below(self, chunk: Chunk) -> tuple[Chunk, ...]:
        try:
            return named_below(self.chunks.get(chunk) or b"")
        except BadCatalogue:
            return ()

    def load(self, version: int, known: RefTree | None = None) -> Held:
        """An accepted version; raises `DamagedStore`."""
        held = self._load_text(version)
        try:
            return replace(held, catalogue=with_refs(held.catalogue, self.chunks.get, known))
        except ChunksMissing as error:
            raise DamagedStore(self.chunks.directory / error.chunks[0].digest, "it is missing") from None
        except BadCatalogue as error:
            raise DamagedStore(self.directory / f"{version}.asc", error.reason) from None

    def save_race(self, race: Race) -> bool:
        """Keep another signer's catalogue beside the accepted one; whether it is news. Raises OSError."""
        path = self.directory / f"race-{race.version}-{race.digest}.asc"
        if path.exists():
            return False
        replace_file(path, race.document)
        return True

    def races(self) -> list[Race]:
        """What is kept beside the accepted ones, the newest first: hints, to be judged by whoever reads them."""
        found = []
        for path in self._paths():
            match = _RACE.match(path.name)
            if match:
                found.append(Race(int(match[1]), match[2], path.read_bytes()))
        return sorted(found, reverse=True)

    def _drop_races(self, held: Accepted) -> None:
        """What the held one has overtaken, or follows."""
        for path in self.directory.iterdir():
            match = _RACE.match(path.name)
            if match and (int(match[1]) < held.catalogue.version or match[2] in held.catalogue.follows):
                path.unlink(missing_ok=True)
