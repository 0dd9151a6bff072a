# SPDX-License-Identifier: GPL-3.0-or-later
"""``-o``: what mount(8), fstab and the command line say about a mount (mount.fuse.gtfs(8)). Pure; any thread.

An `Option` says how one word is written, what it sets and what it means; parsing, help, completion and the test of the
manual page read the same table. The node's own options (peer, tracker, feed …) are in a table of their own.
"""

from __future__ import annotations

import difflib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gtfs.errors import Blame, GtfsError
from gtfs.pack import limits
from gtfs.pack.limits import GIB, MIB

_YEAR_S: Final = 365 * 24 * 3600.0

_IGNORED: Final = frozenset(
    """auto noauto user nouser users group owner _netdev nofail defaults suid dev exec async atime diratime
    nodiratime relatime norelatime strictatime nostrictatime lazytime nolazytime iversion noiversion mand nomand silent
    loud nosuid nodev symfollow nosymfollow fsname subtype comment seclabel""".split()  # noqa: SIM905  a list of words is easier to read
)
_KERNEL: Final = frozenset(("noexec", "noatime", "sync", "dirsync"))  # libfuse 3.14 takes no more
_LABELS: Final = ("context", "fscontext", "defcontext", "rootcontext")  # of SELinux: the kernel's, with a value
_LABEL: Final = re.compile(r"[!#-~]+")
_QUOTED: Final = tuple(f"{name}=" for name in _LABELS)  # mount(8) hands them on in quotes, for the commas in them
_TAKES_BACK: Final = {"exec": "noexec", "atime": "noatime", "async": "sync"}
_YES: Final = frozenset(("yes", "true", "on", "1"))
_NO: Final = frozenset(("no", "false", "off", "0"))
_TIME: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)([smhd])?\Z", re.IGNORECASE)
_TIME_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60))


class BadMountOption(GtfsError):
    """An option that nobody here knows, or with a value that does not fit."""

    fault = Blame.USAGE


@dataclass(frozen=True)
class MountOptions:
    """What the mount itself needs to know; times in seconds, sizes in bytes."""

    read_only: bool = False
    allow_other: bool = False
    default_permissions: bool = False  # let the kernel check the permission bits, too
    uid: int = field(default_factory=os.getuid)  # owner of everything shown, and beside root the only writer
    gid: int = field(default_factory=os.getgid)
    read_timeout_s: float = 60.0
    read_ahead_bytes: int = 4 * MIB
    incoming_limit_bytes: int = 10 * GIB
    kernel: tuple[str, ...] = ()  # flags of mount(2) by name
    labels: tuple[tuple[str, str], ...] = ()  # SELinux's, by name


@dataclass(frozen=True)
class Kind:
    """A kind of value: its word in help, how it is read (given value and option), and how a default is written.

    ``words`` are all values there are, where they are few.
    """

    metavar: str
    parse: Callable[[str, str], Any]
    show: Callable[[Any], str] = str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Option:
    """One option: it sets the field ``sets`` of the dataclass ``of``.

    ``kind`` is a `Kind`, whose values are tuples that add up with ``many``; else the last one counts. For a flag it is
    what the field becomes when the flag is on.
    """

    of: type
    sets: str
    kind: Kind | bool
    help: str
    many: bool = False


def parse_flag(text: str | None, option: str) -> bool:
    """Whether a flag is on: alone, or with a word for yes; raises `BadMountOption`."""
    if text is None or text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise BadMountOption(f"{option}={text}: not yes or no; {option} alone switches it on")


def parse_size(text: str, option: str) -> int:
    """See `gtfs.pack.limits.parse_size`; raises `BadMountOption`."""
    try:
        return limits.parse_size(text, option)
    except limits.BadSize as error:
        raise BadMountOption(str(error)) from None


def parse_seconds(text: str, option: str) -> float:
    """Seconds behind "30", "1.5", "30s", "5m", "1h" or "1d"; raises `BadMountOption`."""
    found = _TIME.match(text)
    if not found:
        raise BadMountOption(f"{option}={text}: not a time such as 30, 1.5, 5m, 1h or 1d")
    return float(found[1]) * dict(_TIME_UNITS).get((found[2] or "s").lower(), 1)


def _with_unit(value: float, units: tuple[tuple[str, int], ...]) -> str:
    unit, one = next(((u, n) for u, n in units if value and value % n == 0), ("", 1))
    number = value / one
    return f"{int(number) if number.is_integer() else number}{unit}"


def _show_size(value: int) -> str:
    return _with_unit(value, limits.SIZE_UNITS)


def _show_seconds(value: float) -> str:
    return _with_unit(value, _TIME_UNITS)


def _within(
    parse: Callable[[str, str], float], least: float, most: float, show: Callable[[Any], str]
) -> Callable[[str, str], Any]:
    def check(text: str, option: str) -> float:
        value = parse(text, option)
        if not least <= value <= most:
            raise BadMountOption(f"{option}={text}: it must be from {show(least)} to {show(most)}")
        return value

    return check


def size(least: int = 0, most: int = 1 << 50) -> Kind:
    """A number of bytes in these bounds."""
    return Kind("SIZE", _within(parse_size, least, most, _show_size), _show_size)


def seconds(least: float = 0.0, most: float = _YEAR_S) -> Kind:
    """A time in these bounds."""
    return Kind("TIME", _within(parse_seconds, least, most, _show_seconds), _show_seconds)


def count(least: int, most: int) -> Kind:
    """A number in these bounds."""

    def parse(text: str, option: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text[:20]) <= most):
            raise BadMountOption(f"{option}={text}: not a number from {least} to {most}")
        return int(text)

    return Kind("N", parse)


