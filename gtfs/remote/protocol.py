# SPDX-License-Identifier: GPL-3.0-or-later
"""The language of gitremote-helpers(7): what git says on standard input, and how it is answered. Any thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from gtfs.errors import Blame, GtfsError
from gtfs.ids import ObjectFormat, ObjectId, parse_object_id

OK: Final = "ok"
UNSUPPORTED: Final = "unsupported"
_PARTS: Final = {  # and what git's users type for them
    "depth": "--depth",
    "deepen-since": "--shallow-since",
    "deepen-not": "--shallow-exclude",
    "deepen-relative": "--deepen",
    "filter": "--filter",
}
_WHOLE: Final = ("", "0", "false", str(2**31 - 1))  # git's words for no part; the last is that of --unshallow


class BadCommand(GtfsError):
    """What git said is none of the commands that it was told of."""

    fault = Blame.USAGE

    def __init__(self, line: bytes) -> None:
        super().__init__(f"git said {line.decode('utf-8', 'replace')!r}, which is no command of this helper")


class PartRefused(GtfsError):
    """A part of history was asked for."""

    fault = Blame.USAGE

    def __init__(self, option: str) -> None:
        text = (
            f"{_PARTS[option]} asks for a part, and a feed gives history whole, as it is verified whole: leave it out, "
            "or clone from a repository on this machine"
        )
        if option == "filter":  # which git fetch writes down before it asks us
            text += (
                "\nIf you gave none, git has it from a fetch before: git config --unset remote.NAME.partialclonefilter"
            )
        super().__init__(text)


@dataclass(frozen=True)
class Want:
    """An object that git wants, and the ref that it was listed under."""

    oid: ObjectId
    name: bytes

    @property
    def is_by_id(self) -> bool:
        """Whether the object was named and no ref, as by ``git fetch REMOTE ID``."""
        return self.name == self.oid.hex().encode()


@dataclass(frozen=True)
class RefList:
    """What there is: refs, and the branch that HEAD names, if it is one of them."""

    fmt: ObjectFormat
    refs: Mapping[bytes, ObjectId]
    head: bytes | None

    def lines(self, *, with_format: bool) -> Iterator[bytes]:
        """The answer to ``list``, but for the empty line at its end."""
        if with_format:
            yield b":object-format %s" % self.fmt.name.encode()
        if self.head in self.refs:
            yield b"@%s HEAD" % self.head
        for name, oid in sorted(self.refs.items()):
            yield b"%s %s" % (oid.hex().encode(), name)

    def ref_of(self, name: bytes) -> bytes:
        """The ref of this name; of HEAD the branch that it names."""
        return self.head if name == b"HEAD" and self.head is not None else name


@dataclass
class Options:
    """What git has set."""

    verbosity: int = 1
    progress: bool = False
    object_format: bool = False

    def set(self, name: str, value: str) -> str:
        """The answer to ``option``; raises `PartRefused`."""
        if name in _PARTS and value not in _WHOLE:
            raise PartRefused(name)
        if name == "verbosity" and value.removeprefix("-").isdecimal():
            self.verbosity = int(value)
        elif name == "progress":
            self.progress = value == "true"
        elif name == "object-format":
            # Git says true, or the format that it wants: the answer to list tells the one that there is.
            self.object_format = True
        elif name not in ("cloning", "followtags", "dry-run", "atomic", "cas", "force", *_PARTS):
            return UNSUPPORTED
        return OK


class Conversation:
    """Reads git's lines and writes ours; nothing is read ahead, as another program may go on reading."""

    def __init__(self, stdin: BinaryIO, stdout: BinaryIO) -> None:
        self._stdin = stdin  # unbuffered
        self._stdout = stdout

    def commands(self) -> Iterator[bytes]:
        """Until git closes its end, or says with an empty line that this is all."""
        while line := self._stdin.readline().rstrip(b"\n"):
            yield line

    def wants(self, first: bytes) -> list[Want]:
        """The whole batch of ``fetch`` lines that begins with this one; raises `BadCommand`."""
        wants = []
        line = first
        while line:
            word, _, rest = line.partition(b" ")
            oid, _, name = rest.partition(b" ")
            if word != b"fetch" or not name:
                raise BadCommand(line)
            wants.append(Want(parse_object_id(oid.decode("ascii", "replace")), name))
            line = self._stdin.readline().rstrip(b"\n")
        return wants

    def say(self, lines: Sequence[bytes] | Iterator[bytes] = (), *, ends: bool = True) -> None:
        """Answer, with the empty line that ends an answer of several lines."""
        text = b"".join(line + b"\n" for line in lines)
        self._stdout.write(text + (b"\n" if ends else b""))
        self._stdout.flush()
