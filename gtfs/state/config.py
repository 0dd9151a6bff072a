# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node keeps about itself: ``$GIT_DIR/gtfs/config``, in git-config(1)'s syntax. Any thread.

Keys, all of section ``gtfs``: name, signkey, threshold, gnupghome, validdays, catalogueformat, publish, publishquiet,
publishmost, announce, announcemail, sendmail, feeddir, pushurl, clone, upstream, ringrepository, ringref,
one for each limit, and, any number of times, signer, source, attester, tracker, webseed, policy, refs, hide, ringpath,
cataloguekey, worktree.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gtfs.durable import replace_file, sync_directory, sync_file, temporary_in
from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint, parse_fingerprint
from gtfs.pack.limits import LIMITS, Limits, key_of, parse_size
from gtfs.repo.gitsyntax import BadSyntax, Setting, quoted, read_syntax
from gtfs.repo.repository import GitFailed, Repository
from gtfs.state.private import read_unlinked
from gtfs.trust.policy import Policy, parse_policy

VALID_DAYS = 3650  # at most
IN_CHUNKS_ABOVE = 64 << 10  # bytes of refs, some 900 of them: fewer cost less than asking for chunks
_IN_CHUNKS: Mapping[str, int | None] = {"auto": IN_CHUNKS_ABOVE, "1": None, "2": -1}
PUBLISH_MODES = ("auto", "tags", "manual")  # any published ref moved; a published tag was made; who types gtfs publish


_NOT_SET = 5  # git-config(1): there is none to unset
_SECONDS = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,3})?)s?\Z")


class Gathering(NamedTuple):
    """How long refs must have been quiet before they are published, and how long after the first move at most; in s."""

    quiet_s: float = 2.0
    most_s: float = 10.0


class BadConfig(GtfsError):
    """A setting that cannot be understood; names the file and the key."""

    fault = Blame.USAGE


def parse_gathering(what: str, text: str | None, default: float) -> float:
    """Seconds behind "2", "0.5" or "30s"; raises `BadConfig`."""
    if not text:
        return default
    found = _SECONDS.match(text)
    if found is None:
        raise BadConfig(f"{what} is {text}: not a number of seconds below 10000, such as 2 or 0.5")
    return float(found[1])


def sweep_config(repository: Repository) -> None:
    """Drop the lock file of a git config that was killed; whoever writes the config has the state's lock."""
    repository.layout.config_lock.unlink(missing_ok=True)


