# SPDX-License-Identifier: GPL-3.0-or-later
"""What git's fsck finds in made-up objects and no setting forgives, or that harms old clients, is found here too."""

from __future__ import annotations

import random
import subprocess
import zlib
from pathlib import Path

import pytest
from alone import find_in

from gtfs.ids import SHA1
from gtfs.ingest.checkobjects import BadObject
from gtfs.ingest.faults import FAULTS, Severity
from gtfs.ingest.gitmodules import find_faults
from gtfs.pack.format import BLOB, COMMIT, KIND_NAMES, TAG, TREE

WHO = b"A U Thor <a@b> 1700000000 +0000"
NAMES = [b"a", b"a-", b"a0", b".git", b".GIT", b".git ", b"git~1", b".gitmodules", b".gitignore", b".gitattributes"]
NAMES += [b".mailmap", b"a\\.git", b".", b"..", b"a/b", b"git~2", b".g\xe2\x80\x8cit", b".gitmodules ", b"GI7EBA~1"]
NAMES += [b"gitmod~1", b"x\\.gitmodules", b"x\\..", b".git::$INDEX_ALLOCATION", b".git:x", b".git.", b"..git", b"\r"]
NAMES += [
    b".git\xff",
    b".g\xe2\x80\x8cit\xfc",
    b".git\xef\xbf\xbe",
    b".git\xed\xa0\x80x",
    b".gitmodules\xff",
    b".git\xc3\xbc",
]
NAMES += [b".gitmodules\xf4\x90\x80\x80", b".git.\xff", b".gitattributes\xe2\x80", b"a\\.git\xff", b".git\xff\\x"]
MODES = [b"100644", b"40000", b"120000", b"160000", b"040000", b"100664", b"0160000", b"40755", b"0"]
PIECES = [b"author " + WHO + b"\n", b"committer " + WHO + b"\n", b"tagger " + WHO + b"\n", b"author ", b"A ", b"<a@b>"]
PIECES += [
    b" 1 ",
    b"+0000",
    b"\n",
    b"\n\n",
    b"\0",
    b">",
    b"<",
    b" ",
    b"01",
    b"9" * 20,
    b"-1",
    b"\t",
    b"\r",
    b"gpgsig x\n",
]
WORDS = [b'[submodule "x"]\n', b'[submodule "a/../b"]', b'[submodule "\\..\\"]', b"[SubModule.y]\n", b"[core]\n", b'"']
WORDS += [
    b'[submodule ""]\n',
    b"\turl = ",
    b"\tpath = ",
    b"update=",
    b"-u",
    b"https://",
    b"http:///x",
    b"git://a",
    b"../",
]
WORDS += [b"./", b":h", b"%0a", b"!sh", b"\n", b"\n", b"\r\n", b"\\\n", b"\\t", b"# c", b" ", b"<<<<", b"=", b"host/a"]
WORDS += [b"@", b"?", b"[", b"\xef\xbb\xbf", b"\0", b"\r", b'[submodule "q\\"r"]\n', b'[a "b"] url=-x\n', b"url\n"]
WORDS += [
    b'[submodule\r"x"]\n',
    b'[submodule \r "x"]\n',
    b"[]\n",
    b'[submodule. "."]\n',
    b'[submodule.. "/x"]\n',
    b"[submodule.]",
]


class Loose:
    """A repository whose objects are written without git looking at them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made: dict[str, tuple[int, bytes]] = {}
        subprocess.run(["git", "init", "-q", "--bare", str(path)], check=True)

    def put(self, kind: int, data: bytes) -> bytes:
        oid = SHA1.hash_object(KIND_NAMES[kind], data)
        file = self.path / "objects" / oid.hex()[:2] / oid.hex()[2:]
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(zlib.compress(b"%s %d\0%s" % (KIND_NAMES[kind], len(data), data), 1))
        self.made[oid.hex()] = (kind, data)
        return oid

    def git_finds(self) -> dict[str, set[str]]:
        """git's names of faults, by object."""
        done = subprocess.run(["git", "-C", str(self.path), "fsck", "--strict", "--no-dangling"], capture_output=True)
        found: dict[str, set[str]] = {}
        for line in (done.stderr + done.stdout).decode(errors="replace").splitlines():
            words = line.split()
            if words[:1] in (["error"], ["warning"]) and words[1:2] == ["in"]:
                found.setdefault(words[3].rstrip(":"), set()).add(words[4].rstrip(":"))
        return found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_git_finds_in_trees_commits_and_tags(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    loose = Loose(tmp_path / "loose.git")
    blob = loose.put(BLOB, b"a\n")
    inside = loose.put(TREE, b"100644 a\0" + blob)
    for _ in range(400):
        entries = []
        for mode in chance.choices(MODES, k=chance.randint(1, 4)):
            oid = inside if mode in (b"40000", b"040000", b"40755") else blob
            entries.append((mode, chance.choice(NAMES), bytes(20) if mode.endswith(b"160000") else oid))
        if chance.random() < 0.7:
            entries.sort(key=lambda e: e[1] + (b"/" if e[2] == inside else b""))
        loose.put(TREE, b"".join(b"%s %s\0%s" % entry for entry in entries))
        rest = b"".join(chance.choices(PIECES, k=chance.randint(0, 6)))
        if chance.random() < 0.6:
            who = bytearray(WHO)
            for piece in chance.choices(PIECES[4:], k=2):
                at = chance.randrange(len(who))
                who[at : at + chance.randint(0, 3)] = piece
            rest = b"author %s\ncommitter %s%s" % (who, WHO, chance.choice([b"\n\nm\n", b"\n", b"", b"\nx\0\n\n"]))
        loose.put(COMMIT, b"tree %s\n%s" % (inside.hex().encode(), rest))
        head = b"object %s\ntype blob\ntag v1\n" % blob.hex().encode()
        loose.put(TAG, head + rest.replace(b"author", b"tagger"))
    missed = []
    for oid, found in loose.git_finds().items():
        if oid not in loose.made:
            continue  # the null id, as a submodule named .gitmodules
        kind, data = loose.made[oid]
        try:
            ours = {f.fault.name for f in find_in(kind, data)}
        except BadObject:
            continue
        assert found <= FAULTS.keys(), f"git has a fault that the table lacks: {found}"
        grave = {f for f in found - ours if FAULTS[f].is_fatal or FAULTS[f].severity is not Severity.CARRIED}
        if grave - {"gitmodulesBlob"}:  # which is told of what an entry names
            missed.append((grave, data))
    assert not missed


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_git_finds_in_gitmodules(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    loose = Loose(tmp_path / "loose.git")
    for _ in range(800):
        data = b"".join(chance.choices(WORDS, k=chance.randint(1, 14)))
        loose.put(TREE, b"100644 .gitmodules\0" + loose.put(BLOB, data))
    found = loose.git_finds()
    assert len(found) > 100
    for oid, names in found.items():
        kind, data = loose.made[oid]
        if kind == BLOB:
            ours = {text.partition(":")[0] for text in find_faults(data)}
            assert names - {"gitmodulesParse"} <= ours, data
