# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of files that ordinary programs write into a mount."""

from __future__ import annotations

import errno
import mmap
import os
import random
import subprocess
import threading
from pathlib import Path

import pytest
from fakefs import make_pack
from waiting import WAIT_S
from written_pack import DATA, NAME, PAYLOAD, is_taken_in, name_of, written


def pack_file(tmp_path: Path, payload: bytes = PAYLOAD) -> Path:
    path = tmp_path / "src" / name_of(payload)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(make_pack(payload)[1])
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=WAIT_S)


@pytest.mark.parametrize(
    "command", [("cp",), ("cp", "-a"), ("cp", "--sparse=always"), ("mv",), ("install", "-m", "644")]
)
def test_coreutils_bring_a_pack(fake_mount, tmp_path, command):
    m = fake_mount()
    path = pack_file(tmp_path)
    done = run(*command, path, m.dir / path.name)
    assert (done.returncode, done.stderr) == (0, "")
    assert is_taken_in(m)


@pytest.mark.parametrize(
    "options", [(), ("--inplace",), ("--partial",), ("--sparse",), ("--fsync",), ("--whole-file",), ("-X",)]
)
def test_rsync_brings_a_pack(fake_mount, tmp_path, options):
    m = fake_mount()
    path = pack_file(tmp_path)
    done = run("rsync", "-a", *options, f"{path.parent}/", f"{m.dir}/")
    assert (done.returncode, done.stderr) == (0, "")
    assert is_taken_in(m)


def test_rsync_between_two_mounts_brings_every_pack_in_any_order(fake_mount, tmp_path):
    a, b = fake_mount(name="a"), fake_mount(name="b")
    last = b"root pack"
    for i in range(20):  # each waits for the one before; written in an order of names, not of parents
        pack_file(tmp_path, last)
        last = b"waits:%s %d" % (make_pack(last)[0].hex().encode(), i)
    path = pack_file(tmp_path, last)
    assert run("cp", *path.parent.iterdir(), a.dir).returncode == 0
    for pack in path.parent.iterdir():
        a.wait_verified(pack.name)
    done = run("rsync", "-a", "--exclude", name_of(b"slow remote"), "--exclude", name_of(b"bug here"),
               "--exclude", name_of(b"offline remote"), f"{a.dir}/", f"{b.dir}/")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    for pack in path.parent.iterdir():
        b.wait_verified(pack.name)
    assert sorted(os.listdir(a.dir)) == sorted(os.listdir(b.dir))
    again = run("rsync", "-ai", "--exclude", name_of(b"bug here"), f"{a.dir}/", f"{b.dir}/")
    assert [line for line in again.stdout.splitlines() if line.startswith(">")] == [], "nothing is sent twice"


def test_shells_and_dd_bring_a_pack(fake_mount, tmp_path):
    m = fake_mount()
    path = pack_file(tmp_path)
    assert run("sh", "-c", f"cat {path} > {m.dir / path.name}").returncode == 0
    other = pack_file(tmp_path, b"by dd" * 9999)
    assert run("dd", f"if={other}", f"of={m.dir / other.name}", "bs=1000", "conv=fsync").returncode == 0
    assert is_taken_in(m) and is_taken_in(m, b"by dd" * 9999)


def test_a_torrent_client_writes_out_of_order_with_many_closes(fake_mount):
    m = fake_mount()
    fd = os.open(m.dir / NAME, os.O_RDONLY | os.O_CREAT, 0o644)
    os.close(fd)
    offsets = list(range(0, len(DATA), 16384))
    random.Random(2).shuffle(offsets)
    for n, offset in enumerate(offsets):
        fd = os.open(m.dir / NAME, os.O_RDWR)
        if n == 0:
            os.ftruncate(fd, len(DATA))
        os.pwrite(fd, DATA[offset : offset + 16384], offset)
        assert os.pread(fd, 16, offset) == DATA[offset : offset + 16]
        os.close(fd)
    assert is_taken_in(m)


