# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import os
import stat
import tempfile

import pytest
import trio

from gtfs.ids import ObjectId
from gtfs.mount.attributes import Attributes
from gtfs.mount.handles import ReadAhead
from gtfs.mount.incoming import IncomingFiles
from gtfs.mount.incomingfile import IncomingFile
from gtfs.mount.inodes import PACK_BASE, PassingInodes, pack_inode, pack_row
from gtfs.mount.lifetime import _stderr_kept
from gtfs.mount.mountpoint import mounted_on
from gtfs.mount.tree import PackInfo
from gtfs.pack.format import CorruptPack


def test_pack_inodes_are_rows_and_never_collide_with_passing_ones():
    table = PassingInodes()
    assert pack_row(pack_inode(1)) == 1 and pack_row(pack_inode(10**12)) == 10**12
    assert [pack_row(n) for n in (1, 2, PACK_BASE, table.number("x"))] == [None] * 4


def test_a_passing_inode_lives_as_long_as_its_lookups():
    table = PassingInodes()
    number = table.number("a")
    assert table.number("a") == number and table.key(number) == "a"
    table.looked_up(number)
    table.looked_up(number)
    table.forget(number, 1)
    assert table.key(number) == "a"
    table.forget(number, 1)
    assert table.key(number) is None and table.number("a") != number
    table.looked_up(5)
    table.forget(5, 1)


def test_read_ahead_doubles_in_order_up_to_its_limit_and_falls_back_on_a_jump():
    ahead = ReadAhead(1 << 20)
    step = 128 << 10
    windows = [ahead.seen(i * step, step) for i in range(6)]
    assert windows == [0, 256 << 10, 512 << 10, 1 << 20, 1 << 20, 1 << 20]
    assert ahead.seen(100 << 20, step) == 0
    assert ahead.seen((100 << 20) + step, step) == 256 << 10


@pytest.mark.parametrize("time_s", [0, -(10**9), 1 << 62, -(1 << 62)])
def test_any_committer_time_makes_attributes(time_s):
    entry = Attributes(1, 2, False).pack(PackInfo(3, ObjectId(bytes(20)), 10_000, time_s, "verified", 10_000))
    assert entry.st_ino == PACK_BASE + 3 and entry.st_blocks == 20 and entry.entry_timeout > 3600


def test_only_what_is_verified_and_local_is_cached_for_long():
    def timeout(stage: str, local: int) -> float:
        info = PackInfo(1, ObjectId(bytes(20)), 1000, 0, stage, local)
        return Attributes(0, 0, False).pack(info).attr_timeout

    assert timeout("verified", 1000) == timeout("unpacked", 1000) > 3600
    assert timeout("verified", 999) <= 1 and timeout("waiting", 1000) <= 1 and timeout("remote", 0) <= 1


def test_a_read_only_mount_shows_an_unwritable_root():
    assert stat.S_IMODE(Attributes(0, 0, True).directory(1, 0, writable=True).st_mode) == 0o555


@pytest.mark.warns
def test_bytes_of_incoming_files_are_counted_and_given_back(tmp_path):
    async def main() -> None:
        files = IncomingFiles(tmp_path, 100)
        a = await files.create(b"a", 0o644, writing=True)
        await files.contents.write(a, 0, bytes(60))
        b = await files.create(b"b", 0o644, writing=True)
        with pytest.raises(OSError) as caught:
            await files.contents.write(b, 0, bytes(41))
        assert caught.value.errno == errno.EDQUOT and b.file.size == 0
        await files.contents.truncate(a.file, 10, a)
        await files.contents.write(b, 0, bytes(90))
        await files.unlink(b.file)
        await files.contents.write(a, 10, bytes(90))
        await files.contents.close(b)
        await files.contents.close(a)
        assert sorted(os.listdir(tmp_path)) == ["a"]

    trio.run(main)


def test_straight_means_from_start_to_end_in_one_open(tmp_path):
    async def main() -> None:
        files = IncomingFiles(tmp_path, 10_000)
        h = await files.create(b"a", 0o644, writing=True)
        await files.contents.write(h, 0, b"12")
        await files.contents.write(h, 2, b"34")
        assert h.file.straight
        await files.contents.write(h, 1, b"x")
        assert not h.file.straight
        await files.contents.close(h)
        h = await files.contents.open(h.file, writing=True, truncate=True)
        await files.contents.write(h, 0, b"12")
        assert h.file.straight
        await files.contents.close(h)
        h = await files.contents.open(h.file, writing=True, truncate=False)
        await files.contents.write(h, 2, b"34")
        assert not h.file.straight
        assert await files.contents.read(h, 0, 10) == b"1234"
        await files.contents.close(h)
        assert h.file.fd is None

    trio.run(main)


def test_a_link_in_the_incoming_directory_is_not_followed(tmp_path):
    async def main() -> None:
        (tmp_path / "in").mkdir()
        (tmp_path / "secret").write_bytes(b"secret")
        (tmp_path / "in" / "link").symlink_to(tmp_path / "secret")
        files = IncomingFiles(tmp_path / "in", 100)
        await files.load()
        assert files.get(b"link") is None
        with pytest.raises(OSError):
            await files.create(b"link", 0o644, writing=True)

    trio.run(main)


def test_the_root_is_mounted_and_a_new_directory_is_not(tmp_path):
    found = mounted_on(tmp_path.__class__("/"))
    assert found is not None and found.path == b"/"
    assert mounted_on(tmp_path) is None


def test_a_file_that_was_taken_in_while_it_is_opened_is_stale_so_that_its_name_is_looked_up_again(tmp_path):
    async def main() -> None:
        files = IncomingFiles(tmp_path, 100)
        handle = await files.create(b"a", 0o644, writing=True)
        await files.contents.close(handle)
        handle.file.queued = True
        (tmp_path / "a").unlink()
        with pytest.raises(OSError) as caught:
            await files.contents.open(handle.file, writing=False, truncate=False)
        assert caught.value.errno == errno.ESTALE
        assert not handle.file.handles and files.get(b"a") is None

    trio.run(main)


def test_who_opens_a_file_in_the_moment_of_its_refusal_is_no_writer_of_it(tmp_path, monkeypatch):
    async def main() -> None:
        files = IncomingFiles(tmp_path, 100)
        handle = await files.create(b"a", 0o644, writing=True)
        await files.contents.write(handle, 0, b"bad")
        await files.contents.close(handle)
        file, need_fd = handle.file, files.contents._need_fd

        async def refused_meanwhile(file: IncomingFile) -> int:
            fd = await need_fd(file)
            file.refusal = CorruptPack("bad", 0)
            files.drop(file)
            return fd

        monkeypatch.setattr(files.contents, "_need_fd", refused_meanwhile)
        with pytest.raises(CorruptPack):
            await files.contents.open(file, writing=True, truncate=True)
        assert file.writer is None and not file.handles and file.fd is None

    trio.run(main)


def test_no_temporary_directory_is_needed_to_hear_what_libfuse_says(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")  # as where every disk is full
    with _stderr_kept() as said:
        os.write(2, b"why not\n")
    assert said == ["why not"]
