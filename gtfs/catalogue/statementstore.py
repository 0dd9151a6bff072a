# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory of accepted statements of one publisher: his catalogues, or his collections (design.md §7).

``<version>.asc`` is durable before anybody acts on it, and the highest one is the held one: a rollback would have to
delete files. ``latest.asc`` is a copy for other programs. It verifies no signature: what lies here was accepted. One
writer (the node's lock), any thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic

from gtfs.catalogue.accept import Believed, Equivocation, FirstTrust, S, judge
from gtfs.catalogue.document import digest
from gtfs.catalogue.refchunks import BadCatalogue
from gtfs.durable import make_directory, replace_file, sync_directory
from gtfs.errors import Blame, GtfsError
from gtfs.feed import LATEST
from gtfs.trust.keyring import Keyring
from gtfs.trust.verify import BadSignature, split_clearsigned

KEPT: Final = 100  # versions; a publisher may make ten thousand
KEPT_DAYS: Final = 16  # on which some came: the first of each stays, too, however many a thief signs after it
EVIDENCE: Final = 8  # other texts of one version: the first says all
LATEST_FRESHNESS: Final = "latest.fresh.asc"
_DAY_S: Final = 24 * 3600
_NAME = re.compile(r"([1-9][0-9]{0,17})\.asc\Z")
_FRESHNESS = re.compile(r"([1-9][0-9]{0,17})\.fresh\.asc\Z")
_SET_ASIDE = re.compile(r"withdrawn-[1-9][0-9]{0,17}-[0-9a-f]{64}\.asc\Z")
_EQUIVOCATION = re.compile(r"equivocation-([1-9][0-9]{0,17})-[0-9a-f]{16}\.asc\Z")


class DamagedStore(GtfsError):
    """A catalogue that was accepted once can no longer be read; going back to an older one would be a rollback."""

    fault = Blame.SYSTEM

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is damaged ({reason}); put a copy of it there, the publisher has it")
        self.path = path


class StatementStore(Generic[S]):
    """The statements under one directory; ``read`` gives one from its signed text.

    The directory is made if it is missing; with ``read_only`` there are none then.
    """

    def __init__(
        self, directory: Path, read: Callable[[bytes], S], *, read_only: bool = False, kept: int | None = None
    ) -> None:
        self.directory = directory
        self._read = read
        self._read_only = read_only
        self._kept = kept  # None: KEPT
        if not read_only:
            make_directory(directory)

    @property
    def latest(self) -> Path:
        """Where other programs find the held document."""
        return self.directory / LATEST

    def versions(self) -> list[int]:
        """The accepted versions, ascending."""
        found = (_NAME.match(path.name) for path in self._paths())
        return sorted(int(match[1]) for match in found if match)

    def _paths(self) -> list[Path]:
        try:
            return list(self.directory.iterdir())
        except FileNotFoundError:
            if self._read_only:
                return []
            raise

    def judge(
        self, document: bytes, held: Believed[S] | None, keyring: Keyring, first: FirstTrust, now_s: int
    ) -> Believed[S]:
        """Whether to believe a document that was given, as `gtfs.catalogue.accept.accept` does."""
        return judge(document, held, keyring, first, now_s, self._read, self.known_digest)

    def save(self, accepted: Believed[S], before: Believed[S] | None = None) -> None:
        """Make a statement the held one, durably; raises OSError, and `Equivocation` over another text.

        What the one ``before`` named, which is held, is here for good.
        """
        version = accepted.catalogue.version
        known = self.known_digest(version)
        if known is not None and known != accepted.digest:
            raise Equivocation(version, None, accepted.document)
        if known is None:
            self._save_parts(accepted, before)
            replace_file(self.directory / f"{version}.asc", accepted.document)
        versions = self.versions()
        if version >= versions[-1]:
            replace_file(self.latest, accepted.document)
            self._drop_freshness(version)
        # Old ones serve to notice an equivocation, and to go back to; `accept` refuses them anyhow.
        for old_version in self._too_old(versions):
            (self.directory / f"{old_version}.asc").unlink(missing_ok=True)

    def _too_old(self, versions: list[int]) -> list[int]:
        """Those that are neither among the newest nor the first that came here on one of the last days of any.

        When one came is the time of its file; what it says of itself a thief may have written.
        """
        first: dict[int, int] = {}
        for version in versions:
            accepted_s = self.accepted_s(version)
            if accepted_s is not None:
                first.setdefault(int(accepted_s // _DAY_S), version)
        stay = {*versions[-(self._kept or KEPT) :], *list(first.values())[-KEPT_DAYS:]}
        return [version for version in versions if version not in stay]

    def accepted_s(self, version: int) -> float | None:
        """When a version came here, None if it cannot be told."""
        try:
            return (self.directory / f"{version}.asc").stat().st_mtime
        except OSError:
            return None

    def _save_parts(self, accepted: Believed[S], before: Believed[S] | None) -> None:
        """Keep what a statement names, before it is kept itself."""

    def highest(self) -> Believed[S] | None:
        """The held statement, or None before the first; raises `DamagedStore`, never an older one instead.

        A copy that a crash left behind is made good.
        """
        versions = self.versions()
        return self._mended(self.load(versions[-1])) if versions else None

    def _mended(self, held: Believed[S]) -> Believed[S]:
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

    def before(self, version: int) -> Believed[S] | None:
        """The accepted catalogue that this version took the place of, None if there was none or it is damaged.

        Its refs are not looked for where they are in chunks.
        """
        earlier = [v for v in self.versions() if v < version]
        try:
            return self._load_text(earlier[-1]) if earlier else None
        except DamagedStore:
            return None

    def load(self, version: int) -> Believed[S]:
        """An accepted version; raises `DamagedStore`."""
        return self._load_text(version)

    def _load_text(self, version: int) -> Believed[S]:
        """The same without what its text only names."""
        path = self.directory / f"{version}.asc"
        try:
            document = path.read_bytes()
            text, _ = split_clearsigned(document)
            catalogue = self._read(text)
        except OSError as error:
            raise DamagedStore(path, error.strerror or str(error)) from error
        except (BadSignature, BadCatalogue) as error:
            raise DamagedStore(path, error.reason) from error
        if catalogue.version != version:
            raise DamagedStore(path, f"it holds version {catalogue.version}")
        return Believed(catalogue, document, digest(text), (), news=False)

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
        for path in sorted(self._paths()):
            match = _EQUIVOCATION.match(path.name)
            if match:
                found.setdefault(int(match[1]), []).append(path)
        return found

    def is_disputed(self, held: Believed[S]) -> bool:
        """Whether there is another text of the held version that nobody has taken back: then refs stay."""
        prefixes = [path.stem[-16:] for path in self.equivocations().get(held.catalogue.version, ())]
        return any(not held.digest.startswith(prefix) and not self.is_set_aside(prefix) for prefix in prefixes)

    def go_back(self, version: int) -> Believed[S]:
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
        return [path for path in self._paths() if _SET_ASIDE.match(path.name)]

    def is_set_aside(self, digest: str) -> bool:
        """Whether the text of this digest, or of one that begins so, was."""
        return any(path.name.rpartition("-")[2].startswith(digest) for path in self.set_aside())