def test_aria2s_manner_zero_fill_then_random_writes_beside_a_renamed_control_file(fake_mount):
    m = fake_mount()
    fd = os.open(m.dir / NAME, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.write(fd, bytes(len(DATA)))
    os.fsync(fd)
    for _ in range(3):
        (m.dir / f"{NAME}.aria2__temp").write_bytes(b"control")
        os.rename(m.dir / f"{NAME}.aria2__temp", m.dir / f"{NAME}.aria2")
    for offset in range((len(DATA) - 1) // 16384 * 16384, -1, -16384):
        os.pwrite(fd, DATA[offset : offset + 16384], offset)
    os.close(fd)
    os.unlink(m.dir / f"{NAME}.aria2")
    assert is_taken_in(m)


def test_a_part_file_renamed_when_complete_is_checked_and_taken_in(fake_mount):
    m = fake_mount()
    (m.dir / f"{NAME}.part").write_bytes(DATA)
    os.rename(m.dir / f"{NAME}.part", m.dir / NAME)
    assert is_taken_in(m)


def test_a_file_renamed_while_open_is_checked_at_its_close(fake_mount):
    m = fake_mount()
    fd = os.open(m.dir / "part", os.O_WRONLY | os.O_CREAT)
    os.write(fd, DATA[:1000])
    os.rename(m.dir / "part", m.dir / NAME)
    os.write(fd, DATA[1000:])
    os.close(fd)
    assert is_taken_in(m)


def test_mapped_writes_arrive(fake_mount):
    m = fake_mount()
    fd = os.open(m.dir / NAME, os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, len(DATA))
    with mmap.mmap(fd, len(DATA)) as view:
        os.close(fd)
        view[:] = DATA
    assert is_taken_in(m)


def test_a_second_writer_gets_ebusy_and_a_reader_does_not(fake_mount):
    m = fake_mount()
    fd = os.open(m.dir / "file", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"first")
    for attempt in (
        lambda: os.open(m.dir / "file", os.O_WRONLY),
        lambda: os.open(m.dir / "file", os.O_RDWR | os.O_TRUNC),
        lambda: os.truncate(m.dir / "file", 0),
    ):
        with pytest.raises(OSError) as caught:
            attempt()
        assert caught.value.errno == errno.EBUSY
    assert (m.dir / "file").read_bytes() == b"first"
    os.close(fd)
    assert (m.dir / "file").write_bytes(b"second") == 6


def test_a_writer_may_open_again_right_after_its_close(fake_mount):
    m = fake_mount()
    for i in range(300):
        with open(m.dir / "file", "r+b" if i else "wb") as f:
            f.write(b"%d" % i)


def test_a_waiting_pack_stays_readable_and_unwritable_until_its_parent_comes(fake_mount):
    m = fake_mount()
    parent = b"the parent"
    child = b"waits:%s " % make_pack(parent)[0].hex().encode()
    oid, data = make_pack(child)
    name = oid.hex() + ".pack"
    assert written(m, data, name) == 0
    m.wait(lambda: m.state_of(name) == "queued", "the handover")
    assert (m.dir / name).read_bytes() == data and name in os.listdir(m.dir)
    with pytest.raises(OSError) as caught:
        os.open(m.dir / name, os.O_WRONLY)
    assert caught.value.errno == errno.EBUSY
    assert written(m, make_pack(parent)[1], name_of(parent)) == 0
    m.wait_verified(name)
    assert os.listdir(m.dir).count(name) == 1


def test_the_same_pack_a_second_time_is_checked_and_dropped(fake_mount):
    m = fake_mount()
    assert written(m, DATA) == 0
    m.wait_verified(NAME)
    (m.dir / "again").write_bytes(DATA)
    os.rename(m.dir / "again", m.dir / NAME)
    assert is_taken_in(m) and not (m.dir / "again").exists()
    (m.dir / "wrong").write_bytes(DATA[:-1])
    with pytest.raises(OSError) as caught:
        os.rename(m.dir / "wrong", m.dir / NAME)
    assert caught.value.errno == errno.EBADMSG


def test_ones_own_unfinished_file_can_be_removed_and_replaced(fake_mount):
    m = fake_mount()
    (m.dir / "a").write_bytes(b"a")
    (m.dir / "b").write_bytes(b"b")
    os.rename(m.dir / "a", m.dir / "b")
    assert (m.dir / "b").read_bytes() == b"a" and not (m.dir / "a").exists()
    with open(m.dir / "b", "rb") as f:
        os.unlink(m.dir / "b")
        assert f.read() == b"a"
    assert os.listdir(m.state / "incoming") == []


def test_times_and_mode_of_an_incoming_file_are_kept(fake_mount):
    m = fake_mount()
    (m.dir / "f").write_bytes(b"x")
    os.utime(m.dir / "f", ns=(5, 1_600_000_000_123_456_789))
    os.chmod(m.dir / "f", 0o440)
    found = os.stat(m.dir / "f")
    assert found.st_mtime_ns == 1_600_000_000_123_456_789 and found.st_mode == 0o100440
    assert (m.dir / "f").read_bytes() == b"x"


def test_unfinished_files_survive_a_remount_and_whole_ones_are_taken_in(fake_mount):
    m = fake_mount()
    (m.dir / "half").write_bytes(b"half")
    assert m.unmount() == 0
    (m.state / "incoming" / NAME).write_bytes(DATA)
    m = fake_mount()
    assert (m.dir / "half").read_bytes() == b"half"
    m.wait_verified(NAME)
    (m.dir / "half").write_bytes(b"more")
    os.unlink(m.dir / "half")
    assert is_taken_in(m)


def test_the_incoming_limit_is_edquot_and_is_given_back(fake_mount):
    m = fake_mount("incoming_limit=100K")
    fd = os.open(m.dir / "f", os.O_WRONLY | os.O_CREAT)
    os.write(fd, bytes(60_000))
    os.write(fd, bytes(60_000))  # short: as much as fits
    for attempt in (lambda: os.write(fd, bytes(60_000)), lambda: os.ftruncate(fd, 1 << 40)):
        with pytest.raises(OSError) as caught:
            attempt()
        assert caught.value.errno == errno.EDQUOT
    assert "over the limit incoming: 102400 bytes" in m.status()["trouble"]
    assert m.log.read_text().count("over the limit") == 1
    os.close(fd)
    os.unlink(m.dir / "f")
    (m.dir / "g").write_bytes(bytes(90_000))
    assert m.status()["trouble"] is None


def test_a_full_disk_is_enospc_and_the_mount_stays_up(fake_mount, tmp_path):
    small = tmp_path / "m.state" / "incoming"
    small.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(small)], check=True)
    try:
        m = fake_mount()
        with pytest.raises(OSError) as caught:
            (m.dir / NAME).write_bytes(DATA)
        assert caught.value.errno == errno.ENOSPC
        assert (m.dir / NAME).stat().st_size <= 256 << 10
        os.unlink(m.dir / NAME)
        assert written(m, make_pack(b"small")[1], name_of(b"small")) == 0
        m.wait_verified(name_of(b"small"))
        assert m.unmount() == 0
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_names_of_any_bytes_work_and_long_ones_do_not(fake_mount):
    m = fake_mount()
    for name in (b"\xff\xfe", b" ", b"-rf", b"a\nb", b"x" * 255):
        path = os.fsencode(m.dir) + b"/" + name
        with open(path, "wb") as f:
            f.write(name)
        assert name in os.listdir(os.fsencode(m.dir))
        os.unlink(path)
    with pytest.raises(OSError) as caught:
        (m.dir / ("x" * 256)).write_bytes(b"")
    assert caught.value.errno == errno.ENAMETOOLONG


