# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening a repository and running git on it with nothing of the user's configuration in the way. Any thread."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from gtfs.durable import sync_directory, sync_file
from gtfs.errors import Blame, GtfsError
from gtfs.ids import OBJECT_FORMATS, ObjectFormat
from gtfs.layout import Layout
from gtfs.repo.place import BadRepository, git_dir_at, owner_name

__all__ = [
    "WINDOW_SETTINGS", "BadRepository", "GitFailed", "GitMissing", "Repository", "create_repository",
    "git_environment", "list_of_paths", "open_repository", "owner_name",
]  # fmt: skip

_MAKING: Final = ".making-"  # in the name of the directory where a repository is made
_LEFT_S: Final = 600  # so old, it is nobody's work any more
_FROM_OUTSIDE: Final = frozenset(  # no signal that a program gets by what it reads, as of a damaged disk
    (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL, signal.SIGTERM, signal.SIGXCPU)
)

# No setting of a repository may start a program, whoever owns it: what is given here counts before its config file.
_NO_PROGRAMS: Final = ("core.hooksPath=/dev/null", "core.fsmonitor=false", "core.alternateRefsCommand=false")
_DUBIOUS: Final = b"detected dubious ownership"  # what git says, with LC_ALL=C
# By default git maps packs in pieces of 1 GiB: a limit of the address space leaves no room for two of them.
WINDOW_SETTINGS: Final = ("-c", "core.packedGitWindowSize=32m", "-c", "core.packedGitLimit=256m")


class GitFailed(GtfsError):
    """A git command ended badly; ``stderr`` is what it said."""

    fault = Blame.SYSTEM

    def __init__(self, command: Sequence[str], status: int, stderr: bytes) -> None:
        # A line that begins with a blank goes with the one before: "fatal: unknown repository extension found:".
        said = re.sub(r"\n\s+", " ", stderr.decode("utf-8", "replace").strip()).splitlines()
        how = f"ended with {status}" if status >= 0 else f"was ended by {_signal_name(-status)}"
        super().__init__(f"git {command[0]} {how}: {said[-1] if said else 'it said nothing'}")
        self.status = status
        self.stderr = stderr

    @property
    def was_killed(self) -> bool:
        """Whether it was ended from outside, by a user, another program or a limit: what it read is not to blame."""
        return -self.status in _FROM_OUTSIDE


class GitMissing(GtfsError):
    """There is no git where PATH says."""

    fault = Blame.SYSTEM

    def __init__(self) -> None:
        super().__init__("git cannot be run; install the package git, or let PATH name the place where it is")


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


def list_of_paths(path: Path) -> str:
    """One path for a variable that holds several with colons between (git(1), GIT_ALTERNATE_OBJECT_DIRECTORIES)."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@dataclass(frozen=True)
class Repository:
    """A repository: its directory, which of one with a work tree is ``.git`` (absolute), and its object format."""

    path: Path
    fmt: ObjectFormat

    @property
    def state_directory(self) -> Path:
        """``$GIT_DIR/gtfs``, the node's own directory (design.md §7)."""
        return self.layout.root

    @cached_property
    def layout(self) -> Layout:
        """The paths in it."""
        return Layout.in_repository(self.path)

    @property
    def objects(self) -> Path:
        """The object directory."""
        return self.path / "objects"

    def command(self, *args: str) -> list[str]:
        """The argument vector of a git command on this repository."""
        is_limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
        return [*_git(), *(WINDOW_SETTINGS if is_limited else ()), f"--git-dir={self.path}", *args]

    def object_directories(self) -> Iterator[Path]:
        """The object directory and its alternates (gitrepository-layout(5)), each once."""
        seen: set[str] = set()
        todo = [self.objects]
        while todo:
            directory = todo.pop()
            place = os.path.realpath(directory)  # as written, a ring of them would have no end
            if place in seen:
                continue
            seen.add(place)
            yield directory
            try:
                lines = (directory / "info" / "alternates").read_bytes().splitlines()
            except FileNotFoundError:
                continue
            todo += [directory / os.fsdecode(line) for line in lines if line and not line.startswith(b"#")]

    def git(
        self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None, check: bool = True, umask: int = -1
    ) -> bytes:
        """Run git to its end and return its standard output; ``umask`` -1: ours. Raises `GitFailed`."""
        try:
            done = subprocess.run(
                self.command(*args),
                input=stdin,
                capture_output=True,
                env=git_environment(env),
                check=False,
                umask=umask,
            )
        except FileNotFoundError:
            raise GitMissing from None
        if check and done.returncode:
            raise GitFailed(args, done.returncode, done.stderr)
        return done.stdout

    def has_work_tree(self) -> bool:
        """Whether a branch is checked out, which nobody but its user may move; raises `GitFailed`."""
        return self.git("config", "--local", "--type=bool", "--get", "core.bare", check=False).strip() == b"false"

    def is_shallow(self) -> bool:
        """Whether history was cut (`git clone --depth`); git leaves an empty file behind when it no longer is."""
        try:
            return (self.path / "shallow").stat().st_size > 0
        except FileNotFoundError:
            return False

    def is_partial(self) -> bool:
        """Whether objects were left out (`git clone --filter`)."""
        return any((self.objects / "pack").glob("*.promisor"))


