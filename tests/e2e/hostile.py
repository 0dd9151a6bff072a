# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs that nobody should let in, made byte by byte: each is sound but for the one thing that its name says."""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import NamedTuple

from gtfs.pack.format import BLOB, COMMIT, HEADER, MAGIC, REF_DELTA, TAG, TREE, VERSION, entry_header

_NAMES = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob", TAG: b"tag"}
PERSON = b"A U Thor <author@example.org> 1700000000 +0100"


class Object(NamedTuple):
    """A git object."""

    kind: int
    data: bytes

    @property
    def oid(self) -> bytes:
        return hashlib.sha1(b"%s %d\0" % (_NAMES[self.kind], len(self.data)) + self.data).digest()

    def entry(self) -> bytes:
        return entry_header(self.kind, len(self.data)) + zlib.compress(self.data, 1)


class Bad(NamedTuple):
    """A file for the mount. ``said`` stands in the reason that is kept; "" where nothing is to be kept."""

    oid: str
    data: bytes
    said: str


def blob(data: bytes) -> Object:
    return Object(BLOB, data)


def tree(*entries: tuple[bytes, bytes, Object]) -> Object:
    return Object(TREE, b"".join(b"%s %s\0%s" % (mode, name, obj.oid) for mode, name, obj in entries))


def commit(root: Object, *parents: str, message: bytes = b"message\n", headers: bytes = b"") -> Object:
    names = b"".join(b"parent %s\n" % parent.encode() for parent in parents)
    head = b"tree %s\n%sauthor %s\ncommitter %s\n%s" % (root.oid.hex().encode(), names, PERSON, PERSON, headers)
    return Object(COMMIT, head + b"\n" + message)


def seal(body: bytes) -> bytes:
    return body + hashlib.sha1(body).digest()


def pack(*entries: bytes | Object, count: int | None = None) -> bytes:
    parts = [e.entry() if isinstance(e, Object) else e for e in entries]
    return seal(HEADER.pack(MAGIC, VERSION, len(parts) if count is None else count) + b"".join(parts))


def ref_delta(base: bytes, instructions: bytes) -> bytes:
    return entry_header(REF_DELTA, len(instructions)) + base + zlib.compress(instructions, 1)


