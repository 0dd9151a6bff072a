# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkouts that follow a ref: a link leads to the files of a commit, and to others from one moment to the next.

PATH is a link to ``PATH.gtfs/<commit>``, a directory that was whole before the link led there; so no reader sees half
of a change who has resolved PATH once. The one before stays for an hour, or until the next, and each for a minute at
least after the link has left it. Synchronous; one thread at a time.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from gtfs.durable import TEMPORARY_PREFIX, replace_file, sync_directory
from gtfs.errors import Blame, GtfsError
from gtfs.events import events
from gtfs.ids import ObjectId
from gtfs.repo.checkout import Former, check_out, list_files, take_away
from gtfs.repo.history import read_commit, read_places
from gtfs.repo.repository import Repository
from gtfs.state.config import BadConfig, Config
from gtfs.state.state import State
from gtfs.trust.refnames import BadRefName, check_ref_name

LEAST_S: Final = 60.0  # that a version stays after the link has left it
KEPT_S: Final = 3600.0  # and the last one at most
_OTHERS: Final = 2  # versions beside the one that the link leads to, one in the making among them
_HEAD: Final = "HEAD"
_BRANCHES: Final = "refs/heads/"
_TAGS: Final = "refs/tags/"
_BESIDE: Final = ".gtfs"  # behind the name of PATH
_OWNER: Final = ".repository"  # in there: whose it is
_MAKING: Final = ".making-"
_LINK: Final = ".link-"
_VERSION: Final = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")


class BadWorktree(GtfsError):
    """What is at a PATH is not a checkout of this repository; says what to do."""

    fault = Blame.SYSTEM


class NoSuchRef(GtfsError):
    """The ref that a checkout follows is not there; the checkout stays as it is."""

    fault = Blame.SOURCE


@dataclass(frozen=True)
class Worktree:
    """One setting: ``ref`` is HEAD or a full name; where somebody asks for it also the short one of a branch or tag."""

    path: Path
    ref: str = _HEAD

    def __str__(self) -> str:
        return f"{self.path}@{self.ref}"


@dataclass(frozen=True)
class WorktreeSeen:
    """How one is: the commit ``at`` which it is, the one that is ``wanted``, and what is in the way of that."""

    worktree: Worktree
    at: str | None
    wanted: str | None = None
    trouble: str | None = None
    due_s: float | None = None  # when to look again, in Unix seconds

    def describe(self) -> dict[str, Any]:
        """As ``gtfs status --json`` has it."""
        its = self.worktree
        return {"path": str(its.path), "ref": its.ref, "at": self.at, "wanted": self.wanted, "trouble": self.trouble}


def parse_worktree(text: str) -> Worktree:
    """PATH or PATH@REF, with the last @; raises `BadConfig`."""
    place, at, ref = text.rpartition("@")
    if not at:
        place, ref = text, _HEAD
    path = Path(place)
    try:
        if ref != _HEAD:
            check_ref_name(os.fsencode(_as_branch(ref)))
    except BadRefName as error:
        raise BadConfig(f"worktree {text!a}: {error}") from None
    if ref.startswith("-") or not path.is_absolute() or not path.name or ".." in path.parts or "\n" in text:
        raise BadConfig(f"worktree {text!a}: give an absolute PATH, or PATH@REF")
    return Worktree(path, ref)


def worktrees_of(config: Config) -> list[Worktree]:
    """Those that are set, one for each path; a short name is a branch's. Raises `BadConfig`."""
    found = map(parse_worktree, config.get_all("worktree"))
    return list({its.path: replace(its, ref=_as_branch(its.ref)) for its in found}.values())


def _as_branch(ref: str) -> str:
    return ref if ref == _HEAD or ref.startswith("refs/") else f"{_BRANCHES}{ref}"


def add_worktrees(state: State, wanted: list[Worktree]) -> bool:
    """Set these beside the others, in the place of those of the same path; whether that changes anything.

    What a short name means is found out here, once: else a catalogue with a tag of the name of a branch, and without
    the branch, would lead the checkout to what nobody signed for that branch. Raises `BadConfig`, `BadWorktree`,
    `GitFailed`, OSError.
    """
    before = {its.path: its for its in worktrees_of(state.config)}
    after = {**before, **{its.path: _with_full_name(state, its, before.get(its.path)) for its in wanted}}
    if after == before:
        return False
    for its in after.values():
        _Checkout(state.repository, its.path).check()
    state.config.set("worktree", *map(str, after.values()))
    return True


