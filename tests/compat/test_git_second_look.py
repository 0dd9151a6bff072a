# SPDX-License-Identifier: GPL-3.0-or-later
"""What a signed catalogue names by SHA-256 is looked at by git all the same (design.md §8.6, §14)."""

from __future__ import annotations

import hashlib
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gtfs.ids import SHA1, ObjectId, PackDigest
from gtfs.ingest import batch
from gtfs.ingest.candidate import Candidate
from gtfs.repo import unpack
from gtfs.repo.repository import Repository, create_repository
from gtfs.repo.unpack import GitRefused
from gtfs.state.state import State

WHO = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A"), ("EMAIL", "a@example.org"), ("DATE", "1700000000 +0000"))
}


def word(repository: Repository, *command: str, stdin: bytes = b"") -> str:
    return repository.git(*command, stdin=stdin, env=WHO).decode().strip()


def promised(repository: Repository, oids: Sequence[str], path: Path) -> Candidate:
    """A pack of these objects, the first of which is its commit, as a reel's table names it."""
    names = "".join(f"{oid}\n" for oid in oids).encode()
    pack = repository.git("pack-objects", "--stdout", "--no-reuse-delta", "--depth=0", "-q", stdin=names)
    path.write_bytes(pack)
    digest = PackDigest(hashlib.sha256(pack).digest())
    return Candidate(ObjectId(bytes.fromhex(oids[0])), path, 0, len(pack), digest, is_ours=True)


def line_of_commits(repository: Repository, directory: Path, count: int) -> list[Candidate]:
    """Each with a file of its own that is new."""
    made: list[Candidate] = []
    parent: list[str] = []
    for number in range(count):
        blob = word(repository, "hash-object", "-w", "--stdin", stdin=b"%d\n" % number)
        tree = word(repository, "mktree", stdin=f"100644 blob {blob}\tf\n".encode())
        commit = word(repository, "commit-tree", tree, "-m", "c", *parent)
        parent = ["-p", commit]
        made.append(promised(repository, [commit, tree, blob], directory / f"{number}.pack"))
    return made


def test_each_pack_of_git_s_comes_out_of_an_index_pack_that_is_strict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MAX_PACKS", 3)
    candidates = line_of_commits(create_repository(tmp_path / "pub.git", SHA1), tmp_path, 8)
    run = subprocess.run
    strict: list[str] = []

    def watched(command: Sequence[str], **more: Any) -> subprocess.CompletedProcess[bytes]:
        if "index-pack" in command:
            strict.extend(word for word in command if word.startswith("--strict"))
        return run(command, **more)

    monkeypatch.setattr(unpack.subprocess, "run", watched)
    with State(create_repository(tmp_path / "mirror.git", SHA1)) as state:
        outcome = state.ingest().run(candidates)
        assert outcome.unpacked == [c.oid for c in candidates]
        assert len(strict) == len(list((state.repository.objects / "pack").glob("*.pack"))) == 3


@pytest.mark.warns
def test_a_promised_pack_that_leaves_out_what_its_tree_names_does_not_come_in_nor_what_stands_on_it(
    tmp_path: Path,
) -> None:
    repository = create_repository(tmp_path / "pub.git", SHA1)
    good = line_of_commits(repository, tmp_path, 2)
    blob = word(repository, "hash-object", "-w", "--stdin", stdin=b"left out\n")
    tree = word(repository, "mktree", stdin=f"100644 blob {blob}\tf\n".encode())
    commit = word(repository, "commit-tree", tree, "-m", "bad", "-p", good[-1].oid.hex())
    bad = promised(repository, [commit, tree], tmp_path / "bad.pack")
    child = promised(repository, [word(repository, "commit-tree", tree, "-m", "child", "-p", commit)], tmp_path / "c")
    with State(create_repository(tmp_path / "mirror.git", SHA1)) as state:
        outcome = state.ingest().run([*good, bad, child])
        assert outcome.unpacked == [c.oid for c in good]
        [(refused, why)] = outcome.refused
        assert refused.oid == bad.oid
        assert isinstance(why, GitRefused)
        assert [c.oid for c, _ in outcome.waiting] == [child.oid]
        state.repository.git("fsck", "--full", "--connectivity-only")


@pytest.mark.warns
def test_an_object_that_is_here_with_other_bytes_is_refused_and_what_is_here_stays(tmp_path: Path) -> None:
    """As if the two had one id: what lies under the name of the one are the bytes of the other."""
    repository = create_repository(tmp_path / "pub.git", SHA1)
    good, bad, child = line_of_commits(repository, tmp_path, 3)
    blob = word(repository, "hash-object", "--stdin", stdin=b"1\n")
    with State(create_repository(tmp_path / "mirror.git", SHA1)) as state:
        here = state.repository.objects / blob[:2] / blob[2:]
        here.parent.mkdir()
        here.write_bytes(zlib.compress(b"blob 2\0" + b"!\n"))
        outcome = state.ingest().run([good, bad, child])
        assert outcome.unpacked == [good.oid]
        [(refused, why)] = outcome.refused
        assert refused.oid == bad.oid and "COLLISION" in str(why) and blob in str(why)
        assert [c.oid for c, _ in outcome.waiting] == [child.oid]
        assert zlib.decompress(here.read_bytes()) == b"blob 2\0!\n"
        assert state.repository.git("rev-list", "--count", good.oid.hex()).strip() == b"1"