def _git() -> list[str]:
    return ["git", *(word for setting in _NO_PROGRAMS for word in ("-c", setting))]


def _look(path: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    """What git says of the directory ``path`` itself, and nothing above, by the rule of safe.directory.

    Only where git finds a repository by itself it looks at the owner: with --git-dir it does not.
    """
    asked = ("-c", "safe.bareRepository=all", "-C", str(path), "rev-parse")
    what = ("--show-object-format",)
    try:
        return subprocess.run([*_git(), *asked, *what], env=env, capture_output=True, check=False)
    except FileNotFoundError:
        raise GitMissing from None


def _ask_git(path: Path) -> list[str]:
    """Its object format; raises `BadRepository` for one of another owner (git-config(1)).

    The user's own settings are read here and nowhere else, and only to learn whether he allowed this owner.
    """
    extra = {"GIT_CEILING_DIRECTORIES": str(path.parent)}
    extra |= {key: os.environ[key] for key in ("SUDO_UID",) if key in os.environ}
    env = git_environment(extra)
    done = _look(path, env)
    if _DUBIOUS in done.stderr:
        env = {k: v for k, v in env.items() if k != "HOME" and not k.startswith("GIT_CONFIG")}
        env |= {k: v for k, v in os.environ.items() if k in ("HOME", "XDG_CONFIG_HOME") or k.startswith("GIT_CONFIG_")}
        done = _look(path, env)
    if _DUBIOUS in done.stderr:
        raise BadRepository(
            f"{path} belongs to {owner_name(path.stat().st_uid)}, not to you: run gtfs as its owner or, if you trust "
            f"its owner, first run: git config --global --add safe.directory {path}"
        )
    if done.returncode:
        failed = GitFailed(["rev-parse"], done.returncode, done.stderr)
        raise BadRepository(f"git does not accept {path} as a repository: {failed}")
    return done.stdout.decode().split()


def open_repository(path: Path) -> Repository:
    """The repository at ``path``, bare or with a work tree; raises `BadRepository` for one of another owner, too."""
    if not path.exists():
        raise BadRepository(f"{path} does not exist; give a git repository, a catalogue file or a URL")
    if not path.is_dir():
        raise BadRepository(f"{path} is not a directory, so no git repository")
    path = git_dir_at(path)
    # A HEAD that is a symbolic link, as old gits made it, leads nowhere when its branch is packed.
    if not (path / "objects").is_dir() or not os.path.lexists(path / "HEAD"):
        raise BadRepository(f"{path} is no git repository; make one with git init --bare or git clone --mirror")
    path = path.resolve()
    [name] = _ask_git(path)
    if name not in OBJECT_FORMATS:
        raise BadRepository(f"{path} uses the object format {name}, which gtfs does not know")
    return Repository(path, OBJECT_FORMATS[name])


def may_say(repository: Repository, word: bytes) -> bool:
    """Whether git's settings in a repository may have a key of this name, in small letters: then git is to be asked.

    Other files than its config count only if that says so.
    """
    try:
        text = Path(repository.path, "config").read_bytes().lower()
    except OSError:
        return True
    return any(found in text for found in (word, b"include", b"worktreeconfig"))


def create_repository(path: Path, fmt: ObjectFormat) -> Repository:
    """A new empty bare repository at ``path``, whose parent directories are made; raises `BadRepository`.

    It is there whole or not at all, whenever the power goes; what is left of it then is removed here.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = f".{path.name}{_MAKING}"
    with os.scandir(path.parent) as entries:  # which may be a thousand, whenever one more is made
        left = [Path(entry.path) for entry in entries if entry.name.startswith(beside)]
    for each in left:
        if time.time() - each.stat().st_mtime > _LEFT_S:
            shutil.rmtree(each, ignore_errors=True)
    place = Path(tempfile.mkdtemp(prefix=beside, dir=path.parent))
    try:
        _init(place / path.name, fmt)
        for directory, _, files in os.walk(place):
            for name in files:
                sync_file(Path(directory, name))
            sync_directory(Path(directory))
        try:
            (place / path.name).rename(path)  # over an empty directory, too
        except OSError as e:
            raise BadRepository(f"cannot make a bare repository at {path}: {e.strerror}") from None
        sync_directory(path.parent)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return Repository(path.resolve(), fmt)  # ours, as git has just made it


def _init(path: Path, fmt: ObjectFormat) -> None:
    try:
        subprocess.run(
            ["git", "init", "--quiet", "--bare", f"--object-format={fmt.name}", "--template=", "--", str(path)],
            env=git_environment(),
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        raise GitMissing from None
    except subprocess.CalledProcessError as e:
        said = e.stderr.decode("utf-8", "replace").strip()
        raise BadRepository(f"cannot make a bare repository at {path}: {said}") from None
