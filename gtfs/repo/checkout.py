# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a commit in a new directory, byte for byte as git has them. Any thread.

Nothing that the repository says about its own files is acted on: no attributes, filters, hooks or submodules, which may
change bytes or run programs. So there is no .git in it either.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import subprocess
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from gtfs.errors import Blame, GtfsError
from gtfs.ids import ObjectId
from gtfs.pack.trees import MissingObject
from gtfs.repo.catfile import ASK_MOST, CatFile
from gtfs.repo.repository import GitFailed, Repository, git_environment

_LINK: Final = b"120000"
_SUBMODULE: Final = b"160000"
_EXECUTABLE: Final = b"100755"
_TARGET_BYTES: Final = 4095  # PATH_MAX
_NEVER: Final = frozenset({b"", b".", b"..", b".git"})
FILES: Final = 1_000_000  # of a commit, and directories: ten times as many as Linux has
DEPTH: Final = 256  # directories in each other: a limit bounds those of a pack, and few programs remove a thousand
LISTED_BYTES: Final = 256 << 20  # of git's list of them
_LIST_CPU_S: Final = 120  # a million take some seconds
_LOOK_S: Final = 0.5
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK: Final = 4096  # bytes that the smallest file takes


class CannotCheckOut(GtfsError):
    """A tree whose files cannot be written; the text names one."""

    fault = Blame.DATA


class CheckOutEnded(GtfsError):
    """It was told to stop; what is written of it is no whole."""

    fault = Blame.BUSY


class TreeFile(NamedTuple):
    """What is at a path."""

    mode: bytes
    oid: ObjectId
    size: int


class Former(NamedTuple):
    """The directory of another commit: a file that did not change since keeps its time."""

    directory: Path
    files: Mapping[bytes, TreeFile]


def list_files(
    repository: Repository, commit: ObjectId, stop: Callable[[], bool] = lambda: False
) -> dict[bytes, TreeFile]:
    """Every file, link and submodule by path; raises `GitFailed`, `CannotCheckOut`, `CheckOutEnded`.

    A few small trees, each many times in the next, may stand for more than any machine holds.
    """
    files: dict[bytes, TreeFile] = {}
    which = f"commit {commit.hex()}"
    with contextlib.closing(_lines(repository, commit, stop)) as lines:
        for number, line in enumerate(lines):
            if number >= FILES:
                raise CannotCheckOut(f"{which} is over the limit of {FILES} files and directories for a checkout")
            head, _, path = line.partition(b"\t")
            mode, kind, oid, size = head.split()
            if kind == b"tree":  # in which there may be nothing
                continue
            if path in files or not _NEVER.isdisjoint(path.lower().split(b"/")):
                raise CannotCheckOut(f"{which} has {os.fsdecode(path)!a}, which cannot be a file's name here")
            if path.count(b"/") > DEPTH:
                raise CannotCheckOut(f"{which} is over the limit of {DEPTH} directories in each other for a checkout")
            files[path] = TreeFile(mode, ObjectId(bytes.fromhex(oid.decode())), int(size) if size.isdigit() else 0)
    return files


def _lines(repository: Repository, commit: ObjectId, stop: Callable[[], bool]) -> Generator[bytes, None, None]:
    """What git says of each file and directory, as it comes."""
    args = ("ls-tree", "-r", "-t", "-l", "-z", "--full-tree", commit.hex())
    left, room = b"", LISTED_BYTES
    with subprocess.Popen(
        repository.command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=git_environment()
    ) as process:
        assert process.stdout and process.stderr
        try:
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (_LIST_CPU_S, _LIST_CPU_S))
            while True:
                while not select.select([process.stdout], [], [], _LOOK_S)[0]:
                    _check_not_ended(stop)
                piece = os.read(process.stdout.fileno(), 1 << 16)
                if not piece:
                    break
                _check_not_ended(stop)
                room -= len(piece)
                if room < 0:
                    raise CannotCheckOut(f"commit {commit.hex()} is over the limit of {LISTED_BYTES} bytes of names")
                *lines, left = (left + piece).split(b"\0")
                yield from lines
            said = process.stderr.read()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise GitFailed(args, process.returncode, said)


def _check_not_ended(stop: Callable[[], bool]) -> None:
    if stop():
        raise CheckOutEnded("the checkout was ended; the next node makes it")


