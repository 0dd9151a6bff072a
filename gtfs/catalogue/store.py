# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of accepted catalogues, ``$GIT_DIR/gtfs/catalogue`` (design.md §7).

``<version>.asc`` is durable, after the chunks that it names (`gtfs.catalogue.chunkstore`), before anybody acts on it,
and the highest one is the held one: a rollback would have to delete files. The last `KEPT` are kept. ``latest.asc`` is
a copy for other programs. It verifies no signature: what lies here was accepted. One writer (the node's lock), any
thread.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from gtfs.catalogue.accept import Accepted, Equivocation, Held
from gtfs.catalogue.chunkstore import ChunkStore
from gtfs.catalogue.dates import PublishDates
from gtfs.catalogue.document import BadCatalogue, Catalogue, digest, text_alone, with_refs
from gtfs.catalogue.race import Race
from gtfs.catalogue.refchunks import ChunksMissing, named_below
from gtfs.catalogue.reftree import Chunk, RefTree
from gtfs.durable import replace_file, sync_directory
from gtfs.errors import Blame, GtfsError
from gtfs.feed import CHUNKS, LATEST
from gtfs.trust.verify import BadSignature, split_clearsigned

SWEPT: Final = 16  # versions after which chunks that nothing names any more are looked for
KEPT: Final = 100  # versions; a publisher may make ten thousand
EVIDENCE: Final = 8  # other texts of one version: the first says all
_NAME = re.compile(r"([1-9][0-9]{0,17})\.asc\Z")
LATEST_FRESHNESS: Final = "latest.fresh.asc"
_FRESHNESS = re.compile(r"([1-9][0-9]{0,17})\.fresh\.asc\Z")
_RACE = re.compile(r"race-([1-9][0-9]{0,17})-([0-9a-f]{64})\.asc\Z")
_SET_ASIDE = re.compile(r"withdrawn-[1-9][0-9]{0,17}-[0-9a-f]{64}\.asc\Z")
_EQUIVOCATION = re.compile(r"equivocation-([1-9][0-9]{0,17})-[0-9a-f]{16}\.asc\Z")


class DamagedStore(GtfsError):
    """A catalogue that was accepted once can no longer be read; going back to an older one would be a rollback."""

    fault = Blame.SYSTEM

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is damaged ({reason}); put a copy of it there, the publisher has it")
        self.path = path


class CatalogueStore:
    """The catalogues under one directory, which is made if it is missing."""

    def __init__(self, directory: Path, *, read_only: bool = False) -> None:
        self.directory = directory
        self._read_only = read_only
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.chunks = ChunkStore(directory / CHUNKS)
        self._dates = PublishDates(directory)

    @property
    def latest(self) -> Path:
        """Where other programs find the held document."""
        return self.directory / LATEST

    def versions(self) -> list[int]:
        """The accepted versions, ascending."""
        found = (_NAME.match(path.name) for path in self.directory.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def dates(self) -> dict[int, int]:
        """When each of them was signed, in seconds since 1970; one that cannot be read is missing."""
        return self._dates.of(self.versions())

    def accepted_s(self, version: int) -> float | None:
        """When a version came here, None if it cannot be told."""
        try:
            return (self.directory / f"{version}.asc").stat().st_mtime
        except OSError:
            return None

    def save(self, accepted: Accepted, before: Held | None = None) -> None:
        """Make a catalogue the held one, durably; raises OSError, and `Equivocation` over another text.

        Chunks that the one ``before`` named, which is held, are here for good.
        """
        version, tree = accepted.catalogue.version, accepted.catalogue.tree
        known = self.known_digest(version)
        if known is not None and known != accepted.digest:
            raise Equivocation(version, None, accepted.document)
        if known is None:
            if tree is not None:
                old = None if before is None else before.catalogue.tree
                self.chunks.make_durable(tree, () if old is None else old.data.keys())
            replace_file(self.directory / f"{version}.asc", accepted.document)
        versions = self.versions()
        if version >= versions[-1]:
            replace_file(self.latest, accepted.document)
            self._drop_freshness(version)
            self._drop_races(accepted)
        # Old ones serve to notice an equivocation; `accept` refuses them anyhow.
        for old_version in versions[:-KEPT]:
            (self.directory / f"{old_version}.asc").unlink(missing_ok=True)
        if versions[1:] and version // SWEPT != versions[-2] // SWEPT:
            self.drop_unnamed_chunks()

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

    def highest(self, known: RefTree | None = None) -> Held | None:
        """The held catalogue, or None before the first; raises `DamagedStore`, never an older one instead.

        Chunks of a tree that is ``known`` are not read again.

        A copy that a crash left behind is made good.
        """
        versions = self.versions()
        if not versions:
            return None
        held = self.load(versions[-1], known)
        if self._read_only:
            return held
        if not self.latest.exists() or self.latest.read_bytes() != held.document:
            replace_file(self.latest, held.document)
        self._drop_freshness(held.catalogue.version)
        said, copy = self.freshness(held.catalogue.version), self.directory / LATEST_FRESHNESS
        if said is not None and (not copy.exists() or copy.read_bytes() != said):
            replace_file(copy, said)
        return held

    def freshness(self, version: int) -> bytes | None:
        """The freshness statement that is kept of a version: a hint, to be verified by whoever reads it."""
        try:
            return (self.directory / f"{version}.fresh.asc").read_bytes()
        except FileNotFoundError:
            return None

    def save_freshness(self, version: int, document: bytes) -> None:
        """Keep an accepted statement about the held version, durably, in the place of the one before."""
        replace_file(self.directory / f"{version}.fresh.asc", document)
        replace_file(self.directory / LATEST_FRESHNESS, document)

    def _drop_freshness(self, version: int) -> None:
        """What was said of another version than the held one says nothing any more."""
        others = [p for p in self.directory.iterdir() if (m := _FRESHNESS.match(p.name)) and int(m[1]) != version]
        for path in others:
            path.unlink(missing_ok=True)
        if not (self.directory / f"{version}.fresh.asc").exists():
            (self.directory / LATEST_FRESHNESS).unlink(missing_ok=True)

    def before(self, version: int) -> Held | None:
        """The accepted catalogue that this version took the place of, None if there was none or it is damaged.

        Its refs are not looked for where they are in chunks.
        """
        earlier = [v for v in self.versions() if v < version]
        try:
            return self._load_text(earlier[-1]) if earlier else None
        except DamagedStore:
            return None

    def load(self, version: int, known: RefTree | None = None) -> Held:
        """An accepted version; raises `DamagedStore`."""
        held = self._load_text(version)
        try:
            return replace(held, catalogue=with_refs(held.catalogue, self.chunks.get, known))
        except ChunksMissing as error:
            raise DamagedStore(self.chunks.directory / error.chunks[0].digest, "it is missing") from None
        except BadCatalogue as error:
            raise DamagedStore(self.directory / f"{version}.asc", error.reason) from None

    def _load_text(self, version: int) -> Held:
        """The same without the refs that are in chunks."""
        path = self.directory / f"{version}.asc"
        try:
            document = path.read_bytes()
            text, _ = split_clearsigned(document)
            catalogue: Catalogue = text_alone(text)
        except OSError as error:
            raise DamagedStore(path, error.strerror or str(error)) from error
        except (BadSignature, BadCatalogue) as error:
            raise DamagedStore(path, error.reason) from error
        if catalogue.version != version:
            raise DamagedStore(path, f"it holds version {catalogue.version}")
        return Held(catalogue, document, digest(text), (), news=False)

    def known_digest(self, version: int) -> str | None:
        """The digest of an accepted version, None if it was never held; raises `DamagedStore`."""
        return self._load_text(version).digest if (self.directory / f"{version}.asc").exists() else None

    def save_equivocation(self, found: Equivocation) -> Path:
        """Keep the other document beside the accepted one, once, and a few of a version; gives where evidence lies.

        It is named by its text: anybody can change a signature's form, and would fill the disk with copies. So would a
        thief with texts.
        """
        prefix = digest(split_clearsigned(found.other)[0])[:16]
        path = self.directory / f"equivocation-{found.version}-{prefix}.asc"
        known = self.equivocations().get(found.version, [])
        if len(known) >= EVIDENCE:
            return known[0]
        if not path.exists():
            replace_file(path, found.other)
        return path

    def equivocations(self) -> dict[int, list[Path]]:
        """The other documents of every version that has some; see `is_disputed`."""
        found: dict[int, list[Path]] = {}
        for path in sorted(self.directory.iterdir()):
            match = _EQUIVOCATION.match(path.name)
            if match:
                found.setdefault(int(match[1]), []).append(path)
        return found

    def is_disputed(self, held: Held) -> bool:
        """Whether there is another text of the held version that nobody has taken back: then refs stay."""
        prefixes = [path.stem[-16:] for path in self.equivocations().get(held.catalogue.version, ())]
        return any(not held.digest.startswith(prefix) and not self.is_set_aside(prefix) for prefix in prefixes)

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
        for path in self.directory.iterdir():
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

    def go_back(self, version: int) -> Held:
        """Make an accepted version the held one again; those above are set aside. Raises OSError, `DamagedStore`.

        The highest goes first: after a crash a part of the way is done, and what is held was accepted once.
        """
        behind = self.load(version)
        for above in sorted((v for v in self.versions() if v > version), reverse=True):
            path = self.directory / f"{above}.asc"
            path.replace(self.directory / f"withdrawn-{above}-{self.load(above).digest}.asc")
        sync_directory(self.directory)
        replace_file(self.latest, behind.document)
        self._drop_freshness(version)
        return behind

    def set_aside(self) -> list[Path]:
        """What `go_back` took back."""
        return [path for path in self.directory.iterdir() if _SET_ASIDE.match(path.name)]

    def is_set_aside(self, digest: str) -> bool:
        """Whether the text of this digest, or of one that begins so, was."""
        return any(path.name.rpartition("-")[2].startswith(digest) for path in self.set_aside())
