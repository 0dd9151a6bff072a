# SPDX-License-Identifier: GPL-3.0-or-later
"""``-o``: what mount(8), fstab and the command line say about a mount (mount.fuse.gtfs(8)). Pure; any thread.

The node's own options (peer, tracker, feed …) pass through by name; their meaning is not known here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Final

from gtfs.errors import GtfsError

MIB: Final = 1 << 20
GIB: Final = 1 << 30

_IGNORED: Final = frozenset(
    """rw auto noauto user nouser users group owner _netdev nofail defaults suid dev exec async atime diratime relatime
    norelatime strictatime nostrictatime iversion noiversion mand nomand silent loud nosuid nodev fsname subtype
    comment""".split()  # noqa: SIM905  a list of words is easier to read than of strings
)
_KERNEL: Final = frozenset(("noexec", "noatime", "nodiratime", "sync", "dirsync"))  # handed on as they are
_SIZE: Final = re.compile(r"(\d+)([KMGT]?)(?:iB)?\Z")
_TIME: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)?\Z")
_OWN_HELP: Final = "ro allow_other default_permissions uid= gid= read_timeout= read_ahead= incoming_limit="


class BadMountOption(GtfsError):
    """An option that nobody here knows, or with a value that does not fit."""

    exit_code = 2


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


def parse_size(text: str, option: str) -> int:
    """Bytes behind "65536", "512K", "64M" or "10G"; raises `BadMountOption`."""
    found = _SIZE.match(text)
    if not found:
        raise BadMountOption(f"{option}={text}: not a size such as 65536, 512K, 64M or 10G")
    return int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[found[2]]


def parse_seconds(text: str, option: str) -> float:
    """Seconds behind "30", "1.5", "30s", "5m" or "1h"; raises `BadMountOption`."""
    found = _TIME.match(text)
    if not found:
        raise BadMountOption(f"{option}={text}: not a time such as 30, 1.5, 5m or 1h")
    return float(found[1]) * {None: 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def _parse_id(text: str, option: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) >= 1 << 32:
        raise BadMountOption(f"{option}={text}: not a numeric id")
    return int(text)


def escape_value(value: object) -> str:
    """A value as it stands in a list of options, so that `split_options` gives it back."""
    return str(value).replace("\\", "\\\\").replace(",", "\\,")


def split_options(text: str) -> list[tuple[str, str | None]]:
    """Names and values of a comma-separated list; ``\\,`` and ``\\\\`` stand for the characters, as in mount.fuse."""
    items, item, escaped = [], "", False
    for char in text:
        if escaped:
            item, escaped = item + char, False
        elif char == "\\":
            escaped = True
        elif char == ",":
            items.append(item)
            item = ""
        else:
            item += char
    items.append(item)
    pairs = (i.partition("=") for i in items if i)
    return [(name, value if equals else None) for name, equals, value in pairs]


def parse_mount_options(
    text: str, node_keys: Collection[str], base: MountOptions | None = None
) -> tuple[MountOptions, dict[str, list[str]]]:
    """The mount's options and, by name, the values of those in ``node_keys``, in order ("" for a bare name).

    ``base`` is what an earlier ``-o`` gave. What mount(8) and fstab put there for everybody is ignored; anything else
    unknown raises `BadMountOption`, which lists what there is.
    """
    options, node = base or MountOptions(), dict[str, list[str]]()
    for name, value in split_options(text):
        if name in node_keys:
            node.setdefault(name, []).append(value or "")
        elif name == "ro" and value is None:
            options = replace(options, read_only=True)
        elif name == "allow_other" and value is None:
            options = replace(options, allow_other=True)
        elif name == "default_permissions" and value is None:
            options = replace(options, default_permissions=True)
        elif name in _KERNEL and value is None:
            options = replace(options, kernel=tuple(dict.fromkeys((*options.kernel, name))))
        elif name in _IGNORED or name.startswith("x-"):
            continue
        elif value is not None and name == "uid":
            options = replace(options, uid=_parse_id(value, name))
        elif value is not None and name == "gid":
            options = replace(options, gid=_parse_id(value, name))
        elif value is not None and name == "read_timeout":
            options = replace(options, read_timeout_s=parse_seconds(value, name))
        elif value is not None and name == "read_ahead":
            options = replace(options, read_ahead_bytes=parse_size(value, name))
        elif value is not None and name == "incoming_limit":
            options = replace(options, incoming_limit_bytes=parse_size(value, name))
        else:
            known = " ".join(sorted((*_OWN_HELP.split(), *node_keys)))
            shown = name if value is None else f"{name}={value}"
            raise BadMountOption(f"unknown mount option {shown!r}; there are: {known}")
    return options, node


def libfuse_options(options: MountOptions, source: str) -> set[str]:
    """What libfuse is told; ``source`` is what df and findmnt show."""
    # pyfuse3 passes ASCII only; commas and backslashes are libfuse's separators.
    shown = re.sub(r"[^ -~]", lambda c: "".join(f"%{b:02X}" for b in c[0].encode("utf-8", "surrogateescape")), source)
    shown = shown.replace("\\", "\\\\").replace(",", "\\,")
    found = {f"fsname={shown}", "subtype=gtfs", "nosuid", "nodev", *options.kernel}
    if options.read_only:
        found.add("ro")
    if options.allow_other:
        found.add("allow_other")
    if options.default_permissions:
        found.add("default_permissions")
    return found
