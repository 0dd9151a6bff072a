# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository for each fault of `gtfs.ingest.faults`, written as no git of today would write it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

WHO = b"A U Thor <author@example.org> 1700000000 +0000"


class OddRepository:
    """A bare repository into which anything can be put."""

    def __init__(self, path: Path, object_format: str = "sha1") -> None:
        self.path = path
        form = f"--object-format={object_format}"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", form, str(path)], check=True)
        self.blob = self.put("blob", b"a\n")
        self.plain = self.tree((b"100644", b"a", self.blob))

    def git(self, *words: str, data: bytes = b"") -> str:
        done = subprocess.run(["git", "--git-dir", str(self.path), *words], input=data, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def put(self, kind: str, data: bytes) -> str:
        return self.git("hash-object", "-w", "--literally", "-t", kind, "--stdin", data=data)

    def tree(self, *entries: tuple[bytes, bytes, str]) -> str:
        data = b"".join(mode + b" " + name + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries)
        return self.put("tree", data)

    def commit(
        self, root: str, *parents: str, author: bytes = WHO, committer: bytes = WHO, end: bytes = b"\n\nm\n"
    ) -> str:
        lines = [b"tree " + root.encode(), *(b"parent " + p.encode() for p in parents), b"author " + author]
        return self.put("commit", b"\n".join([*lines, b"committer " + committer]) + end)

    def raw_commit(self, *lines: bytes) -> str:
        return self.put("commit", b"\n".join([b"tree " + self.plain.encode(), *lines, b"", b"m\n"]))

    def tag(self, target: str, rest: bytes) -> str:
        return self.put("tag", b"object " + target.encode() + b"\ntype commit\n" + rest)

    def ref(self, name: str, oid: str) -> None:
        self.git("update-ref", name, oid)


# What makes the fault: gives what the ref is to name, and the object that has it.
Example = Callable[[OddRepository], tuple[str, str]]


def person(who: bytes) -> Example:
    def make(r: OddRepository) -> tuple[str, str]:
        oid = r.commit(r.plain, author=who)
        return oid, oid

    return make


def ending(end: bytes) -> Example:
    def make(r: OddRepository) -> tuple[str, str]:
        oid = r.commit(r.plain, end=end)
        return oid, oid

    return make


def lines(*rest: bytes) -> Example:
    def make(r: OddRepository) -> tuple[str, str]:
        oid = r.raw_commit(*rest)
        return oid, oid

    return make


def tagged(rest: bytes) -> Example:
    def make(r: OddRepository) -> tuple[str, str]:
        oid = r.tag(r.commit(r.plain), rest)
        return oid, oid

    return make


def entry(mode: bytes, name: bytes, contents: bytes | None = None) -> Example:
    """A root tree with this entry, which is what is wrong."""

    def make(r: OddRepository) -> tuple[str, str]:
        oid = r.blob if contents is None else r.put("blob", contents)
        root = r.tree((mode, name, oid))
        return r.commit(root), root

    return make


def directory(name: bytes, *, blame_child: bool = False) -> Example:
    def make(r: OddRepository) -> tuple[str, str]:
        root = r.tree((b"40000", name, r.plain))
        return r.commit(root), r.plain if blame_child else root

    return make


def submodule(name: bytes, oid: str = "11" * 20) -> Example:
    def make(r: OddRepository) -> tuple[str, str]:
        root = r.tree((b"160000", name, oid))
        return r.commit(root), root

    return make


def contents(name: bytes, text: bytes, mode: bytes = b"100644") -> Example:
    """A root tree with an entry whose contents are what is wrong."""

    def make(r: OddRepository) -> tuple[str, str]:
        oid = r.put("blob", text)
        return r.commit(r.tree((mode, name, oid))), oid

    return make


def modules(text: bytes) -> Example:
    return contents(b".gitmodules", b'[submodule "x"]\n\tpath = x\n' + text)


def unsorted(r: OddRepository) -> tuple[str, str]:
    root = r.tree((b"40000", b"a", r.plain), (b"100644", b"a-", r.blob))
    return r.commit(root), root


def twice(r: OddRepository) -> tuple[str, str]:
    root = r.tree((b"100644", b"a", r.blob), (b"100755", b"a", r.blob))
    return r.commit(root), root


def beside(r: OddRepository) -> tuple[str, str]:
    root = r.tree((b"120000", b"Doc", r.put("blob", b"doc")), (b"40000", b"doc", r.plain))
    return r.commit(root), root


EXAMPLES: dict[str, list[Example]] = {
    "nulInCommit": [ending(b"\n\na\0b\n")],
    "badTimezone": [person(b"A <a@b> 1 +000")],
    "missingSpaceBeforeDate": [person(b"A <a@b>1 +0000")],
    "missingTaggerEntry": [tagged(b"tag v1\n\nm\n")],
    "badDate": [person(b"C H <c@example.org> <c@example.org> 1305038239 -0700"), person(b"A <a@b> soon +0000")],
    "badDateOverflow": [person(b"A <a@b> 18446744073709551614 +0000"), person(b"A <a@b> " + b"9" * 30 + b" +0000")],
    "zeroPaddedDate": [person(b"A <a@b> 01 +0000")],
    "missingEmail": [person(b"A 1 +0000")],
    "badEmail": [person(b"A <a<b> 1 +0000")],
    "badName": [person(b"A> <a@b> 1 +0000")],
    "missingNameBeforeEmail": [person(b"<a@b> 1 +0000")],
    "missingSpaceBeforeEmail": [person(b"A<a@b> 1 +0000")],
    "missingAuthor": [lines(b"committer " + WHO)],
    "multipleAuthors": [lines(b"author " + WHO, b"author " + WHO, b"committer " + WHO)],
    "missingCommitter": [lines(b"author " + WHO)],
    "badTagName": [tagged(b"tag v 2\ntagger " + WHO + b"\n\nm\n")],
    "nulInHeader": [ending(b"\nx\0y\n\nm\n")],
    "unterminatedHeader": [ending(b""), tagged(b"tag v1\ntagger " + WHO)],
    "signatureWithoutEnd": [
        ending(b"\ngpgsig -----BEGIN PGP SIGNATURE-----\n\niQ\n-----END PGP SIGNATURE-----\n\nm\n")
    ],
    "zeroPaddedFilemode": [entry(b"0100644", b"a"), entry(b"0120000", b"a")],
    "badFilemode": [entry(b"100664", b"a"), entry(b"100640", b"a"), entry(b"100775", b"a")],
    "treeNotSorted": [unsorted],
    "nullSha1": [submodule(b"s", "00" * 20)],
    "largePathname": [entry(b"100644", b"n" * 5000), entry(b"100644", b"n" * 256)],
    "controlCharacters": [entry(b"100644", b"Icon\r"), entry(b"100644", b"a\x1b[2Jb\n")],
    "linkBesideDirectory": [beside],
    "annexLink": [contents(b"v.mp4", b".git/annex/objects/4V/J0/SHA256E-s8--bb/SHA256E-s8--bb", b"120000")],
    "gitignoreSymlink": [entry(b"120000", b".gitignore", b"x")],
    "gitattributesSymlink": [entry(b"120000", b".gitattributes", b"x")],
    "mailmapSymlink": [entry(b"120000", b".mailmap", b"x")],
    "gitattributesBlob": [directory(b".gitattributes", blame_child=True)],
    "gitattributesLineLength": [contents(b".gitattributes", b"a" * 3000 + b" text\n")],
    "gitattributesLarge": [contents(b".gitattributes", b"* text\n" * (15 << 20))],
    "gitmodulesParse": [contents(b".gitmodules", b"<<<<<<< HEAD\n")],
    "hasDot": [entry(b"100644", b".")],
    "hasDotdot": [entry(b"100644", b"..")],
    "hasDotgit": [
        directory(b".git"),
        entry(b"100644", b".GiT"),
        entry(b"100644", b"git~1"),
        entry(b"100644", b".git\xff"),
    ],
    "fullPathname": [entry(b"100644", b"a/b")],
    "duplicateEntries": [twice],
    "backslashDotdot": [entry(b"100644", b"a\\..\\b")],
    "linkIntoDotgit": [contents(b"l", b".git/hooks/post-checkout", b"120000")],
    "submoduleControlCharacters": [submodule(b"sub\r")],
    "gitmodulesSymlink": [entry(b"120000", b".gitmodules", b"x")],
    "gitmodulesBlob": [directory(b".gitmodules", blame_child=True)],
    "gitmodulesLarge": [contents(b".gitmodules", b"#" * (2 << 20))],
    "gitmodulesName": [contents(b".gitmodules", b'[submodule "../../x"]\n\tpath = x\n')],
    "gitmodulesUrl": [
        modules(b"\turl = -u./payload\n"),
        modules(b"\turl = https:///x\n"),
        contents(b".gitmodules", b'[submodule\r"x"]\n\turl = -u\n'),
    ],
    "gitmodulesPath": [modules(b"\tpath = -x\n")],
    "gitmodulesUpdate": [modules(b"\tupdate = !sh\n")],
}