def number(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def good(name: bytes = b"file", data: bytes = b"sound contents\n") -> tuple[str, bytes]:
    """A root commit's id and pack, to start from."""
    file = blob(data)
    root = tree((b"100644", name, file))
    made = commit(root)
    return made.oid.hex(), pack(made, root, file)


def bad_packs() -> dict[str, Bad]:
    """By what is wrong."""
    file = blob(b"sound contents\n")
    root = tree((b"100644", b"file", file))
    sound = commit(root, message=b"another\n")
    oid, whole = sound.oid.hex(), pack(sound, root, file)
    body = whole[:-20]
    found: dict[str, Bad] = {}

    # What a transport does to a file. Not whole: cp hears of it, and the file stays its owner's.
    found["truncated"] = Bad(oid, whole[:-30], "")
    found["trailing bytes"] = Bad(oid, whole + b"trailing", "")
    found["a wrong trailer"] = Bad(oid, body + bytes(20), "")
    found["no pack at all"] = Bad(oid, b"just some text\n" * 10, "")

    # Whole, and wrong.
    other = commit(root, message=b"something else\n")
    found["under the wrong name"] = Bad(oid, pack(other, root, file), "this is the pack of")
    found["trailing bytes under a good trailer"] = Bad(oid, seal(body + b"trailing"), "after the last entry")
    stowaway = blob(b"nobody names this\n")
    found["a stowaway object"] = Bad(oid, pack(sound, root, file, stowaway), stowaway.oid.hex())
    found["an object twice"] = Bad(oid, pack(sound, root, file, file), "twice")
    found["an object that is missing"] = Bad(oid, pack(sound, root), file.oid.hex())
    missing = ref_delta(b"\x11" * 20, number(5) + number(len(file.data)) + bytes([len(file.data)]) + file.data)
    found["a missing base"] = Bad(oid, pack(sound, root, missing), "11" * 20)
    flipped = bytearray(body)
    flipped[-3] ^= 1
    found["a byte flipped under a good trailer"] = Bad(oid, seal(bytes(flipped)), "")
    found["fewer entries than it says"] = Bad(oid, pack(sound, root, file, count=4), "ends")
    found["more entries than it says"] = Bad(oid, pack(sound, root, file, count=2), "after the last entry")
    found["a million entries"] = Bad(oid, seal(struct.pack(">4sII", b"PACK", 2, 1_900_000) + body[12:]), "objects")
    found["another version"] = Bad(oid, seal(struct.pack(">4sII", b"PACK", 3, 3) + body[12:]), "")
    found["the tree first"] = Bad(oid, pack(root, sound, file), "first object")
    found["a blob as commit"] = Bad(file.oid.hex(), pack(file), "first object")

    # Bombs (§13).
    huge = entry_header(BLOB, (4 << 30) + 1) + zlib.compress(bytes(100 << 20), 9)
    found["an object over the limit"] = Bad(oid, pack(sound, root, huge), "over the limit object_bytes")
    copy = number(len(file.data)) + number(1 << 33) + b"\x91\x00\x01" * 100
    found["a delta that says it makes 8 GiB"] = Bad(oid, pack(sound, root, ref_delta(file.oid, copy)), "over the limit")
    more = number(1 << 16) + number(60 << 20) + (b"\x80" * 960)  # each instruction copies 64 KiB
    seed = blob(bytes(1 << 16))
    grown = tree((b"100644", b"file", seed))
    big = commit(grown)
    bomb = pack(big, grown, seed, ref_delta(seed.oid, more), ref_delta(seed.oid, more))
    found["a delta bomb"] = Bad(big.oid.hex(), bomb, "over the limit expansion")

    # What git fsck and our own rules forbid (§8.3).
    def hostile(name: str, *entries: tuple[bytes, bytes, Object], said: str = "") -> None:
        files = [obj for _, _, obj in entries]
        top = tree(*entries)
        made = commit(top, message=name.encode() + b"\n")
        unique = {o.oid: o for o in files}.values()
        trees = [o for o in unique if o.kind == TREE]
        found[name] = Bad(made.oid.hex(), pack(made, top, *trees, *(o for o in unique if o.kind == BLOB)), said)

    hostile("a file called .git", (b"100644", b".git", file))
    hostile("a file called .GIT", (b"100644", b".GIT", file))
    hostile("a file called ..", (b"100644", b"..", file))
    hostile("a file with a slash", (b"100644", b"a/b", file))
    hostile("a file of a strange mode", (b"100777", b"file", file))
    hostile("two files of one name", (b"100644", b"file", file), (b"100644", b"file", blob(b"other\n")))
    hostile("names that are not in order", (b"100644", b"b", file), (b"100644", b"a", file))
    hostile("a name of 300 bytes", (b"100644", b"n" * 300, file), said="over the limit")
    hostile("a backslash path", (b"100644", b"..\\up", file))
    hostile("a link into .git", (b"120000", b"link", blob(b".git/hooks/post-checkout")))
    hostile(
        "a bad .gitmodules", (b"100644", b".gitmodules", blob(b'[submodule "x"]\n\tpath = x\n\turl = -u./payload\n'))
    )
    no_person = Object(COMMIT, sound.data.replace(PERSON, b"A U Thor", 1))
    found["a commit without an author"] = Bad(no_person.oid.hex(), pack(no_person, root, file), "")
    return found


NOT_WHOLE = frozenset(("truncated", "trailing bytes", "a wrong trailer", "no pack at all", "another version"))
# Seen only when git links the objects: its writer hears nothing, and the reason is kept.
LATE = frozenset(("an object that is missing",))
