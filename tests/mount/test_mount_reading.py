# SPDX-License-Identifier: GPL-3.0-or-later
"""What a mount shows, and what a read gets."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from fakefs import make_pack
from waiting import WAIT_S


def name_of(payload: bytes) -> str:
    return make_pack(payload)[0].hex() + ".pack"


PLAIN = b"plain " + bytes(range(256)) * 8192
LAZY = b"lazy " + b"x" * 5_000_000


def test_every_pack_is_listed_once_and_control_is_not(fake_mount):
    m = fake_mount(many=3000)
    names = os.listdir(m.dir)
    assert len(names) == len(set(names)) == 3006
    assert ".gtfs" not in names and name_of(b"many 2999") in names


def test_attributes_are_exact_without_reading(fake_mount):
    m = fake_mount()
    plain, slow, old = (os.stat(m.dir / name_of(p)) for p in (PLAIN, b"slow remote", b"old"))
    assert plain.st_size == len(make_pack(PLAIN)[1])
    assert plain.st_mtime == 1_700_000_000 and plain.st_mode == 0o100444 and plain.st_nlink == 1
    assert plain.st_blocks == -(-plain.st_size // 512) and slow.st_blocks == 0
    assert old.st_mtime == -315619200
    assert (plain.st_uid, plain.st_gid) == (os.getuid(), os.getgid())
    assert m.status()["reads"] == []


def test_inodes_are_the_same_after_a_remount(fake_mount):
    m = fake_mount(many=5)
    before = {e.name: e.inode() for e in os.scandir(m.dir)}
    assert m.unmount() == 0
    m = fake_mount(many=5)
    assert {e.name: os.stat(e).st_ino for e in os.scandir(m.dir)} == before


def test_a_pack_reads_back_whole_and_in_parts(fake_mount):
    m = fake_mount()
    data = make_pack(PLAIN)[1]
    assert (m.dir / name_of(PLAIN)).read_bytes() == data
    with open(m.dir / name_of(LAZY), "rb") as f:
        f.seek(4_000_000)
        assert f.read(10) == make_pack(LAZY)[1][4_000_000:4_000_010]
        f.seek(10_000_000)
        assert f.read(10) == b""


def test_the_page_cache_survives_a_reopening(fake_mount):
    m = fake_mount()
    for _ in range(3):
        (m.dir / name_of(PLAIN)).read_bytes()
    assert sum(length for _, _, length, _ in m.status()["reads"]) <= len(make_pack(PLAIN)[1])


def test_read_ahead_grows_only_while_reading_in_order(fake_mount):
    m = fake_mount("read_ahead=1M")
    with open(m.dir / name_of(LAZY), "rb", buffering=0) as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for offset in (3_000_000, 500_000, 4_500_000):
            os.pread(f.fileno(), 4096, offset)
    assert [ahead for *_, ahead in m.status()["reads"]] == [0, 0, 0]
    (m.dir / name_of(LAZY)).read_bytes()
    assert 1 << 20 in [ahead for *_, ahead in m.status()["reads"]]


def test_a_read_without_peer_ends_with_etimedout(fake_mount):
    m = fake_mount("read_timeout=0.3")
    with pytest.raises(OSError) as caught:
        (m.dir / name_of(b"slow remote")).read_bytes()
    assert caught.value.errno == errno.ETIMEDOUT


def test_a_read_while_offline_ends_with_enodata(fake_mount):
    m = fake_mount()
    with pytest.raises(OSError) as caught:
        (m.dir / name_of(b"offline remote")).read_bytes()
    assert caught.value.errno == errno.ENODATA


def test_a_bug_costs_one_read_an_eio_and_the_mount_stays_up(fake_mount):
    m = fake_mount()
    with pytest.raises(OSError) as caught:
        (m.dir / name_of(b"bug here")).read_bytes()
    assert caught.value.errno == errno.EIO
    assert (m.dir / name_of(b"old")).read_bytes() == make_pack(b"old")[1]
    assert "KeyError: 'bug'" in m.log.read_text()


def hanging_reads(m, count: int = 1) -> tuple[list[threading.Thread], list[int | None]]:
    errors: list[int | None] = []
    opened = threading.Barrier(count + 1)

    def read() -> None:
        fd = os.open(m.dir / name_of(b"slow remote"), os.O_RDONLY)
        opened.wait(WAIT_S)
        try:
            os.read(fd, 10)
        except OSError as error:
            errors.append(error.errno)
        with contextlib.suppress(OSError):  # the mount may be gone
            os.close(fd)

    threads = [threading.Thread(target=read) for _ in range(count)]
    for thread in threads:
        thread.start()
    opened.wait(WAIT_S)
    m.wait(lambda: m.status()["reads"] != [], "the hanging read")
    return threads, errors


def test_hanging_reads_do_not_stop_other_requests(fake_mount):
    m = fake_mount("read_timeout=1h")
    threads, _ = hanging_reads(m, 30)
    assert len(os.listdir(m.dir)) == 6
    assert (m.dir / name_of(b"old")).read_bytes() == make_pack(b"old")[1]
    m.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(WAIT_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_hanging_reads_at_once_and_unmounts(fake_mount, number):
    m = fake_mount("read_timeout=1h")
    threads, errors = hanging_reads(m)
    m.process.send_signal(number)
    assert m.process.wait(WAIT_S) == 0
    threads[0].join(WAIT_S)
    assert errors and errors[0] in (errno.ESHUTDOWN, errno.ECONNABORTED, errno.ENOTCONN)
    assert not os.path.ismount(m.dir) and os.listdir(m.dir) == []
    assert f"ended by {number.name}" in m.log.read_text()


def test_control_c_ends_a_program_whose_read_hangs(fake_mount):
    m = fake_mount("read_timeout=1h")
    cat = subprocess.Popen(["cat", m.dir / name_of(b"slow remote")], stdout=subprocess.DEVNULL)
    m.wait(lambda: m.status()["reads"] != [], "the hanging read")
    cat.send_signal(signal.SIGINT)
    assert cat.wait(WAIT_S) == -signal.SIGINT
    m.process.send_signal(signal.SIGTERM)
    assert m.process.wait(WAIT_S) == 0


def test_a_lazy_unmount_ends_hanging_reads_and_then_the_process(fake_mount):
    m = fake_mount("read_timeout=1h")
    threads, errors = hanging_reads(m)
    subprocess.run(["umount", "-l", str(m.dir)], check=True, timeout=WAIT_S)
    threads[0].join(WAIT_S)
    assert errors == [errno.ESHUTDOWN]
    assert m.process.wait(WAIT_S) == 0


def test_a_forced_unmount_ends_the_process(fake_mount):
    m = fake_mount("read_timeout=1h")
    threads, _ = hanging_reads(m)
    subprocess.run(["umount", "-f", str(m.dir)], capture_output=True, timeout=WAIT_S)
    threads[0].join(WAIT_S)
    subprocess.run(["umount", str(m.dir)], capture_output=True, timeout=WAIT_S)
    assert m.process.wait(WAIT_S) == 0


def test_unmount_ends_the_process_cleanly(fake_mount):
    m = fake_mount()
    os.listdir(m.dir)
    assert m.unmount() == 0
    assert "ended by unmount" in m.log.read_text()


def test_packs_cannot_be_changed(fake_mount):
    m = fake_mount()
    path = m.dir / name_of(PLAIN)
    for attempt in (
        lambda: os.open(path, os.O_WRONLY),
        lambda: os.open(path, os.O_RDWR | os.O_CREAT),
        lambda: os.truncate(path, 0),
        lambda: os.unlink(path),
        lambda: os.rename(path, m.dir / "other"),
        lambda: os.link(path, m.dir / "link"),
        lambda: os.symlink("x", m.dir / "symlink"),
        lambda: os.mkdir(m.dir / "dir"),
        lambda: os.mknod(m.dir / "node"),
        lambda: (m.dir / ".gtfs" / "refs" / "new").write_bytes(b""),
        lambda: os.unlink(m.dir / ".gtfs" / "status"),
        lambda: os.rename(m.dir / ".gtfs" / "status", m.dir / "status"),
    ):
        with pytest.raises(PermissionError) as caught:
            attempt()
        assert caught.value.errno == errno.EPERM
    with pytest.raises(FileExistsError):
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with pytest.raises(FileExistsError):
        os.mkdir(m.dir / ".gtfs")
    assert path.read_bytes() == make_pack(PLAIN)[1]


def test_a_read_only_mount_says_erofs(fake_mount):
    m = fake_mount("ro")
    for attempt in (
        lambda: (m.dir / "new").write_bytes(b""),
        lambda: os.unlink(m.dir / name_of(PLAIN)),
        lambda: os.mkdir(m.dir / "dir"),
    ):
        with pytest.raises(OSError) as caught:
            attempt()
        assert caught.value.errno == errno.EROFS


def test_the_control_directory_has_texts_links_and_real_files(fake_mount):
    m = fake_mount()
    control = m.dir / ".gtfs"
    assert sorted(os.listdir(control)) == ["ranged", "real", "refs", "status"]
    assert (control / "refs" / "main").resolve() == m.dir / name_of(PLAIN)
    assert os.stat(control / "refs" / "main").st_size == len(make_pack(PLAIN)[1])
    assert (control / "real").read_bytes() == b"real file\n" * 1000
    assert (control / "ranged").read_bytes() == b"0123456789" * 10_000
    assert (control / "hidden").read_bytes() == b"hi"  # not listed, like .gtfs itself
    with pytest.raises(FileNotFoundError):
        os.stat(control / "nothing")
    with pytest.raises(NotADirectoryError):
        os.stat(control / "status" / "x")


def test_extended_attributes_tell_the_state(fake_mount):
    m = fake_mount()
    path = m.dir / name_of(PLAIN)
    assert os.getxattr(path, "user.gtfs.state") == b"verified"
    assert sorted(os.listxattr(path)) == ["user.gtfs.reel", "user.gtfs.state"]
    wanted = {"user.other": errno.ENODATA, "user.gtfs.nothing": errno.ENODATA, "security.capability": errno.EOPNOTSUPP}
    for name, number in wanted.items():
        with pytest.raises(OSError) as caught:
            os.getxattr(path, name)
        assert caught.value.errno == number
    assert os.getxattr(path, "user.gtfs.reel") == b"ab"
    assert os.listxattr(m.dir) == []


def test_statfs_shows_the_store(fake_mount):
    m = fake_mount()
    assert shutil.disk_usage(m.dir).total == 1 << 40
    assert os.statvfs(m.dir).f_namemax == 255


def test_a_new_pack_is_seen_at_once(fake_mount):
    m = fake_mount()
    oid, data = make_pack(b"new")
    path = m.dir / (oid.hex() + ".pack")
    assert not path.exists()
    path.write_bytes(data)
    assert path.exists()


def test_a_rewound_directory_is_read_anew(fake_mount):
    m = fake_mount(many=600)
    fd = os.open(m.dir, os.O_RDONLY)
    try:
        first = os.listdir(fd)
        (m.dir / "new").write_bytes(b"")
        assert set(os.listdir(fd)) - set(first) == {"new"}
    finally:
        os.close(fd)


def test_mmap_and_sendfile_read(fake_mount, tmp_path: Path):
    import mmap

    m = fake_mount()
    data = make_pack(PLAIN)[1]
    with open(m.dir / name_of(PLAIN), "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as view:
        assert view[:] == data
    shutil.copyfile(m.dir / name_of(PLAIN), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


def test_du_shows_what_is_local(fake_mount):
    m = fake_mount()
    said = subprocess.run(["du", "-B1", m.dir / name_of(LAZY)], capture_output=True, check=True).stdout
    assert int(said.split()[0]) == 0


def test_many_readers_at_once_get_their_own_bytes(fake_mount):
    m = fake_mount(many=50)
    wrong: list[int] = []

    def read(i: int) -> None:
        for k in range(i, 50, 4):
            if (m.dir / name_of(b"many %d" % k)).read_bytes() != make_pack(b"many %d" % k)[1]:
                wrong.append(k)

    threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_access_says_what_can_be_done(fake_mount):
    m = fake_mount()
    pack, own = m.dir / name_of(PLAIN), m.dir / "own"
    own.write_bytes(b"x")
    for path, can_write, can_run in ((pack, False, False), (own, True, False), (m.dir, True, True)):
        assert os.access(path, os.R_OK) and os.access(path, os.W_OK) is can_write
        assert os.access(path, os.X_OK) is can_run, path
    own.chmod(0o755)
    assert os.access(own, os.X_OK)
    assert os.access(m.dir / ".gtfs", os.X_OK) and not os.access(m.dir / ".gtfs" / "status", os.X_OK)
