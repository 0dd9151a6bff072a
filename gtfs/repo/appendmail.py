# SPDX-License-Identifier: GPL-3.0-or-later
"""One more mail in a repository that holds mails, by a signed commit: a plain repository, or an inbox of public-inbox.

Of a plain one the branch that HEAD names gets a file for each mail; where branches are checked out, the branch
``announcements`` does. In an inbox (public-inbox-v2-format(5)), which is named by its directory or by an epoch,
``git/N.git``, the newest epoch's ``master`` does, with the mail as the file ``m`` of its commit. Whether a mail is
there is told by its Message-ID, which is in the commit. Any thread; git is run, and no hook.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from gtfs.errors import Blame, GtfsError
from gtfs.repo.history import read_commit
from gtfs.repo.repository import GitFailed, Repository, open_repository

_EPOCH: Final = re.compile(r"(0|[1-9][0-9]{0,8})\.git")
_INBOX_LOCK: Final = "inbox.lock"
_INBOX_HAS: Final = (_INBOX_LOCK, "all.git")
_BRANCHES: Final = "refs/heads/"
_INBOX_BRANCH: Final = "refs/heads/master"  # of an epoch whose HEAD is on none
_OWN_BRANCH: Final = "refs/heads/announcements"
_FIELD: Final = "Message-ID"
_TRIES: Final = 20  # others may commit meanwhile
_LOCKED_S: Final = 20.0
_LOOK_S: Final = 0.1
_DURABLE: Final = ("-c", "core.fsync=all", "-c", "core.logAllRefUpdates=false")


class BadMailbox(GtfsError):
    """A repository that no mail can be put into; the text says what to do."""

    fault = Blame.SOURCE


class MailboxBusy(GtfsError):
    """Others have it, and do not let go."""

    fault = Blame.BUSY


@dataclass(frozen=True)
class Mailbox:
    """Where mails go: ``branch`` of a repository, which is the last epoch of an inbox if it ``is_inbox``."""

    repository: Repository
    branch: str
    is_inbox: bool = False
    lock: Path | None = None  # the inbox's
    older: tuple[Repository, ...] = ()  # the epochs before


class Person(NamedTuple):
    """Who a commit says made it, and when: seconds since 1970, and a zone such as ``+0230``."""

    name: str
    email: str
    time_s: int
    zone: str

    def line(self) -> str:
        """As git has it in a commit; what a line cannot hold is left out."""
        name, email = (re.sub(r"[<>\0\r\n]", "", text).strip() for text in (self.name, self.email))
        return f"{name or 'unknown'} <{email}> {self.time_s} {self.zone}"


class Mail(NamedTuple):
    """A mail as it is kept: ``name`` is that of its file where it is one of many, ``subject`` one line."""

    message_id: str
    name: str
    subject: str
    data: bytes
    author: Person


def open_mailbox(path: Path) -> Mailbox:
    """The mailbox at ``path``; raises `BadMailbox`, `BadRepository`, `GitFailed`."""
    inbox = path.parent.parent if _EPOCH.fullmatch(path.name) and path.parent.name == "git" else path
    if any((inbox / name).exists() for name in _INBOX_HAS):
        epochs = _epochs(inbox / "git")
        if not epochs:
            raise BadMailbox(f"{inbox} has no epoch git/0.git yet: public-inbox-init -V2 makes one")
        *older, last = map(open_repository, epochs)
        return Mailbox(last, _branch_of_epoch(last), True, inbox / _INBOX_LOCK, tuple(older))
    repository = open_repository(path)
    inbox_branch = _branch_of_epoch(repository)
    if repository.git("ls-tree", "--name-only", inbox_branch, check=False) == b"m\n":  # an epoch alone
        return Mailbox(repository, inbox_branch, True)
    branch = _head(repository)
    if repository.has_work_tree():
        branch = _OWN_BRANCH
    elif not branch.startswith(_BRANCHES):
        raise BadMailbox(f"the HEAD of {path} is on no branch: git -C {path} symbolic-ref HEAD refs/heads/NAME")
    if _is_checked_out(repository, branch):
        raise BadMailbox(f"in {path} the branch {branch}, for mails, is checked out; check out another")
    return Mailbox(repository, branch)


def find_mail(box: Mailbox, message_id: str) -> str | None:
    """The commit that brought a mail, None if it is not there; raises `GitFailed`."""
    for repository in (box.repository, *box.older):
        branch = box.branch if repository == box.repository else _branch_of_epoch(repository)
        if _tip(repository, branch) is None:
            continue
        pattern = f"^{_FIELD}: {re.escape(message_id)}$"
        words = ("rev-list", "-1", "--encoding=UTF-8", "-E", f"--grep={pattern}", branch, "--")
        found = repository.git(*words).decode().strip()
        if found:
            return found
    return None


def read_mail(box: Mailbox, commit: str, name: str) -> bytes:
    """The mail that a commit of `find_mail` brought; raises `GitFailed`."""
    repositories = [r for r in (box.repository, *box.older) if r.git("cat-file", "-t", commit, check=False)]
    return repositories[0].git("cat-file", "blob", f"{commit}:{_file(box, name)}")


def append_mail(box: Mailbox, mail: Mail, committer: Person, sign: Callable[[bytes], bytes]) -> str:
    """Commit a mail that is not there, signed by ``sign``, which gives an armored signature; gives the commit's id.

    Who commits at the same time loses nothing. Raises `MailboxBusy`, `GitFailed`, and what ``sign`` does.
    """
    repository = box.repository
    blob = repository.git(*_DURABLE, "hash-object", "-w", "--stdin", stdin=mail.data).decode().strip()
    for _ in range(_TRIES):
        tip = _tip(repository, box.branch)
        tree = _tree(box, tip, mail.name, blob)
        commit = _commit(repository, tree, tip, mail, committer, sign)
        with _locked(box.lock):
            try:
                repository.git(*_DURABLE, "update-ref", "--no-deref", box.branch, commit, tip or "0" * len(commit))
            except GitFailed as error:
                if _tip(repository, box.branch) == tip:
                    said = error.stderr.decode("utf-8", "replace").partition("\n")[0].removeprefix("fatal: ")
                    raise BadMailbox(f"{repository.path}: no mail can be put on {box.branch}: {said}") from None
            else:
                return commit
    raise MailboxBusy(f"{repository.path}: others commit all the time")


def _epochs(directory: Path) -> list[Path]:
    try:
        found = [(int(m[1]), path) for path in directory.iterdir() if (m := _EPOCH.fullmatch(path.name))]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for _, path in sorted(found)]


def _head(repository: Repository) -> str:
    return os.fsdecode(repository.git("symbolic-ref", "--quiet", "HEAD", check=False).strip())


def _branch_of_epoch(repository: Repository) -> str:
    """Where its mails are: public-inbox names it by init.defaultBranch, and has HEAD there."""
    head = _head(repository)
    return head if head.startswith(_BRANCHES) else _INBOX_BRANCH


def _tip(repository: Repository, branch: str) -> str | None:
    found = read_commit(repository, branch)
    return None if found is None else found.hex()


def _is_checked_out(repository: Repository, branch: str) -> bool:
    """Whether somebody works there; a bare repository counts as checked out where it is itself."""
    where = repository.git("for-each-ref", "--format=%(worktreepath)", branch).strip()
    head = repository.git("symbolic-ref", "--quiet", "HEAD", check=False).strip()
    is_unborn = os.fsdecode(head) == branch and repository.has_work_tree()
    return is_unborn or (bool(where) and Path(os.fsdecode(where)).resolve() != repository.path)


def _file(box: Mailbox, name: str) -> str:
    return "m" if box.is_inbox else name


def _tree(box: Mailbox, tip: str | None, name: str, blob: str) -> str:
    """Of an inbox the mail alone; else all that is there, and the mail."""
    entry = f"100644 blob {blob}\t{_file(box, name)}\0".encode()
    kept: list[bytes] = []
    if not box.is_inbox and tip is not None:
        lines = box.repository.git("ls-tree", "-z", f"{tip}^{{tree}}").split(b"\0")
        kept = [line + b"\0" for line in lines if line and line.partition(b"\t")[2] != name.encode()]
    # --missing: the commits of submodules, and what a partial clone left out, are not here.
    made = box.repository.git(*_DURABLE, "mktree", "-z", "--missing", stdin=b"".join([*kept, entry]))
    return made.decode().strip()


def _commit(
    repository: Repository,
    tree: str,
    parent: str | None,
    mail: Mail,
    committer: Person,
    sign: Callable[[bytes], bytes],
) -> str:
    parents = f"parent {parent}\n" if parent is not None else ""
    head = f"tree {tree}\n{parents}author {mail.author.line()}\ncommitter {committer.line()}\n".encode()
    message = f"\n{mail.subject}\n\n{_FIELD}: {mail.message_id}\n".encode()
    field = b"gpgsig" if repository.fmt.oid_bytes == 20 else b"gpgsig-sha256"
    signature = sign(head + message).rstrip(b"\n").replace(b"\n", b"\n ")
    data = head + field + b" " + signature + b"\n" + message
    return repository.git(*_DURABLE, "hash-object", "-t", "commit", "-w", "--stdin", stdin=data).decode().strip()


@contextlib.contextmanager
def _locked(path: Path | None) -> Iterator[None]:
    """An inbox's own lock, which its other writers take, too (public-inbox-v2-format(5), LOCKING)."""
    if path is None:
        yield
        return
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        end_s = time.monotonic() + _LOCKED_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end_s:
                    raise MailboxBusy(f"{path} is locked by another program") from None
                time.sleep(_LOOK_S)
        yield
    finally:
        os.close(fd)
