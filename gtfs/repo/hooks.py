# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository owner's hooks, run after refs have moved (githooks(5)): as the owner, with a clean environment.

Nothing else that gtfs runs in a repository starts a program of the repository's. Any thread.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final

from gtfs.errors import Blame, GtfsError
from gtfs.repo.repository import GitMissing, Repository

POST_RECEIVE: Final = "post-receive"
POST_UPDATE: Final = "post-update"

PUBLISHED: Final = "published"
WITHDRAWN: Final = "withdrawn"
TROUBLE: Final = "trouble"
OFFERED: Final = "offered"
NOT_MOVED: Final = (PUBLISHED, WITHDRAWN, TROUBLE, OFFERED)  # hooks of an operator that hear of other things

OUTPUT_BYTES: Final = 16 << 20  # of one run; what writes more runs wild and is ended
_KEPT_BYTES: Final = 64 << 10  # of it, in the log
_LOG_BYTES: Final = 1 << 20  # then the log becomes hooks.log.1
_ARGUMENTS_BYTES: Final = 96 << 10  # in one call; the kernel takes 128 KiB of each argument and some MiB of all
_LOOK_S: Final = 0.5


class HookFailed(GtfsError):
    """A hook ended badly, or was ended: it is tried again."""

    fault = Blame.SYSTEM


class NotOwner(GtfsError):
    """The repository is another user's, whose hooks only root could run as that user."""

    fault = Blame.SYSTEM


@dataclass(frozen=True)
class Hook:
    """One program: ``name`` as a user knows it, unique in a repository."""

    name: str
    path: Path
    takes_names: bool = False  # of refs, as arguments; else lines "OLD NEW NAME" as standard input
    wrong: str | None = None  # why it is not run


def named(path: str) -> str:
    """A path as a name that index and log can keep, whatever bytes it has."""
    return path.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class Owner:
    """Whose hooks they are; ``becomes``: whether we are somebody else and can become that user."""

    uid: int
    gid: int
    name: str
    home: str
    becomes: bool

    def environment(self) -> dict[str, str]:
        """A clean one, as of a login."""
        kept = {key: os.environ[key] for key in ("PATH", "TMPDIR", "TZ") if key in os.environ}
        return {
            **kept,
            "HOME": self.home,
            "USER": self.name,
            "LOGNAME": self.name,
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
        }

    def start(
        self,
        command: Sequence[bytes | str],
        directory: Path,
        stdin: IO[bytes] | int,
        out: IO[bytes] | int,
        words: Mapping[str, str] = MappingProxyType({}),
    ) -> subprocess.Popen[bytes]:
        """Start a program in a repository's directory as git starts a hook, in a session of its own.

        ``words``: more of its environment.
        """
        return subprocess.Popen(
            command,
            cwd=directory,
            env={**self.environment(), "GIT_DIR": ".", **words},
            stdin=stdin,
            stdout=out,
            stderr=subprocess.DEVNULL if out == subprocess.PIPE else out,
            start_new_session=True,
            user=self.uid if self.becomes else None,
            group=self.gid if self.becomes else None,
            extra_groups=os.getgrouplist(self.name, self.gid) if self.becomes else None,
        )


def owner_of(repository: Repository) -> Owner:
    """The repository's; raises `NotOwner` where we cannot be that user."""
    found = repository.path.stat()
    becomes = found.st_uid != os.geteuid()
    try:
        user = pwd.getpwuid(found.st_uid)
    except KeyError:
        if becomes:
            raise NotOwner(f"{repository.path} belongs to user {found.st_uid}, who has no home: no hook runs") from None
        home = os.environ.get("HOME", "/")
        return Owner(found.st_uid, found.st_gid, str(found.st_uid), home, becomes=False)
    if becomes and os.geteuid() != 0:
        raise NotOwner(f"{repository.path} belongs to {user.pw_name}: no hook runs; run gtfs as that user")
    return Owner(user.pw_uid, user.pw_gid, user.pw_name, user.pw_dir, becomes)


def find_hooks(repository: Repository, owner: Owner) -> list[Hook]:
    """Those that are there: git's two, where its settings have them, and the programs in ``gtfs/hooks``, by name."""
    directory = git_hooks_of(repository, owner)
    found = [Hook(POST_RECEIVE, directory / POST_RECEIVE), Hook(POST_UPDATE, directory / POST_UPDATE, takes_names=True)]
    own = repository.layout.hooks
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in sorted(own.iterdir()):
            if (
                not path.name.startswith(".")
                and not path.name.endswith((".sample", "~"))
                and path.name not in NOT_MOVED
            ):
                found.append(Hook(named(f"{own.parent.name}/{own.name}/{path.name}"), path))
    return [hook for hook in found if _can_run(hook.path)]


