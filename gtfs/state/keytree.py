# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys in the tree of a commit: files, or directories with one key a file, as keyring teams keep them. Any thread.

Nothing is followed out of the tree, and a directory is not gone into: what lies below is another ring.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from gtfs.errors import Blame, GtfsError
from gtfs.ids import ObjectId
from gtfs.pack.trees import MissingObject
from gtfs.repo.catfile import CatFile
from gtfs.repo.repository import Repository
from gtfs.trust.keyfiles import KeyFiles, read_key_data
from gtfs.trust.keyring import KEYRING_BYTES, BadKeyring, merge_keys

FILES: Final = 20_000  # that are read; Debian's has about 900


class BadKeyTree(GtfsError):
    """A tree that cannot be used as a ring."""

    fault = Blame.TRUST


class KeyFileLost(BadKeyTree):
    """Git lacks a file of the tree: it may come back."""

    fault = Blame.SOURCE


class _Entry(NamedTuple):
    kind: str  # of `git ls-tree`
    oid: ObjectId
    size: int  # bytes, of a blob
    name: str  # fit for a terminal


def read_key_tree(repository: Repository, commit: ObjectId, paths: Sequence[str]) -> KeyFiles:
    """The keys below these paths; a file that has none is left out, and named.

    Raises `BadKeyTree`, where a path is not there or over a limit; `KeyFileLost`, `GnupgNotRun`, GitFailed, which say
    nothing of it.
    """
    entries = [entry for path in paths for entry in _files(repository, commit, path)]
    if len(entries) > FILES:
        raise BadKeyTree(f"over the limit of {FILES} files in the tree")
    if sum(entry.size for entry in entries) > KEYRING_BYTES:
        raise BadKeyTree(f"over the limit keyring: more than {KEYRING_BYTES} bytes in the tree")
    found = KeyFiles({}, [])
    with CatFile(repository) as reader:
        for entry in entries:
            try:
                data = reader.read(entry.oid, entry.size).data
                merge_keys(found.keys, read_key_data(data or b"", entry.name, found.left_out))
            except BadKeyring as error:
                found.left_out.append(f"{entry.name}: {error.reason}")
            except MissingObject:
                raise KeyFileLost(f"{entry.name} is missing in git") from None
    return found


def _files(repository: Repository, commit: ObjectId, path: str) -> list[_Entry]:
    """The file of this path, or those in the directory; links and submodules are none."""
    name = path.strip("/")
    tree = f"{commit.hex()}^{{tree}}"
    if name not in ("", "."):
        here = [entry for entry in _list(repository, tree, name) if entry.name == _shown(name)]
        if not here:
            raise BadKeyTree(f"there is no {_shown(name)} in the tree of {commit.hex()}")
        if here[0].kind == "blob":
            return here
        tree = here[0].oid.hex()
        if here[0].kind != "tree":
            raise BadKeyTree(f"{_shown(name)} is neither a file nor a directory in the tree of {commit.hex()}")
    below = "" if name in ("", ".") else name + "/"
    return [e._replace(name=_shown(below) + e.name) for e in _list(repository, tree) if e.kind == "blob"]


def _list(repository: Repository, tree: str, *path: str) -> Iterator[_Entry]:
    """Rows of ``git ls-tree``; symbolic links are left out."""
    for row in repository.git("ls-tree", "-z", "-l", "--full-tree", tree, "--", *path).split(b"\0")[:-1]:
        about, _, name = row.partition(b"\t")
        mode, kind, oid, size = about.split()
        if mode != b"120000":
            yield _Entry(
                kind.decode(), ObjectId(bytes.fromhex(oid.decode())), int(size) if size.isdigit() else 0,
                _shown(name.decode("utf-8", "surrogateescape")),
            )  # fmt: skip


def _shown(name: str) -> str:
    return name if name.isprintable() else ascii(name)[1:-1]
