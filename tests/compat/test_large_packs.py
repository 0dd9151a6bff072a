# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository with large git packs takes new commits, and what this machine lacks is no word about the objects."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from dulwich.pack import write_pack_index_v2

from gtfs.ids import SHA1, ObjectId
from gtfs.ingest.candidate import Candidate
from gtfs.pack.format import entry_header
from gtfs.pack.limits import GIB
from gtfs.repo import bounds, unpack
from gtfs.repo.known import KnownObjects
from gtfs.repo.repository import GitFailed, Repository, create_repository, open_repository
from gtfs.repo.sieve import Sieve
from gtfs.state.state import State

BLOCK = 65535  # the longest that deflate stores
HUGE = (GIB * 3 // 2) // BLOCK * BLOCK
FILES = [b"a", b"b", b"c"]

HISTORY = b"".join(
    b"commit refs/heads/main\ncommitter A <a@example.org> %d +0000\ndata 1\nc\n" % (1_700_000_000 + n)
    + b"".join(
        b"M 100644 inline %s\ndata %d\n%s\n" % (f, 40_000 + n, f * (39_936 - n) + b"\n" * (64 + 2 * n)) for f in FILES
    )
    for n in range(2)
)


@pytest.fixture
def publisher(tmp_path: Path) -> Repository:
    """Two commits; the second one's blobs are deltas of the first one's."""
    repository = create_repository(tmp_path / "p.git", SHA1)
    repository.git("fast-import", "--quiet", stdin=HISTORY)
    return repository


@pytest.fixture
def offered(publisher: Repository) -> list[Candidate]:
    with State(publisher) as state:
        state.take_up()
        return [
            Candidate(row.oid, state.layout.open_reel, row.offset or 0, row.size, row.digest, is_ours=True)
            for row in state.index.packs.open_rows()
        ]


class SparsePack:
    """A git pack that takes little room on the disk: of a huge blob of zeros, only deflate's headers are written."""

    def __init__(self, path: Path, count: int) -> None:
        self._file = path.open("w+b")
        self._entries: list[tuple[bytes, int, int]] = []
        self._file.write(struct.pack(">4sII", b"PACK", 2, count))

    def add(self, kind: int, name: bytes, data: bytes) -> None:
        at = self._file.tell()
        packed = entry_header(kind, len(data)) + zlib.compress(data)
        self._file.write(packed)
        self._entries.append((hashlib.sha1(b"%s %d\0" % (name, len(data)) + data).digest(), at, zlib.crc32(packed)))

    def add_zeros(self, size: int) -> None:
        at = self._file.tell()
        self._file.write(entry_header(3, size) + b"\x78\x01")
        for done in range(BLOCK, size + 1, BLOCK):
            self._file.write(struct.pack("<BHH", done == size, BLOCK, BLOCK ^ 0xFFFF))
            self._file.seek(BLOCK, 1)
        self._file.write(struct.pack(">I", (size % 65521) << 16 | 1))  # adler32 of zeros
        digest = hashlib.sha1(b"blob %d\0" % size)
        zeros = bytes(1 << 24)
        for left in range(size, 0, -len(zeros)):
            digest.update(memoryview(zeros)[: min(left, len(zeros))])
        self._entries.append((digest.digest(), at, 0))  # git looks at the checksum when it copies, not when it reads

    def finish(self) -> None:
        self._file.flush()
        self._file.seek(0)
        digest = hashlib.file_digest(self._file, "sha1").digest()
        self._file.seek(0, 2)
        self._file.write(digest)
        self._file.close()
        with Path(self._file.name).with_suffix(".idx").open("wb") as index:
            write_pack_index_v2(index, sorted(self._entries), digest)


def test_a_git_pack_of_3_gib_takes_new_commits(publisher: Repository, offered: list[Candidate], tmp_path: Path) -> None:
    first, second = (c.oid.hex() for c in offered)
    mirror = create_repository(tmp_path / "m.git", SHA1)
    directory = mirror.objects / "pack"
    directory.mkdir(exist_ok=True)
    pack = SparsePack(directory / f"pack-{'1' * 40}.pack", 7)
    pack.add(1, b"commit", publisher.git("cat-file", "commit", first))
    pack.add(2, b"tree", publisher.git("cat-file", "tree", f"{first}^{{tree}}"))
    # So far from each other that no window of a gigabyte reaches two of them.
    blobs = [publisher.git("cat-file", "blob", f"{first}:{name.decode()}") for name in FILES]
    pack.add(3, b"blob", blobs[0])
    pack.add_zeros(HUGE)
    pack.add(3, b"blob", blobs[1])
    pack.add_zeros(HUGE - BLOCK)
    pack.add(3, b"blob", blobs[2])
    pack.finish()
    mirror.git("update-ref", "refs/heads/main", first)
    with State(mirror) as state:
        state.take_up()
        outcome = state.ingest().run(offered[1:])
        assert [oid.hex() for oid in outcome.unpacked] == [second]
    mirror.git("cat-file", "-e", f"{second}:c")


def test_an_index_with_offsets_of_eight_bytes_is_read(publisher: Repository, tmp_path: Path) -> None:
    publisher.git("repack", "-adq")
    (pack,) = (publisher.objects / "pack").glob("*.pack")
    index = pack.with_suffix(".idx")
    before = index.stat().st_size
    index.unlink()
    publisher.git("index-pack", "--index-version=2,0x40", str(pack))
    names = publisher.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)").decode().split()
    assert index.stat().st_size == before + 8 * (len(names) - 1)  # all but the first stand behind that
    with KnownObjects(publisher) as known:
        assert all(ObjectId(bytes.fromhex(name)) in known for name in names)
        assert ObjectId(bytes(20)) not in known
    sieve = Sieve(len(names))
    assert sieve.add(index, publisher.fmt)
    assert all(sieve.may_have(ObjectId(bytes.fromhex(name))) for name in names)
    with State(publisher) as state:
        state.take_up()
        assert len(state.index.packs.open_rows()) == 2