def test_only_the_mounting_user_writes(fake_mount):
    m = fake_mount("allow_other")
    m.dir.parent.chmod(0o755)
    for parent in list(m.dir.parents)[:-2]:
        parent.chmod(parent.stat().st_mode | 0o055)
    script = f"""
import os
os.setgid(65534); os.setuid(65534); os.chdir({str(m.dir)!r})
print(len(os.listdir()))
open("x", "w")
"""
    done = run("python3", "-c", script)
    assert done.stdout == "6\n" and "Permission denied" in done.stderr
    assert (m.dir / "x").exists() is False


def test_concurrent_writers_of_different_names_do_not_mix(fake_mount):
    m = fake_mount()
    payloads = [b"%d " % i + random.Random(i).randbytes(200_000) for i in range(8)]
    results: list[int] = []

    def write(payload: bytes) -> None:
        results.append(written(m, make_pack(payload)[1], name_of(payload)))

    threads = [threading.Thread(target=write, args=(p,)) for p in payloads]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [0] * 8
    assert all(is_taken_in(m, p) for p in reversed(payloads))


def test_append_and_posix_fallocate_work(fake_mount):
    m = fake_mount()
    for part in (b"one ", b"two"):
        with open(m.dir / "log", "ab") as f:
            f.write(part)
    assert (m.dir / "log").read_bytes() == b"one two"
    fd = os.open(m.dir / "pre", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(fd, 0, 100_000)
    assert os.fstat(fd).st_size == 100_000
    os.close(fd)


def test_a_truncation_to_nothing_by_name_leaves_a_listed_pack_as_it_is(fake_mount):
    m = fake_mount()
    place = m.dir / name_of(b"offline remote")
    before = place.stat()
    os.truncate(place, 0)
    after = place.stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size) and before.st_size