class Config:
    """Reads on opening, writes through at each change."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self.path: Path = repository.layout.config
        self._values: dict[str, list[str]] = {}
        self._later: dict[str, list[str]] | None = None  # what `together` has still to write
        try:
            text = os.fsdecode(read_unlinked(self.path))
        except FileNotFoundError:
            return
        try:
            for item in read_syntax(text):
                if isinstance(item, Setting) and (item.section, item.name) == ("gtfs", None):
                    self._values.setdefault(item.key, []).append(item.value or "")
        except BadSyntax as e:
            raise BadConfig(f"{self.path}:{e.line} is not in git-config syntax: {e}") from None

    def get(self, key: str) -> str | None:
        """The last value of a key."""
        values = self._values.get(key)
        return values[-1] if values else None

    def get_all(self, key: str) -> list[str]:
        """Every value of a key."""
        return list(self._values.get(key, ()))

    def set(self, key: str, *values: str) -> None:
        """Replace a key's values, all of them or none; raises `GitFailed`, `BadConfig`, OSError."""
        is_there = key in self._values
        if self._later is not None:
            self._later[key] = list(values)
        elif values or is_there:
            self._write({key: values})
        self._values[key] = list(values)

    def _write(self, changes: Mapping[str, Sequence[str]]) -> None:
        """Let git change a copy, which takes the file's place: half of a policy, or of signers, would be a weaker one.

        Git itself writes value by value, and does not wait for the disk.
        """
        lock, directory = self._repository.layout.config_lock, self.path.parent
        try:
            os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            raise BadConfig(f"{lock} is there: git is changing {self.path}; try again when it has ended") from None
        temporary: Path | None = None
        try:
            fd, temporary = temporary_in(directory)
            with os.fdopen(fd, "wb") as file, contextlib.suppress(FileNotFoundError):
                file.write(read_unlinked(self.path))
            for key, values in changes.items():
                self._change(temporary, key, values)
            sync_file(temporary)
            temporary.replace(self.path)
            sync_directory(directory)
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)

    def _change(self, path: Path, key: str, values: Sequence[str]) -> None:
        file, name = ("config", "--file", str(path)), f"gtfs.{key}"
        if not values:
            try:
                self._repository.git(*file, "--unset-all", name, umask=0o077)
            except GitFailed as error:
                if error.status != _NOT_SET:
                    raise
        for number, value in enumerate(values):
            self._repository.git(*file, "--add" if number else "--replace-all", name, value, umask=0o077)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is set meanwhile is written at the end, and nothing of it after an error.

        Raises `GitFailed`, `BadConfig`, OSError. The settings of a new repository are one file, and not a process of
        git for each of them.
        """
        before, later = {key: list(values) for key, values in self._values.items()}, dict[str, list[str]]()
        self._later = later
        try:
            yield
            if self.path.exists():
                if changes := {key: values for key, values in later.items() if values or key in before}:
                    self._write(changes)
            elif lines := [f"\t{key} = {quoted(value)}\n" for key, values in later.items() for value in values]:
                replace_file(self.path, os.fsencode("[gtfs]\n" + "".join(lines)))
        except BaseException:
            self._values = before
            raise
        finally:
            self._later = None

    def is_clone(self) -> bool:
        """Whether refs are git's to move, as git-remote-gtfs has it (design.md §12)."""
        return self.get("clone") == "true"

    def is_mirror(self) -> bool:
        """Whether refs are a catalogue's to move, be it held already or still to come: neither git's nor a publisher's.

        Who only looks into a plain repository, or mounts it, makes no mirror of it. Raises `BadId`.
        """
        follows = self.get("source") is not None or self._repository.layout.latest.exists()
        return follows and not self.is_clone() and self.sign_key() is None

    def is_fork(self) -> bool:
        """Whether what its commits stand on is another repository's, and no packs of that are here (design.md §12)."""
        return self.get("upstream") is not None

    def sign_key(self) -> Fingerprint | None:
        """The publisher's key, None for a node that does not publish; raises `BadId`."""
        value = self.get("signkey")
        return None if value is None else parse_fingerprint(value)

    def signers(self) -> tuple[tuple[Fingerprint, ...], int]:
        """Whom a publisher's catalogues name, and how many of them must sign: by default its key.

        Raises `BadId`, `BadConfig`.
        """
        key, named = self.sign_key(), tuple(parse_fingerprint(text) for text in self.get_all("signer"))
        signers, threshold = named or (() if key is None else (key,)), self.threshold()
        if threshold > max(1, len(signers)):
            raise BadConfig(f"{self.path}: gtfs.threshold is {threshold}: there are {len(signers)} signers")
        return signers, threshold

    def threshold(self) -> int:
        """How many must sign; raises `BadConfig`."""
        value = self.get("threshold") or "1"
        if not (value.isascii() and value.isdigit() and int(value[:9]) >= 1):
            raise BadConfig(f"{self.path}: gtfs.threshold is {value}: not a number from 1 on")
        return int(value)

    def gnupg_home(self) -> Path | None:
        """Where the publisher's key is; None for gpg's own default."""
        value = self.get("gnupghome")
        return None if value is None else Path(value)

    def freshness_keys(self) -> list[Fingerprint]:
        """The keys that a publisher's catalogues name for freshness statements; raises `BadId`."""
        return [parse_fingerprint(text) for text in self.get_all("freshnesskey")]

    def valid_days(self) -> int:
        """How long a catalogue counts; raises `BadConfig`."""
        value = self.get("validdays") or "30"
        if not (value.isascii() and value.isdigit() and 1 <= int(value[:9]) <= VALID_DAYS):
            raise BadConfig(f"{self.path}: gtfs.validdays is {value}: not a number from 1 to {VALID_DAYS}")
        return int(value)

    def in_chunks_above(self) -> int | None:
        """With more bytes of refs than this a publisher's catalogue is of format 2; None: with none.

        Raises `BadConfig`.
        """
        value = self.get("catalogueformat") or "auto"
        if value not in _IN_CHUNKS:
            raise BadConfig(f"{self.path}: gtfs.catalogueformat is {value}, not one of {', '.join(_IN_CHUNKS)}")
        return _IN_CHUNKS[value]

    def publish_mode(self) -> str:
        """When this repository is published by itself, one of `PUBLISH_MODES`; raises `BadConfig`."""
        value = self.get("publish") or "manual"
        if value not in PUBLISH_MODES:
            raise BadConfig(f"{self.path}: gtfs.publish is {value}, not one of {', '.join(PUBLISH_MODES)}")
        return value

    def gathering(self) -> Gathering:
        """How moves of refs become one version, where this repository is published by itself; raises `BadConfig`."""
        default = Gathering()
        return Gathering(
            parse_gathering(f"{self.path}: gtfs.publishquiet", self.get("publishquiet"), default.quiet_s),
            parse_gathering(f"{self.path}: gtfs.publishmost", self.get("publishmost"), default.most_s),
        )

    def limits(self, given: Mapping[str, int] | None = None) -> Limits:
        """The limits of this node, ``given`` those that options set; raises `BadSize`."""
        found = {name: parse_size(text, f"gtfs.{key_of(name)}") for name in LIMITS if (text := self.get(key_of(name)))}
        return Limits(**{**found, **(given or {})})

    def policies(self) -> Sequence[Policy]:
        """The local policy lines; raises `BadPolicy`."""
        return [parse_policy(line) for line in self.get_all("policy")]
