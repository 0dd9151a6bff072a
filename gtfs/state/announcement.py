# SPDX-License-Identifier: GPL-3.0-or-later
"""The text that announces a tag, and the mail around it (design.md §12).

All that the tag says, its message, its tagger and its name, is whoever's who could push it: it is shown where nothing
of ours stands, and no byte of it ends a line, a header or a signature. Pure functions, any thread.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Final

from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint, ObjectId
from gtfs.repo.appendmail import Mail, Person
from gtfs.trust.objects import BadSignedObject, split_signed_object

_DOMAIN: Final = "gtfs.invalid"  # RFC 2606: it is nobody's
_NOBODY: Final = f"unknown@{_DOMAIN}"
_MESSAGE_BYTES: Final = 64 << 10  # of a tag's message
_LINE: Final = 200  # characters; RFC 5322 has 998 bytes
_SUBJECT: Final = 150  # characters of what the tag says
_NAME: Final = 60  # characters of names
_SHOWN: Final = 20  # refs, reels
_TAGGER: Final = re.compile(rb"^tagger ([^\n]*)$", re.MULTILINE)
_PERSON: Final = re.compile(rb"(.*?) ?<([^<>]*)> ?(\d{1,11}) ([+-]\d{4})")
_ADDRESS: Final = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_+-]*(?:\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
_SPECIALS: Final = re.compile(r"[]()<>@,:;\\\"[]+")  # some versions of Python forget their quotes when they fold a name


class BadMailAddress(GtfsError):
    """Not one plain mail address."""

    fault = Blame.USAGE

    def __init__(self, text: str) -> None:
        super().__init__(f"{text}: not a mail address such as announce@example.org")


@dataclass(frozen=True)
class Release:
    """A published tag: ``refs`` that name it, ``was`` what the first of them named before; what came with it.

    ``reels``: name, infohash and size of those that are new; of ``moved`` and ``reels`` the first ones.
    """

    tag: ObjectId
    refs: tuple[bytes, ...]
    was: ObjectId | None
    version: int
    digest: str
    date_s: int
    moved: tuple[tuple[bytes, ObjectId], ...] = ()
    moved_count: int = 0
    reels: tuple[tuple[str, str, int], ...] = ()
    reels_count: int = 0
    begun: bool = False  # whether this announcement may have been made already


@dataclass(frozen=True)
class Publisher:
    """Who announces: the repository's id in its catalogues, the key that signs, and SOURCE strings for others."""

    repository: str
    signer: Fingerprint
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tag:
    """What a tag says of itself, decoded, and safe to show on one line each; ``lines`` is its message."""

    target: str
    name: str
    email: str | None  # None where what is there is no address
    when: datetime | None
    lines: tuple[str, ...]


def check_address(text: str) -> str:
    """A plain mail address; raises `BadMailAddress`."""
    if len(text) > 254 or not _ADDRESS.fullmatch(text):
        raise BadMailAddress(text)
    return text


def message_id(repository: str, tag: ObjectId) -> str:
    """The same for the same tag of the same repository, whoever announces it and whenever."""
    return f"<{_local_part(repository, tag)}@{_DOMAIN}>"


def mail_name(repository: str, tag: ObjectId) -> str:
    """The mail's file, where it is one of many."""
    return f"{_local_part(repository, tag)}.eml"


def _local_part(repository: str, tag: ObjectId) -> str:
    return hashlib.sha256(tag + repository.encode("utf-8", "surrogateescape")).hexdigest()[:40]


def read_tag(raw: bytes | None) -> Tag:
    """What a tag object says; None: it is too large to be read."""
    head, _, _ = (raw or b"").partition(b"\n\n")
    message = b"(this tag is too large to be shown)\n" if raw is None else _message(raw)
    kept = message[:_MESSAGE_BYTES]
    lines = [part for line in kept.decode("utf-8", "replace").strip("\n").split("\n") for part in _fold(line)]
    if len(kept) < len(message):
        lines.append(f"({len(message) - len(kept)} more bytes of it are in the tag)")
    found = _TAGGER.search(head)
    person = None if found is None else _PERSON.fullmatch(found[1])
    fields = dict(line.partition(b" ")[::2] for line in head.split(b"\n")[:2])
    target = f"{_plain(fields.get(b'type', b'?'))} {_plain(fields.get(b'object', b'?'))}"
    if person is None:
        return Tag(target, "unknown", None, None, tuple(lines))
    email = person[2].decode("utf-8", "replace")
    is_address = len(email) <= 254 and _ADDRESS.fullmatch(email) is not None
    when = _when(int(person[3]), person[4].decode())
    return Tag(target, _plain(person[1])[:_NAME] or "unknown", email if is_address else None, when, tuple(lines))


def subject(release: Release, tag: Tag, publisher: Publisher) -> str:
    """One line: which repository, which tag, and the first line of its message."""
    # A name that is a commit's id tells readers nothing.
    name = publisher.repository[:12] if re.fullmatch("[0-9a-f]{40,64}", publisher.repository) else publisher.repository
    first = next((line.strip() for line in tag.lines if line.strip()), "")
    text = f"[{_plain(name.encode())[:_NAME]}] {short_name(release)}: {first}"
    return text.rstrip(": ") if not first else text[:_SUBJECT].rstrip()