def test_lack_of_memory_is_no_refusal(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with State(create_repository(tmp_path / "m.git", SHA1)) as state:
        with monkeypatch.context() as patch:
            patch.setattr(unpack, "memory_bytes", lambda *_args: 16 << 20)
            with pytest.raises(GitFailed) as caught:
                state.ingest().run(offered)
        assert caught.value.exit_code == 7
        assert state.index.packs.count_by_stage() == {}
        assert len(state.ingest().run(offered).unpacked) == 2


@pytest.mark.parametrize("signal", ["KILL", "XCPU"])
def test_a_git_that_is_killed_has_refused_nothing(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signal: str
) -> None:
    with State(create_repository(tmp_path / "m.git", SHA1)) as state:
        with monkeypatch.context() as patch:
            patch.setattr(unpack, "index_pack_command", lambda *_args: ["sh", "-c", f"kill -{signal} $$"])
            with pytest.raises(GitFailed, match=f"was ended by SIG{signal}"):
                state.ingest().run(offered)
        outcome = state.ingest().run(offered)
        assert len(outcome.unpacked) == 2
        assert not outcome.refused


def test_a_lower_limit_of_this_process_is_kept(offered: list[Candidate], tmp_path: Path) -> None:
    repository = open_repository(offered[0].path.parents[1])
    command = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, ({700 << 20}, {800 << 20}))
from gtfs.repo.bounds import index_pack_command
from gtfs.repo.repository import open_repository
from pathlib import Path
print(index_pack_command(open_repository(Path({str(repository.path)!r})), [], {4 * GIB}, 0))
"""
    out = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True, text=True).stdout
    assert f"--as={700 << 20}" in out


def test_memory_grows_with_what_has_to_be_held_and_mapped(tmp_path: Path) -> None:
    repository = create_repository(tmp_path / "r.git", SHA1)
    least = bounds.memory_bytes(repository, 0)
    assert least == bounds.memory_bytes(repository, 1 << 20)
    assert bounds.memory_bytes(repository, 4 * GIB) >= least + 3 * 4 * GIB
    (repository.objects / "pack" / "pack-1.bitmap").write_bytes(bytes(5000))
    assert bounds.memory_bytes(repository, 0) == least + 5000


def test_there_is_memory_for_one_index_over_all_packs_that_comes_while_git_is_at_work(tmp_path: Path) -> None:
    # It has mapped each pack's own by then, and dies where it cannot map this.
    repository = create_repository(tmp_path / "r.git", SHA1)
    least = bounds.memory_bytes(repository, 0)
    place = repository.objects / "pack" / "pack"
    for number in range(3):
        oids = [repository.git("hash-object", "-w", "--stdin", stdin=b"%d %d" % (number, n)) for n in range(9)]
        repository.git("pack-objects", "-q", str(place), stdin=b"".join(oids))
    at_the_start = bounds.memory_bytes(repository, 0)
    repository.git("multi-pack-index", "write", "--no-progress")
    mapped = [*place.parent.glob("*.idx"), place.with_name("multi-pack-index")]
    assert (
        sum(file.stat().st_size for file in mapped)
        <= at_the_start - least
        == bounds.memory_bytes(repository, 0) - least
    )
