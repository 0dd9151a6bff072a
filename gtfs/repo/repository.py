# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening a bare repository and running git on it with nothing of the user's configuration in the way. Any thread."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gtfs.errors import GtfsError
from gtfs.ids import OBJECT_FORMATS, ObjectFormat

GTFS_DIRECTORY = "gtfs"  # design.md §7: the node's state, inside the repository

# By default git maps packs in pieces of 1 GiB: a limit of the address space leaves no room for two of them.
WINDOW_SETTINGS: Final = ("-c", "core.packedGitWindowSize=32m", "-c", "core.packedGitLimit=256m")


class BadRepository(GtfsError):
    """A path that is no repository gtfs can use; the text says what to do."""

    exit_code = 3


class GitFailed(GtfsError):
    """A git command ended badly; ``stderr`` is what it said."""

    exit_code = 7

    def __init__(self, command: Sequence[str], status: int, stderr: bytes) -> None:
        said = stderr.decode("utf-8", "replace").strip().splitlines()
        how = f"ended with {status}" if status >= 0 else f"was ended by {_signal_name(-status)}"
        super().__init__(f"git {command[0]} {how}: {said[-1] if said else 'it said nothing'}")
        self.status = status
        self.stderr = stderr


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def git_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for every git child: no replace refs, grafts or lazy fetching (design.md §3.0), no prompts.

    Debian 12's git has no GIT_NO_LAZY_FETCH, so every transport is forbidden too.
    """
    kept = {k: os.environ[k] for k in ("PATH", "TMPDIR", "LD_PRELOAD", "LD_LIBRARY_PATH") if k in os.environ}
    return {
        **kept,
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_GRAFT_FILE": "/nonexistent/grafts",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        **(extra or {}),
    }


@dataclass(frozen=True)
class Repository:
    """A bare repository: its directory (absolute) and its object format."""

    path: Path
    fmt: ObjectFormat

    @property
    def state(self) -> Path:
        """``$GIT_DIR/gtfs``, the node's own directory (design.md §7)."""
        return self.path / GTFS_DIRECTORY

    @property
    def objects(self) -> Path:
        """The object directory."""
        return self.path / "objects"

    def command(self, *args: str) -> list[str]:
        """The argument vector of a git command on this repository."""
        # safe.directory: the user named this path; its owner does not matter to what is read here.
        is_limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
        windows = WINDOW_SETTINGS if is_limited else ()
        return ["git", "-c", "safe.directory=*", *windows, f"--git-dir={self.path}", *args]

    def object_directories(self) -> Iterator[Path]:
        """The object directory and its alternates (gitrepository-layout(5)), each once."""
        seen: set[Path] = set()
        todo = [self.objects]
        while todo:
            directory = todo.pop()
            if directory in seen:
                continue
            seen.add(directory)
            yield directory
            try:
                lines = (directory / "info" / "alternates").read_bytes().splitlines()
            except FileNotFoundError:
                continue
            todo += [directory / os.fsdecode(line) for line in lines if line and not line.startswith(b"#")]

    def git(self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None, check: bool = True) -> bytes:
        """Run git to its end and return its standard output; raises `GitFailed`."""
        done = subprocess.run(
            self.command(*args), input=stdin, capture_output=True, env=git_environment(env), check=False
        )
        if check and done.returncode:
            raise GitFailed(args, done.returncode, done.stderr)
        return done.stdout

    def is_shallow(self) -> bool:
        """Whether history was cut (`git clone --depth`)."""
        return (self.path / "shallow").exists()

    def is_partial(self) -> bool:
        """Whether objects were left out (`git clone --filter`)."""
        return any((self.objects / "pack").glob("*.promisor"))


def open_repository(path: Path) -> Repository:
    """The bare repository at ``path``; raises `BadRepository` for anything else."""
    if not path.exists():
        raise BadRepository(f"{path} does not exist; give a bare repository, a catalogue file or a URL")
    if not path.is_dir():
        raise BadRepository(f"{path} is not a directory, so not a bare repository")
    if (path / ".git").exists() and not (path / "objects").is_dir():
        raise BadRepository(
            f"{path} has a work tree; gtfs needs a bare repository: git clone --mirror {path} {path.name}.git"
        )
    if not (path / "objects").is_dir() or not (path / "HEAD").exists():
        raise BadRepository(f"{path} is not a bare git repository; make one with git init --bare or git clone --mirror")
    path = path.resolve()
    probe = Repository(path, OBJECT_FORMATS["sha1"])
    try:
        said = probe.git("rev-parse", "--is-bare-repository", "--show-object-format").decode().split()
    except GitFailed as e:
        raise BadRepository(f"git does not accept {path} as a repository: {e}") from None
    if said[0] != "true":
        raise BadRepository(f"{path} is not bare; gtfs needs a bare repository: git clone --mirror {path} NAME.git")
    if said[1] not in OBJECT_FORMATS:
        raise BadRepository(f"{path} uses the object format {said[1]}, which gtfs does not know")
    return Repository(path, OBJECT_FORMATS[said[1]])


def create_repository(path: Path, fmt: ObjectFormat) -> Repository:
    """A new empty bare repository at ``path``, whose parent directories are made; raises `BadRepository`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(
            ["git", "init", "--quiet", "--bare", f"--object-format={fmt.name}", "--template=", "--", str(path)],
            env=git_environment(),
            check=True,
            capture_output=True,
        )
    except subprocess.CalledProcessError as e:
        said = e.stderr.decode("utf-8", "replace").strip()
        raise BadRepository(f"cannot make a bare repository at {path}: {said}") from None
    return open_repository(path)