def _can_run(path: Path) -> bool:
    """As git has it: a file with an executable bit."""
    try:
        mode = path.stat()
    except OSError:
        return False
    return path.is_file() and bool(mode.st_mode & 0o111)


def git_hooks_of(repository: Repository, owner: Owner) -> Path:
    """Where git, run by the owner, has its hooks, by all of its settings (core.hooksPath). Raises `GitMissing`."""
    command = ["git", "rev-parse", "--git-path", "hooks"]
    try:
        child = owner.start(command, repository.path, subprocess.DEVNULL, subprocess.PIPE)
    except FileNotFoundError:
        raise GitMissing from None
    said, _ = child.communicate()
    if child.returncode:
        return repository.layout.git_hooks
    return repository.path / os.fsdecode(said.removesuffix(b"\n"))


def run_hook(
    repository: Repository,
    owner: Owner,
    hook: Hook,
    lines: Iterable[tuple[bytes, bytes, bytes]],
    *,
    most_s: float,
    stop: Callable[[], bool],
) -> None:
    """Run a hook to its end with ``lines`` (old and new id in hex, name), and log what it said.

    Raises `HookFailed` for another status than 0, for one that took longer than ``most_s`` seconds, wrote too much, or
    was ended as ``stop`` said so, with all that it started; OSError.
    """
    if hook.wrong is not None:
        raise HookFailed(f"{hook.name} {hook.wrong}")
    lines = list(lines)
    begun = time.monotonic()
    with (
        tempfile.TemporaryFile(dir=repository.state_directory) as out,
        tempfile.TemporaryFile(dir=repository.state_directory) as given,
    ):
        failed: HookFailed | None = None
        try:
            for arguments in _batches([name for _, _, name in lines]) if hook.takes_names else [[]]:
                given.seek(0)
                if not hook.takes_names:
                    given.write(b"".join(b"%s %s %s\n" % line for line in lines))
                    given.seek(0)
                run_program(repository, owner, [os.fsencode(hook.path), *arguments], given, out, begun + most_s, stop)
        except HookFailed as error:
            failed = HookFailed(f"{hook.name} {error}")
        came = f"{len(lines)} refs, {time.monotonic() - begun:.1f} s, {failed or 'well'}"
        log_run(repository, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {hook.name}: {came}", out)
    if failed is not None:
        raise failed


def _batches(names: list[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for name in names:
        if batch and size + len(name) > _ARGUMENTS_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(name)
        size += len(name) + 1
    yield batch


def run_program(
    repository: Repository,
    owner: Owner,
    command: list[bytes],
    given: IO[bytes],
    out: IO[bytes],
    deadline: float,
    stop: Callable[[], bool],
    words: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Run one to its end. Raises `HookFailed` as `run_hook` does, without the hook's name; OSError."""
    try:
        child = owner.start(command, repository.path, given, out, words)
    except OSError as error:
        raise HookFailed(f"cannot be run: {error.strerror}") from None
    ended = os.pidfd_open(child.pid)
    try:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        while not poll.poll(_LOOK_S * 1000):
            if stop():
                raise HookFailed("was ended, as the node ends")
            if time.monotonic() > deadline:
                raise HookFailed("took too long and was ended; see gtfs.hookseconds in gtfs(1)")
            if os.fstat(out.fileno()).st_size > OUTPUT_BYTES:
                raise HookFailed(f"wrote more than {OUTPUT_BYTES} bytes and was ended")
    finally:
        os.close(ended)
        if child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        status = child.wait()
    if status:
        raise HookFailed(f"ended with {status}" if status > 0 else f"was ended by signal {-status}")


def log_run(repository: Repository, head: str, out: IO[bytes]) -> None:
    """One paragraph for each run, the last bytes of what it said."""
    path = repository.layout.hooks_log
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_BYTES:
            path.replace(repository.layout.hooks_log_before)
    size = out.seek(0, os.SEEK_END)
    out.seek(max(0, size - _KEPT_BYTES))
    with open(path, "ab", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)) as log:
        log.write(head.encode("utf-8", "backslashreplace") + b"\n")
        shutil.copyfileobj(out, log)
        if size:
            log.write(b"\n")