_ID: Final = count(0, (1 << 32) - 2)  # the last one means "nobody" to chown(2)

OWN: Final[Mapping[str, Option]] = {
    "ro": Option(MountOptions, "read_only", True, "read-only"),
    "rw": Option(MountOptions, "read_only", False, "writable, unless a later ro says otherwise"),
    "allow_other": Option(MountOptions, "allow_other", True, "let other users read"),
    "default_permissions": Option(
        MountOptions, "default_permissions", True, "let the kernel check the permission bits, too"
    ),
    "uid": Option(MountOptions, "uid", _ID, "the owner of everything shown, who may write (default: who mounts)"),
    "gid": Option(MountOptions, "gid", _ID, "the group of everything shown (default: of who mounts)"),
    "read_timeout": Option(MountOptions, "read_timeout_s", seconds(least=0.1), "how long a read waits for the swarm"),
    "read_ahead": Option(MountOptions, "read_ahead_bytes", size(most=GIB), "how far a file is read ahead at most"),
    "incoming_limit": Option(
        MountOptions, "incoming_limit_bytes", size(least=1), "of all files being written together"
    ),
}


def escape_value(value: object) -> str:
    """A value as it stands in a list of options, so that `split_options` gives it back."""
    return str(value).replace("\\", "\\\\").replace(",", "\\,")


def split_options(text: str) -> list[tuple[str, str | None]]:
    """Names and values of a comma-separated list; ``\\,`` and ``\\\\`` stand for the characters, as in mount.fuse.

    SELinux's may stand in quotes, as for mount(8); raises `BadMountOption` where such a quote does not end.
    """
    items, item, escaped, quoted = [], "", False, False
    for char in text:
        if escaped:
            item, escaped = item + char, False
        elif char == "\\":
            escaped = True
        elif char == '"' and (quoted or item in _QUOTED):
            quoted = not quoted
        elif char == "," and not quoted:
            items.append(item)
            item = ""
        else:
            item += char
    if quoted:
        raise BadMountOption(f"{item}: the quote does not end")
    items.append(item)
    pairs = (i.partition("=") for i in items if i)
    return [(name, value if equals else None) for name, equals, value in pairs]


def read_options(text: str, table: Mapping[str, Option] = OWN) -> defaultdict[type, dict[str, Any]]:
    """The fields that a list of options sets, by dataclass. Of what may not be given again the last one counts.

    What mount(8) and fstab put there for everybody is ignored; anything else that ``table`` does not know, a value that
    does not fit or is missing raises `BadMountOption`.
    """
    found: defaultdict[type, dict[str, Any]] = defaultdict(dict)
    kernel: dict[str, bool] = {}
    labels: dict[str, str] = {}
    for name, value in split_options(text):
        option = table.get(name)
        if option is not None:
            fields, read = found[option.of], _read(name, option, value)
            fields[option.sets] = (*fields.get(option.sets, ()), *read) if option.many else read
        elif name in _KERNEL:
            kernel[name] = parse_flag(value, name)
        elif name in _TAKES_BACK:
            kernel[_TAKES_BACK[name]] = not parse_flag(value, name)
        elif name in _LABELS:
            if not value or not _LABEL.fullmatch(value):
                raise BadMountOption(f"{name} needs a value: {name}=CONTEXT, as SELinux writes one")
            labels[name] = value
        elif name == "remount":
            raise BadMountOption("remount: nothing can be changed in a mount; unmount it, and mount it anew")
        elif name not in _IGNORED and not name.startswith(("x-", "X-")):
            raise BadMountOption(_unknown(name, value, table))
    if labels:
        found[MountOptions]["labels"] = tuple(labels.items())
    if kernel:
        found[MountOptions]["kernel"] = tuple(flag for flag, on in kernel.items() if on)
    return found


def _read(name: str, option: Option, value: str | None) -> Any:
    if isinstance(option.kind, bool):
        return option.kind == parse_flag(value, name)
    if not value:
        raise BadMountOption(f"{name} needs a value: {name}={option.kind.metavar}")
    return option.kind.parse(value, name)


def _unknown(name: str, value: str | None, table: Mapping[str, Option]) -> str:
    near = difflib.get_close_matches(name, table, 1)
    meant = f"did you mean {near[0]}? " if near else ""
    shown = name if value is None else f"{name}={value}"
    # The limits as one: the line shall fit on a screen.
    names = {n if isinstance(o.kind, bool) else f"{n}=" for n, o in table.items()}
    known = " ".join(sorted({"limit_...=" if n.startswith("limit_") else n for n in names}))
    return f"unknown mount option {shown!r}; {meant}there are: {known}"


def libfuse_options(options: MountOptions, source: str) -> set[str]:
    """What libfuse is told; ``source`` is what df and findmnt show."""
    # pyfuse3 passes ASCII only; commas and backslashes are libfuse's separators.
    shown = re.sub(r"[^ -~]", lambda c: "".join(f"%{b:02X}" for b in c[0].encode("utf-8", "surrogateescape")), source)
    shown = shown.replace("\\", "\\\\").replace(",", "\\,")
    found = {f"fsname={shown}", "subtype=gtfs", "nosuid", "nodev", *options.kernel}
    found |= {f'{name}="{escape_value(value)}"' for name, value in options.labels}  # the kernel wants the quotes
    if options.read_only:
        found.add("ro")
    if options.allow_other:
        found.add("allow_other")
    if options.default_permissions:
        found.add("default_permissions")
    return found