def _with_full_name(state: State, its: Worktree, before: Worktree | None) -> Worktree:
    """As it was ``before`` under this short name; else a branch, unless a tag alone is or was there, or is listed."""
    if its.ref == _HEAD or its.ref.startswith("refs/"):
        return its
    branch, tag = f"{_BRANCHES}{its.ref}", f"{_TAGS}{its.ref}"
    if before is not None and before.ref in (branch, tag):
        return before
    refs = state.index.refs
    there = {*read_places(state.repository), *refs.held(), *refs.left()}
    if state.held is not None:  # of a new mirror nothing has moved yet
        there |= state.held.catalogue.refs.keys()
    is_tag = os.fsencode(tag) in there and os.fsencode(branch) not in there
    return replace(its, ref=tag if is_tag else branch)


def see_worktrees(state: State) -> list[WorktreeSeen]:
    """How they are, while no node runs; nothing is done. Raises `BadConfig`."""
    return [_try(state.repository, its, _see) for its in worktrees_of(state.config)]


def follow_worktrees(state: State, stop: Callable[[], bool]) -> list[WorktreeSeen]:
    """Bring each to its ref; what is in the way of one is told, and stops no other. Raises `BadConfig`."""

    def bring(repository: Repository, its: Worktree) -> WorktreeSeen:
        return _bring(repository, its, stop)

    return [_try(state.repository, its, bring) for its in worktrees_of(state.config) if not stop()]


def _try(repository: Repository, its: Worktree, look: Callable[[Repository, Worktree], WorktreeSeen]) -> WorktreeSeen:
    try:
        return look(repository, its)
    except OSError as error:
        trouble = (error.strerror or str(error)) + (f": {_text(error.filename)}" if error.filename else "")
    except GtfsError as error:
        trouble = str(error)
    at = wanted = None
    with contextlib.suppress(GtfsError, OSError):
        at = _Checkout(repository, its.path).version()
    with contextlib.suppress(GtfsError):
        wanted = _commit(repository, its.ref).hex()
    return WorktreeSeen(its, at, wanted, trouble)


def _text(name: object) -> str:
    return os.fsdecode(name) if isinstance(name, str | bytes) else str(name)


def _commit(repository: Repository, ref: str) -> ObjectId:
    found = read_commit(repository, ref)
    if found is not None:
        return found
    tag = _TAGS + ref.removeprefix(_BRANCHES)
    is_tag = ref.startswith(_BRANCHES) and read_commit(repository, tag) is not None
    raise NoSuchRef(f"{ref} leads to no commit" + (f"; {tag} is there, and not what is followed" if is_tag else ""))


def _see(repository: Repository, its: Worktree) -> WorktreeSeen:
    return WorktreeSeen(its, _Checkout(repository, its.path).version(), _commit(repository, its.ref).hex())


def _bring(repository: Repository, its: Worktree, stop: Callable[[], bool]) -> WorktreeSeen:
    place = _Checkout(repository, its.path)
    place.check()
    commit = _commit(repository, its.ref)
    at = place.version()
    if at == commit.hex():
        due_s = place.clear(time.time())
        return WorktreeSeen(its, at, at, due_s=due_s)
    place.make()
    if not place.of(commit.hex()).is_dir():
        due_s = place.clear(time.time(), is_strict=False)
        if len(place.others()) >= _OTHERS:
            return WorktreeSeen(its, at, commit.hex(), due_s=due_s)
        former = None
        if at is not None:
            with contextlib.suppress(GtfsError):  # git may have lost it since
                former = Former(place.of(at), list_files(repository, ObjectId(bytes.fromhex(at)), stop))
        with place.making() as directory:
            check_out(repository, list_files(repository, commit, stop), directory, former, stop)
            directory.rename(place.of(commit.hex()))
            sync_directory(place.beside)
    place.lead_to(commit.hex())
    events.info("%s: %s is at %s of %s", repository.path, its.path, commit.hex(), its.ref)
    return WorktreeSeen(its, commit.hex(), commit.hex(), due_s=place.clear(time.time()))