def compose(release: Release, tag: Tag, publisher: Publisher) -> str:
    """The text that is signed: what the tag says, indented, then what is known of it."""
    short = short_name(release)
    out = [f"The tag {short} is published.", ""]
    out += [f"    {line}".rstrip() for line in tag.lines]
    out += ["", f"Subject: {subject(release, tag, publisher)}"]
    out += [f"Message-ID: {message_id(publisher.repository, release.tag)}"]
    out += [f"Repository: {_plain(publisher.repository.encode())[:_LINE]}"]
    out += [f"Tag: {release.tag.hex()} {_plain(name)[:_LINE]}" for name in release.refs[:_SHOWN]]
    if release.was is not None:
        out.append(f"Was: {release.was.hex()} {_plain(release.refs[0])[:_LINE]}")
    out.append(f"Names: {tag.target}")
    email = "no mail address" if tag.email is None else tag.email
    out.append(f"Tagger: {tag.name} <{email}>")
    out.append(f"Tagged: {'unknown' if tag.when is None else format_datetime(tag.when)}")
    out.append(f"Catalogue: version {release.version}, SHA-256 of its text {release.digest}")
    out.append(f"Signed-By: {publisher.signer}")
    out += [f"Source: {source}" for source in publisher.sources]
    out += [f"Moved: {oid.hex()} {_plain(name)[:_LINE]}" for name, oid in release.moved[:_SHOWN]]
    if release.moved_count > len(release.moved[:_SHOWN]):
        out.append(f"Moved: and {release.moved_count - len(release.moved[:_SHOWN])} more refs, see the catalogue")
    out += [f"Reel: infohash {infohash}, {size} bytes, {name}" for name, infohash, size in release.reels[:_SHOWN]]
    if release.reels_count > len(release.reels[:_SHOWN]):
        out.append(f"Reel: and {release.reels_count - len(release.reels[:_SHOWN])} more, see the catalogue")
    out += ["", "To verify this mail, save it and run:", "    gpg --verify FILE"]
    out += [f"which must name the key {publisher.signer}.", "To verify the tag, where it has been fetched:"]
    out += [f"    git verify-tag {release.tag.hex()}", f"    gtfs verify REPO {release.tag.hex()}"]
    out += ["To verify that the catalogue is this one:", "    gpg --decrypt latest.asc | sha256sum"]
    out += ["where latest.asc is REPO/gtfs/catalogue/latest.asc while its version is the same."]
    return "".join(f"{line.rstrip()}\n" for line in out)  # gpg signs no space at a line's end


def make_mail(release: Release, tag: Tag, publisher: Publisher, signed: bytes, to: str | None) -> Mail:
    """The mail whose body is ``signed``, the clear-signed text: so plain gpg verifies the mail as it is stored."""
    from email.headerregistry import Address  # these take long to load, and few announce by mail
    from email.message import EmailMessage
    from email.policy import EmailPolicy

    when = tag.when or datetime.fromtimestamp(release.date_s, UTC)
    line, mid = subject(release, tag, publisher), message_id(publisher.repository, release.tag)
    email = tag.email or _NOBODY
    # Lines end in LF, as git keeps them; what is no ASCII is encoded in headers, and stays as it is in the body.
    mail = EmailMessage(policy=EmailPolicy(linesep="\n", cte_type="8bit", max_line_length=78))
    mail["From"] = Address(_no_words(_SPECIALS.sub(" ", tag.name)).strip(), addr_spec=email)
    if to is not None:
        mail["To"] = Address(addr_spec=check_address(to))
    mail["Subject"] = _no_words(line)
    mail["Date"] = when
    mail["Message-ID"] = mid
    text = signed.decode("utf-8")
    mail.set_content(text, cte="7bit" if text.isascii() else "8bit")
    seconds, zone = int(when.timestamp()), when.strftime("%z")[:5]
    return Mail(
        mid, mail_name(publisher.repository, release.tag), line, mail.as_bytes(), Person(tag.name, email, seconds, zone)
    )


def _no_words(text: str) -> str:
    """Without what a reader, or Python, would decode (RFC 2047): what such a word hides may be a line's end."""
    return text.replace("=?", "= ?")


def _message(raw: bytes) -> bytes:
    """A tag's message, without its signature where that is one."""
    try:
        raw = split_signed_object(raw).payload
    except BadSignedObject:
        pass
    return raw.partition(b"\n\n")[2]


def _plain(data: bytes) -> str:
    """On one line, whatever it is: what is not printable is no control of a terminal, and no direction of text."""
    text = data.decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in text).strip()


def _fold(line: str) -> Sequence[str]:
    """A line of a message as lines of at most `_LINE` characters."""
    text = "".join(c if c.isprintable() else "\ufffd" for c in line.rstrip("\r").expandtabs())
    return [text[at : at + _LINE].rstrip() for at in range(0, max(len(text), 1), _LINE)]


def short_name(release: Release) -> str:
    """The tag, as people name it, on one line."""
    return _plain(release.refs[0].removeprefix(b"refs/tags/"))[:_NAME]


def _when(time_s: int, zone: str) -> datetime | None:
    minutes = int(zone[1:3]) * 60 + int(zone[3:5])
    offset = timedelta(minutes=-minutes if zone[0] == "-" else minutes)
    try:
        return datetime.fromtimestamp(time_s, timezone(offset))
    except (ValueError, OverflowError, OSError):
        return None
