# SPDX-License-Identifier: GPL-3.0-or-later
"""A bare repository for tests that move refs: commits and tags, signed or not, made one by one."""

from __future__ import annotations

import subprocess
from pathlib import Path

from keys import Keys

from gtfs.ids import SHA1, ObjectId
from gtfs.repo.repository import Repository, create_repository

WHO = b"A U Thor <author@example.org> 1700000000 +0000"


class History:
    """Each commit has a message of its own, so that no two are the same."""

    def __init__(self, path: Path, keys: Keys | None = None) -> None:
        self.repository: Repository = create_repository(path, SHA1)
        self.path = path
        self.keys = keys
        self.count = 0
        self.tree = self.put("tree", b"")

    def git(self, *args: str, stdin: bytes = b"", code: int | None = 0) -> bytes:
        done = subprocess.run(["git", f"--git-dir={self.path}", *args], input=stdin, capture_output=True)
        assert code is None or done.returncode == code, done.stderr.decode()
        return done.stdout.strip()

    def put(self, kind: str, raw: bytes) -> ObjectId:
        out = self.git("hash-object", "-w", "-t", kind, "--stdin", stdin=raw)
        return ObjectId(bytes.fromhex(out.decode()))

    def commit(self, *parents: ObjectId, by: str | None = None) -> ObjectId:
        self.count += 1
        head = b"tree %s\n" % self.tree.hex().encode()
        head += b"".join(b"parent %s\n" % p.hex().encode() for p in parents)
        head += b"author %s\ncommitter %s\n" % (WHO, WHO)
        body = b"\ncommit %d\n" % self.count
        signature = b""
        if by is not None:
            assert self.keys is not None
            lines = self.keys.sign(head + body, by).rstrip(b"\n").split(b"\n")
            signature = b"gpgsig " + b"\n ".join(lines) + b"\n"
        return self.put("commit", head + signature + body)

    def chain(self, length: int, *start: ObjectId, by: str | None = None) -> list[ObjectId]:
        made: list[ObjectId] = []
        for _ in range(length):
            made.append(self.commit(*(made[-1:] or start), by=by))
        return made

    def tag(self, target: ObjectId, name: str, by: str | None = None, kind: str = "commit") -> ObjectId:
        raw = b"object %s\ntype %s\ntag %s\ntagger %s\n\ntag\n" % (
            target.hex().encode(), kind.encode(), name.encode(), WHO,
        )  # fmt: skip
        if by is not None:
            assert self.keys is not None
            raw += self.keys.sign(raw, by)
        return self.put("tag", raw)

    def ref(self, name: str, oid: ObjectId | None) -> None:
        if oid is None:
            self.git("update-ref", "-d", name)
        else:
            self.git("update-ref", name, oid.hex())

    def refs(self, below: str = "refs/heads refs/tags") -> dict[str, ObjectId]:
        out = self.git("for-each-ref", "--format=%(refname) %(objectname)", *below.split()).decode()
        return {name: ObjectId(bytes.fromhex(oid)) for name, oid in map(str.split, out.splitlines())}