class _Checkout:
    """What lies at, and beside, one PATH."""

    def __init__(self, repository: Repository, path: Path) -> None:
        self.path = path
        self.beside = path.with_name(path.name + _BESIDE)
        self._owner = self.beside.joinpath(_OWNER)
        self._whose = os.fsencode(repository.path) + b"\n"

    def of(self, version: str) -> Path:
        """The directory of a commit."""
        return self.beside.joinpath(version)

    def version(self) -> str | None:
        """The commit that PATH leads to, None where there is no such directory; raises `BadWorktree`, OSError."""
        try:
            target = str(self.path.readlink())
        except FileNotFoundError:
            return None
        except OSError as error:
            if not os.path.lexists(self.path) or self.path.is_symlink():
                raise
            raise BadWorktree(f"{self.path} is there, and no checkout of gtfs; move it away") from error
        beside, _, version = target.rpartition("/")
        if beside != self.beside.name or _VERSION.match(version) is None:
            raise BadWorktree(f"{self.path} is a link to {target}, and no checkout of gtfs; move it away")
        return version if self.of(version).is_dir() else None

    def check(self) -> None:
        """Raise `BadWorktree` for what is somebody else's."""
        self.version()
        try:
            found = self.beside.lstat()
        except FileNotFoundError:
            return
        if stat.S_ISLNK(found.st_mode) or found.st_uid not in (os.geteuid(), 0):
            raise BadWorktree(f"{self.beside} is a link, or another user's; move it away")
        try:
            whose = self._owner.read_bytes()
        except FileNotFoundError:
            if not all(path.name.startswith(TEMPORARY_PREFIX) for path in self.beside.iterdir()):
                raise BadWorktree(f"{self.beside} is there, and not of gtfs; move it away") from None
            return
        if whose != self._whose:
            other = os.fsdecode(whose).rstrip("\n")
            raise BadWorktree(f"{self.path} is a checkout of {other}; if that is no more, remove it and {self.beside}")

    def make(self) -> None:
        """Have the directory beside PATH, without what a crash left in it; raises OSError."""
        with contextlib.suppress(FileExistsError):
            self.beside.mkdir()
        if not self._owner.exists():
            replace_file(self._owner, self._whose, mode=0o644)
        self._sweep()

    @contextlib.contextmanager
    def making(self) -> Iterator[Path]:
        """A directory that is still to be made, and goes unless it was renamed."""
        directory = self.beside.joinpath(f"{_MAKING}{os.getpid()}")
        try:
            yield directory
        finally:
            with contextlib.suppress(OSError):
                take_away(directory)

    def lead_to(self, version: str) -> None:
        """Let PATH lead to the files of a commit, in one step; raises OSError."""
        before = self.version()
        link = self.path.with_name(f"{_LINK}{self.path.name}")
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        link.symlink_to(f"{self.beside.name}/{version}")
        try:
            self.version()  # nothing of somebody else's may have come in between
            link.replace(self.path)
        finally:
            link.unlink(missing_ok=True)
        sync_directory(self.path.parent)
        if before is not None:
            os.utime(self.of(before))  # from now on it is an old one

    def others(self) -> list[tuple[float, Path]]:
        """Since when PATH does not lead there any more, and which; the newest first."""
        now = self.version()
        found = []
        for path in self.beside.iterdir():
            if _VERSION.match(path.name) and path.name != now:
                found.append((path.stat().st_mtime, path))
        return sorted(found, reverse=True)

    def clear(self, now_s: float, *, is_strict: bool = True) -> float | None:
        """Remove old versions that nobody should be reading any more; when more will be due, in Unix seconds.

        Raises OSError, if not ``is_strict`` for what is in the way of the next version alone.
        """
        due_s: float | None = None
        for number, (since_s, path) in enumerate(self.others()):
            kept_s = LEAST_S if number else KEPT_S
            if since_s <= now_s < since_s + kept_s:  # a clock that was set back keeps nothing for ever
                due_s = min(due_s or since_s + kept_s, since_s + kept_s)
            else:
                path.rename(path.with_name(f"{_MAKING}{path.name}"))  # what is half of one has no version's name
        self._sweep(is_strict=is_strict)
        return due_s

    def _sweep(self, *, is_strict: bool = False) -> None:
        """Remove what is no version; what cannot be is a trouble that stops nothing but ``is_strict``."""
        for left in self.beside.glob(f"{_MAKING}*"):
            with contextlib.nullcontext() if is_strict else contextlib.suppress(OSError):
                take_away(left)
