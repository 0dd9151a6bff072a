# SPDX-License-Identifier: GPL-3.0-or-later
"""A bare repository for tests that move refs: commits and tags, signed or not, made one by one."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from keys import Keys

from gtfs.ids import SHA1, ObjectFormat, ObjectId
from gtfs.repo.repository import Repository, create_repository

WHO = b"A U Thor <author@example.org> 1700000000 +0000"


class History:
    """Each commit has a message of its own, so that no two are the same."""

    def __init__(self, path: Path, keys: Keys | None = None, fmt: ObjectFormat = SHA1) -> None:
        self.repository: Repository = create_repository(path, fmt)
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

    def tree_of(self, files: Mapping[str, bytes], mode: str = "100644") -> ObjectId:
        lines = [f"{mode} blob {self.put('blob', data).hex()}\t{name}\n" for name, data in files.items()]
        return ObjectId(bytes.fromhex(self.git("mktree", stdin="".join(lines).encode()).decode()))

    def commit(
        self, *parents: ObjectId, by: str | None = None, tree: ObjectId | None = None, ssh: Path | None = None
    ) -> ObjectId:
        """``by``: the name of an OpenPGP key; ``ssh``: an SSH key's file."""
        self.count += 1
        head = b"tree %s\n" % (tree or self.tree).hex().encode()
        head += b"".join(b"parent %s\n" % p.hex().encode() for p in parents)
        head += b"author %s\ncommitter %s\n" % (WHO, WHO)
        body = b"\ncommit %d\n" % self.count
        signature = b""
        if by is not None or ssh is not None:
            name = b"gpgsig " if self.repository.fmt is SHA1 else b"gpgsig-sha256 "
            lines = self.sign(head + body, by, ssh).rstrip(b"\n").split(b"\n")
            signature = name + b"\n ".join(lines) + b"\n"
        return self.put("commit", head + signature + body)

    def sign(self, data: bytes, by: str | None, ssh: Path | None = None, namespace: str = "git") -> bytes:
        if ssh is not None:
            command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(ssh), "-n", namespace]
            return subprocess.run(command, input=data, capture_output=True, check=True).stdout
        assert self.keys is not None and by is not None
        return self.keys.sign(data, by)

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


def bomb(history: History, *, levels: int, names: int, blob: bytes = b"x") -> ObjectId:
    """A commit of a few small trees that stands for names ** levels files."""
    oid, kind = history.put("blob", blob), "100644 blob"
    for _ in range(levels):
        lines = "".join(f"{kind} {oid.hex()}\t{n:02}\n" for n in range(names))
        oid, kind = ObjectId(bytes.fromhex(history.git("mktree", stdin=lines.encode()).decode())), "040000 tree"
    return history.commit(tree=oid)
