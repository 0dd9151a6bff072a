# SPDX-License-Identifier: GPL-3.0-or-later
"""What gtfs.conf and its drop-ins say (gtfs.conf(5)): all of a file counts, or nothing of it. Any thread.

A main file that cannot be understood is an error; a drop-in that cannot is named, and the others count.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from gtfs.collection.followed import FollowSettings
from gtfs.collection.site import PublishSettings
from gtfs.collection.wanted import WantedRepository, check_name
from gtfs.daemon.places import Places
from gtfs.errors import Blame, GtfsError
from gtfs.ids import parse_fingerprint
from gtfs.mount.options import escape_value
from gtfs.repo.gitsyntax import BadSyntax, Heading, read_syntax
from gtfs.state.trustgiven import TrustGiven

_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "defaults": ("options", "mirrors"),
    "repository": ("path", "source", "directory", "options"),
    "collection": (
        "source", "manifest", "publish", "feed", "keyring", "signer", "include", "exclude", "directory", "gone",
        "options",
    ),
    "log": ("file",),
    "status": ("listen", "user", "max-lag", "max-silence", "max-age"),
}  # fmt: skip
_NAMED: Final = frozenset({"repository", "collection"})
_MANY: Final = frozenset({"options", "keyring", "signer", "include", "exclude", "user"})
_STATUS_WORDS: Final = {"listen": "status", "user": "status_user"}  # of -o; the others are the same with _
_PATHS: Final = frozenset({"path", "directory", "publish", "mirrors", "file", "keyring"})
_OF_PUBLISHER: Final = frozenset({"publish", "options"})  # of a collection that is published
_SUFFIX: Final = ".git"
_PREFETCH: Final = "prefetch"  # a mirror of a daemon is a whole one, unless its options say otherwise

_Word = TypeVar("_Word", bound=str)


class BadSettings(GtfsError):
    """A setting that cannot be acted on; says in which file and line, and what to do."""

    fault = Blame.USAGE

    def __init__(self, path: Path, line: int, reason: str) -> None:
        super().__init__(f"{path}:{line}: {reason}" if line else f"{path}: {reason}")
        self.path, self.reason = path, reason


@dataclass(frozen=True)
class Configuration:
    """All files together; ``options`` are for the process and, before their own, for each repository.

    ``troubles`` are those of drop-ins, of which nothing counts.
    """

    options: tuple[str, ...] = ()
    mirrors: Path = Path()
    repositories: tuple[WantedRepository, ...] = ()
    collections: tuple[FollowSettings | PublishSettings, ...] = ()
    log_file: Path | None = None
    status: tuple[str, ...] = ()  # as words of -o
    troubles: tuple[BadSettings, ...] = ()


class OptionsCheck:
    """How words of ``-o`` are judged: those of the process, and those of one repository. Both raise `GtfsError`."""

    def __init__(self, process: Callable[[Sequence[str]], object], own: Callable[[Sequence[str]], object]) -> None:
        self.process, self.own = process, own


@dataclass
class _Section:
    """One heading's keys: each value with its line."""

    path: Path
    heading: Heading
    values: dict[str, list[tuple[str, int]]] = field(default_factory=dict)

    def bad(self, reason: str, line: int = 0) -> BadSettings:
        return BadSettings(self.path, line or self.heading.line, reason)

    def add(self, key: str, value: str | None, line: int) -> None:
        known = _KEYS[self.heading.section]
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"its keys are {', '.join(known)}"
            raise self.bad(f"[{self.heading.section}] has no key {key}; {hint}", line)
        if not value:
            raise self.bad(f"{key} has no value; give one, or take the line out", line)
        if "\0" in value:
            raise self.bad(f"{key} holds a NUL, which nothing can be named with", line)
        if key in _PATHS:
            value = self._absolute(key, value, line)
        values = self.values.setdefault(key, [])
        if key not in _MANY:
            values.clear()
        values.append((value, line))

    def _absolute(self, key: str, value: str, line: int) -> str:
        try:
            path = Path(value).expanduser()
        except RuntimeError as e:
            raise self.bad(f"{key} = {value}: {e}", line) from None
        if not path.is_absolute():
            raise self.bad(f"{key} = {value}: give an absolute path, or one that begins with ~/", line)
        return str(path)

    def one(self, key: str) -> str | None:
        values = self.values.get(key)
        return values[-1][0] if values else None

    def one_of(self, key: str, known: Sequence[_Word]) -> _Word:
        """One of these words, the first of them if none is said."""
        value = self.one(key)
        found = known[0] if value is None else next((word for word in known if word == value), None)
        if found is None:
            raise self.bad(f"{key} = {value}: not one of {', '.join(known)}", self.line_of(key))
        return found

    def path_of(self, key: str) -> Path | None:
        value = self.one(key)
        return None if value is None else Path(value)

    def all(self, key: str) -> tuple[str, ...]:
        return tuple(value for value, _ in self.values.get(key, ()))

    def line_of(self, *keys: str) -> int:
        return next((self.values[key][-1][1] for key in keys if key in self.values), self.heading.line)

    def origin(self) -> str:
        return f"{self.path}:{self.heading.line}"

    def name(self) -> str:
        try:
            return check_name(self.heading.name or "")
        except GtfsError as e:
            raise self.bad(str(e)) from None

    def check_options(self, check: Callable[[Sequence[str]], object]) -> tuple[str, ...]:
        for words, line in self.values.get("options", ()):
            try:
                check([words])
            except GtfsError as e:
                raise self.bad(f"options = {words}: {e}", line) from None
        return self.all("options")

    def status_words(self) -> tuple[str, ...]:
        words: list[str] = []
        for key in self.values:
            word = _STATUS_WORDS.get(key, key.replace("-", "_"))
            words += (f"{word}={escape_value(value)}" for value in self.all(key))
        return tuple(words)

    def check_status(self, check: Callable[[Sequence[str]], object]) -> None:
        try:
            check(self.status_words())
        except GtfsError as e:
            raise self.bad(str(e)) from None