def _check_room(files: Mapping[bytes, TreeFile], directory: Path) -> None:
    """Raise `CannotCheckOut` where the disk would be full: who made the commit chose how often a file is in it."""
    size = sum(-(-file.size // _BLOCK) * _BLOCK for file in files.values())
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    if size > free - free // 10:
        raise CannotCheckOut(f"its files take {size} bytes, and {directory} has {free} free, of which a tenth stays so")


def check_out(
    repository: Repository,
    files: Mapping[bytes, TreeFile],
    into: Path,
    former: Former | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Write these into the directory ``into``, which is made; on the disk when it returns.

    Raises `CannotCheckOut`, `CheckOutEnded`, `GitFailed`, OSError; then ``into`` is to be removed.
    """
    _check_room(files, into.parent)
    into.mkdir()
    for directory in sorted(_directories(files)):
        _at(into, directory).mkdir()
    plain = [(path, file) for path, file in files.items() if file.mode not in (_LINK, _SUBMODULE)]
    links = [(path, file) for path, file in files.items() if file.mode == _LINK]
    try:
        with CatFile(repository) as reader:
            for number, (path, file) in enumerate(plain):
                if number % ASK_MOST == 0:
                    reader.ask(next_file.oid for _, next_file in plain[number : number + ASK_MOST])
                _write(reader, _at(into, path), file, _time(former, path, file), stop)
            # Last: so nothing is ever written through one.
            for path, file in links:
                target = b"".join(reader.stream(file.oid)) if file.size <= _TARGET_BYTES else b""
                if not target or b"\0" in target:
                    raise CannotCheckOut(
                        f"{os.fsdecode(path)!a} is a link that leads nowhere: no file can be made of it"
                    )
                _at(into, path).symlink_to(os.fsdecode(target))
    except MissingObject as error:
        raise CannotCheckOut(f"git lacks the object {error.oid.hex()}; gtfs fsck --repair fetches it again") from None
    _sync(into)


def take_away(directory: Path) -> None:
    """Remove what `check_out` made, or a version of gtfs that knew no `DEPTH`; as much as can be, then raises OSError.

    No link is followed. Python's rmtree calls itself for each directory in another, and ends at a thousand.
    """
    troubles: list[OSError] = []
    fd = os.open(directory, _DIRECTORY)
    names: list[str] = []  # of those from the top down to the one that is at hand
    left: list[list[str]] = [[]]  # directories that are still in the top, and in each of these
    try:
        _empty(fd, left[0], troubles)
        while left[-1] or names:
            if left[-1]:
                with _noting(troubles):
                    name = left[-1].pop()
                    fd = _go(fd, name)
                    names.append(name)
                    left.append([])
                    _empty(fd, left[-1], troubles)
            else:
                left.pop()
                fd = _go(fd, "..")
                with _noting(troubles):
                    os.rmdir(names.pop(), dir_fd=fd)
    finally:
        os.close(fd)
    with _noting(troubles):
        directory.rmdir()
    if troubles:
        raise troubles[0]


def _go(fd: int, name: str) -> int:
    to = os.open(name, _DIRECTORY, dir_fd=fd)
    os.close(fd)
    return to


def _empty(fd: int, directories: list[str], troubles: list[OSError]) -> None:
    """Remove all but the directories in one, whose names it adds."""
    with os.scandir(fd) as found:
        entries = list(found)
    for entry in entries:
        with _noting(troubles):
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=fd)


@contextlib.contextmanager
def _noting(troubles: list[OSError]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        troubles.append(error)


def _directories(files: Mapping[bytes, TreeFile]) -> Iterator[bytes]:
    """All in which something lies, and those of submodules, which stay empty."""
    found: set[bytes] = set()
    for path, file in files.items():
        directory = path if file.mode == _SUBMODULE else path.rpartition(b"/")[0]
        while directory and directory not in found:
            found.add(directory)
            directory = directory.rpartition(b"/")[0]
    yield from found


def _at(directory: Path, path: bytes) -> Path:
    return directory.joinpath(os.fsdecode(path))


def _write(reader: CatFile, path: Path, file: TreeFile, time_ns: int | None, stop: Callable[[], bool]) -> None:
    mode = 0o777 if file.mode == _EXECUTABLE else 0o666  # less the umask, as git has it
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with open(fd, "wb", buffering=0) as out:
        for piece in reader.stream(file.oid):
            _check_not_ended(stop)
            view = memoryview(piece)
            while view:
                view = view[out.write(view) :]
        if time_ns is not None:
            os.utime(out.fileno(), ns=(time_ns, time_ns))


def _time(former: Former | None, path: bytes, file: TreeFile) -> int | None:
    if former is not None and former.files.get(path) == file:
        with contextlib.suppress(OSError):
            return _at(former.directory, path).lstat().st_mtime_ns
    return None


def _sync(directory: Path) -> None:
    """Have all of its file system on the disk: one call for however many files there are."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(fd):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(fd)
