# SPDX-License-Identifier: GPL-3.0-or-later
"""Announcing what was published: a mail for each new annotated tag, into a repository of mails (design.md §12).

What is due says `newtags`; a crash between any two steps is made good by the next run, which asks the repository of
mails whether it has the mail already. Whoever signed the catalogue announces, by the same key and agent; no writers'
turn is needed. A failure is written down, and stops nothing. Any thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from gtfs.errors import Blame, GtfsError
from gtfs.ids import ObjectId
from gtfs.layout import Layout
from gtfs.pack.format import TAG
from gtfs.pack.trees import MissingObject
from gtfs.repo.appendmail import Mailbox, Person, append_mail, find_mail, open_mailbox, read_mail
from gtfs.repo.catfile import CatFile
from gtfs.repo.history import read_places
from gtfs.repo.repository import Repository
from gtfs.state.announcement import (
    Publisher,
    Release,
    Tag,
    compose,
    mail_name,
    make_mail,
    message_id,
    read_tag,
    short_name,
    subject,
)
from gtfs.state.announcesettings import announce_settings
from gtfs.state.config import BadConfig, Config
from gtfs.state.feedkey import address, read_feed_key
from gtfs.state.newtags import find_news, note_begun, read_due, sweep_due
from gtfs.state.outstanding import Outstanding, write_failure
from gtfs.trust.child import run_child
from gtfs.trust.sign import Signer, SigningFailed

log = logging.getLogger(__name__)

_TAG_BYTES: Final = 8 << 20
_MAIL_S: Final = 60.0
_SAID_BYTES: Final = 64 << 10
_UID: Final = re.compile(r"([^<>]*)<([^<>]*)>")


class NotMailed(GtfsError):
    """The program that mails did not take a mail."""

    fault = Blame.SYSTEM


class _To(NamedTuple):
    box: Mailbox
    address: str | None
    sendmail: str


@dataclass(frozen=True)
class Announced:
    """A tag of which the mail is in the repository of mails, in ``commit``; ``is_mailed`` if it was sent, too."""

    tag: str
    commit: str
    is_mailed: bool


def announce(repository: Repository, *, asks: bool, waits: bool = True) -> tuple[list[Announced], Outstanding | None]:
    """Announce all that is due; gives what was, and what failed, which is tried again.

    ``asks``: whether gpg may ask for a passphrase. Unless it ``waits``, nothing is done while another process
    announces. Raises OSError only where a failure cannot be written down.
    """
    layout = repository.layout
    if not layout.due_announcements():
        return [], None
    with _turn(layout.announcements, waits=waits) as is_mine:
        if not is_mine:
            return [], None
        done: list[Announced] = []
        failed: Exception | None = None
        try:
            sweep_due(layout)
            for each in _announce_all(repository, read_due(layout), asks):
                if isinstance(each, Announced):
                    done.append(each)
                else:
                    failed = failed or each
        except (GtfsError, OSError) as error:
            failed = failed or error
        if failed is not None:
            return done, write_failure(layout.unannounced, failed)
        layout.unannounced.unlink(missing_ok=True)
        return done, None


def _announce_all(repository: Repository, due: Sequence[Release], asks: bool) -> Iterator[Announced | Exception]:
    """One after the other; what fails of one alone is given, and the next one tried."""
    settings = announce_settings(config := Config(repository))
    if settings is None or not due:
        return
    key, name = config.sign_key(), config.get("name")
    if key is None or name is None:
        raise BadConfig(f"{repository.path} is no publisher's; run: gtfs init {repository.path} --sign-key FINGERPRINT")
    feed_key = read_feed_key(repository.layout.feed_key)
    publisher = Publisher(name, key, () if feed_key is None else (address(feed_key.public, name),))
    here = read_places(repository)
    to = _To(open_mailbox(settings.box), settings.address, settings.sendmail)
    signer = Signer(key, config.gnupg_home(), asks=asks)
    for release in due:
        path = repository.layout.announcement(release.tag)
        tag = read_released(repository, release.tag)
        if tag is None or not any(here.get(ref) == release.tag for ref in release.refs):
            log.warning("the tag %s has gone or moved since it was published: it is not announced", short_name(release))
            path.unlink(missing_ok=True)
            continue
        try:
            done = _announce_one(repository.layout, to, signer, release, tag, publisher)
        except SigningFailed:  # so would all others; and nobody is asked again and again
            raise
        except (GtfsError, OSError) as error:
            yield error
            continue
        path.unlink(missing_ok=True)
        yield done


def foretell_announcements(
    repository: Repository, config: Config, before: Mapping[bytes, ObjectId], now: Mapping[bytes, ObjectId]
) -> list[dict[str, str]]:
    """The tags that a publish would announce when it moves refs so. Raises `GitFailed`, OSError."""
    settings, name, key = announce_settings(config), config.get("name"), config.sign_key()
    if settings is None or name is None or key is None:
        return []
    found = []
    for oid in find_news(repository, before, now):
        refs = tuple(ref for ref, at in now.items() if at == oid)
        tag = read_released(repository, oid)
        if tag is not None:
            release = Release(oid, refs, None, 0, "", 0)
            found.append({"tag": short_name(release), "subject": subject(release, tag, Publisher(name, key))})
    return found


def read_released(repository: Repository, oid: ObjectId) -> Tag | None:
    """What a tag object says, None where it is not here. Raises `GitFailed`."""
    with CatFile(repository) as reader:
        try:
            raw = reader.read(oid, _TAG_BYTES)
        except MissingObject:
            return None
    return read_tag(raw.data) if raw.kind == TAG else None


def _announce_one(
    layout: Layout, to: _To, signer: Signer, release: Release, tag: Tag, publisher: Publisher
) -> Announced:
    """Commit, then mail. What is there though it was never begun was announced another time, and all is done."""
    mid = message_id(publisher.repository, release.tag)
    commit = find_mail(to.box, mid)
    if commit is not None and not release.begun:
        return Announced(short_name(release), commit, False)
    if commit is None:
        note_begun(layout, release)
        signed = signer.clearsign(compose(release, tag, publisher))
        mail = make_mail(release, tag, publisher, signed, to.address)
        commit, data = append_mail(to.box, mail, _committer(signer), signer.detach_sign), mail.data
    elif to.address is not None:
        data = read_mail(to.box, commit, mail_name(publisher.repository, release.tag))
    if to.address is not None:
        _send(to.sendmail, data)
    return Announced(short_name(release), commit, to.address is not None)


def _committer(signer: Signer) -> Person:
    """Whom the key names."""
    uid = signer.user_id()
    found = _UID.search(uid)
    name, email = found.groups() if found else (uid, "")
    return Person(name.strip() or signer.fingerprint, email, int(time.time()), "+0000")


def _send(program: str, data: bytes) -> None:
    """Hand a mail over, recipients as its header names them; raises `NotMailed`, and what `run_child` raises."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "USER", "LOGNAME") if key in os.environ}
    status, _ = run_child(
        [program, "-t", "-i"], data, environment={**kept, "LC_ALL": "C"}, timeout_s=_MAIL_S, most_bytes=_SAID_BYTES
    )
    if status:
        raise NotMailed(f"{program} ended with {status} and did not take the mail; see its log")


@contextlib.contextmanager
def _turn(directory: Path, *, waits: bool) -> Iterator[bool]:
    """One process at a time; False where another one is at it, and this one does not wait."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(fd)