def _sections(path: Path) -> list[_Section]:
    """A file's sections; raises `BadSettings`, OSError."""
    found: list[_Section] = []
    try:
        for item in read_syntax(os.fsdecode(path.read_bytes())):
            if isinstance(item, Heading):
                found.append(_Section(path, item))
                _check_heading(path, item)
            else:
                found[-1].add(item.key, item.value, item.line)
    except BadSyntax as e:
        raise BadSettings(path, e.line, f"{e}; the syntax is that of git-config(1)") from None
    return found


def _check_heading(path: Path, heading: Heading) -> None:
    section = heading.section
    if section not in _KEYS:
        near = difflib.get_close_matches(section, _KEYS, 1)
        hint = f"did you mean {near[0]}?" if near else f"the sections are {', '.join(_KEYS)}"
        raise BadSettings(path, heading.line, f"there is no section [{section}]; {hint}")
    if (heading.name is not None) != (section in _NAMED):
        wanted = f'[{section} "NAME"]' if section in _NAMED else f"[{section}]"
        raise BadSettings(path, heading.line, f"this section is written {wanted}")


class _Reader:
    """Adds file after file; a file that is refused leaves nothing behind."""

    def __init__(self, places: Places, check: OptionsCheck) -> None:
        self._check = check
        self._options: list[str] = []
        self._mirrors = places.mirrors
        self._names: dict[tuple[str, str], str] = {}  # where they were given
        self._single: dict[str, _Section] = {}
        self._taken: dict[Path, str] = {}  # the same of the repositories' directories
        self._above: dict[Path, str] = {}  # and of the directories that those lie in
        self._repositories: list[WantedRepository] = []
        self._collections: list[FollowSettings | PublishSettings] = []

    def add(self, path: Path) -> None:
        """Raises `BadSettings`, OSError."""
        before = {name: copy(value) for name, value in vars(self).items()}
        try:
            for section in sorted(_sections(path), key=lambda s: s.heading.section != "defaults"):
                self._add(section)
        except BaseException:
            vars(self).update(before)
            raise

    def _add(self, section: _Section) -> None:
        kind = section.heading.section
        if kind == "defaults":
            self._options += section.check_options(self._check.process)
            self._mirrors = section.path_of("mirrors") or self._mirrors
        elif kind not in _NAMED:
            if kind == "status":
                section.check_status(self._check.process)
            self._single[kind] = section
        else:
            key = kind, section.name()
            if key in self._names:
                raise section.bad(f'there is a [{kind} "{key[1]}"] in {self._names[key]} already; give it another name')
            self._names[key] = section.origin()
            section.check_options(self._check.own)
            if kind == "repository":
                self._repositories.append(self._repository(section, key[1]))
            else:
                self._collections.append(self._collection(section, key[1]))

    def _repository(self, section: _Section, name: str) -> WantedRepository:
        path, source = section.path_of("path"), section.one("source")
        if (path is None) == (source is None):
            raise section.bad("a repository has either path =, if it is here, or source =, if a mirror is to be made")
        if path is not None and "directory" in section.values:
            raise section.bad("directory = is for a mirror, with source =", section.line_of("directory"))
        directory = path or section.path_of("directory") or mirror_directory(self._mirrors, name)
        self._take_directory(real_path(directory), section)
        options = section.all("options") if path is not None else (_PREFETCH, *section.all("options"))
        return WantedRepository(name, source or str(path), directory, options, section.origin())

    def _take_directory(self, directory: Path, section: _Section) -> None:
        """No directory twice, and none within another: by their real paths."""
        found = next((place for place in (directory, *directory.parents) if place in self._taken), None)
        other = self._above.get(directory) if found is None else self._taken[found]
        if other is not None:
            how = "is" if found == directory else "has within it" if found is None else "lies within"
            reason = f"{directory} {how} the repository of {other}; give each one section and a directory of its own"
            raise section.bad(reason, section.line_of("path", "directory", "source"))
        self._taken[directory] = section.origin()
        self._above.update(dict.fromkeys(directory.parents, section.origin()))

    def _collection(self, section: _Section, name: str) -> FollowSettings | PublishSettings:
        source, manifest, published = section.one("source"), section.one("manifest"), section.path_of("publish")
        if [source, manifest, published].count(None) != 2:
            raise section.bad(
                "a collection has one of source =, a signed list, manifest =, one of grokmirror, and publish =, a "
                "directory of repositories"
            )
        if "/" in name:
            raise section.bad("the name of a collection is one word, without /")
        if published is not None:
            other = next((key for key in section.values if key not in _OF_PUBLISHER), None)
            if other is not None:
                reason = f"{other} = is for one that is followed; of this one, see gtfs init --collection {published}"
                raise section.bad(reason, section.line_of(other))
            return PublishSettings(name, published, section.all("options"))
        if "feed" in section.values and manifest is None:
            raise section.bad("feed = is for a manifest; a signed list names its feeds", section.line_of("feed"))
        return FollowSettings(
            name=name,
            source=source or manifest or "",
            directory=section.path_of("directory") or Path(self._mirrors, name),
            kind="collection" if manifest is None else "manifest",
            trust=self._trust(section),
            include=section.all("include") or ("*",),
            exclude=section.all("exclude"),
            options=(_PREFETCH, f"meet={escape_value(source or manifest)}", *section.all("options")),
            gone=section.one_of("gone", ("keep", "move", "delete")),
            feed=section.one("feed"),
        )

    @staticmethod
    def _trust(section: _Section) -> TrustGiven:
        try:
            signers = tuple(parse_fingerprint(text) for text in section.all("signer"))
        except GtfsError as e:
            raise section.bad(f"signer = {e}; give a full fingerprint", section.line_of("signer")) from None
        return TrustGiven(keyrings=tuple(map(Path, section.all("keyring"))), signers=signers)

    def configuration(self, troubles: Sequence[BadSettings]) -> Configuration:
        log, status = self._single.get("log"), self._single.get("status")
        return Configuration(
            options=tuple(self._options),
            mirrors=self._mirrors,
            repositories=tuple(self._repositories),
            collections=tuple(self._collections),
            log_file=None if log is None else log.path_of("file"),
            status=() if status is None else status.status_words(),
            troubles=tuple(troubles),
        )


def mirror_directory(mirrors: Path, name: str) -> Path:
    """Where the mirror of this name is made."""
    return Path(mirrors, name if name.endswith(_SUFFIX) else name + _SUFFIX)


def real_path(path: Path) -> Path:
    """Behind all links; a loop of them is as it is written."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path


def read_configuration(places: Places, check: OptionsCheck, *, is_needed: bool = False) -> Configuration:
    """What the files say; raises `BadSettings`, OSError for the main one.

    ``is_needed``: its absence is an error, too.
    """
    reader = _Reader(places, check)
    if is_needed or places.config.exists():
        reader.add(places.config)
    troubles = []
    for path in sorted(places.drop_ins.glob("*.conf")):
        try:
            reader.add(path)
        except BadSettings as e:
            troubles.append(e)
        except OSError as e:
            troubles.append(BadSettings(path, 0, e.strerror or str(e)))
    return reader.configuration(troubles)
