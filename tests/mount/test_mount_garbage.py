# SPDX-License-Identifier: GPL-3.0-or-later
"""What has no business in a mount: garbage in great numbers, under odd names, of odd sizes, and operations that there
are none of. An errno says what is wrong; it is never EIO."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from fakefs import make_pack
from waiting import WAIT_S

PACK = make_pack(b"old")[0].hex() + ".pack"
MANY = 20_000
libc = ctypes.CDLL(None, use_errno=True)


def result(call: Callable[[], object]) -> str:
    """The name of the errno, or "0"."""
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno or 0].replace("ENOTSUP", "EOPNOTSUPP")
    return "0"


def by_libc(name: str, *arguments: object) -> Callable[[], None]:
    def call() -> None:
        if getattr(libc, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), name)

    return call


def garbage(n: int) -> bytes:
    return (b"%d\n" % n, b"\xff%d" % n, b"%040x.pack" % (n << 80), b"%d.torrent" % n, "ж".encode() * 100 + b"%d" % n)[
        n % 5
    ]


def test_twenty_thousand_garbage_files_are_listed_read_and_removed(fake_mount, tmp_path):
    incoming = os.fsencode(tmp_path / "m.state" / "incoming")
    os.makedirs(incoming)
    for n in range(MANY):
        with open(incoming + b"/" + garbage(n), "wb") as f:
            f.write(garbage(n) * (n % 3))
    m = fake_mount()
    directory = os.fsencode(m.dir)
    names = os.listdir(directory)
    assert len(names) == len(set(names)) == MANY + 6
    assert set(names) >= {garbage(n) for n in range(MANY)}
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(directory)}
    assert all(sizes[garbage(n)] == len(garbage(n)) * (n % 3) for n in range(MANY))
    for n in range(0, MANY, 97):
        with open(directory + b"/" + garbage(n), "rb") as f:
            assert f.read() == garbage(n) * (n % 3)
    for n in range(MANY, MANY + 300):
        with open(directory + b"/" + garbage(n), "wb") as f:
            f.write(garbage(n)) if n % 5 != 2 else None
    # Some removed while all are listed.
    subprocess.run(["find", m.dir, "-name", "*7.torrent", "-delete"], check=True, timeout=WAIT_S)
    left = set(os.listdir(directory))
    assert left == {n for n in left if not n.endswith(b"7.torrent")} and len(left) > MANY * 0.8
    assert set(os.listdir(incoming)) <= left
    assert m.unmount() == 0


@pytest.mark.parametrize("name", [b"a\nb", b"\xff\xfe\x01", b"\\", b"%s", b"-", b"a" * 255, "ß".encode() * 127])
def test_odd_names_live_through_everything(fake_mount, name):
    m = fake_mount()
    path = os.fsencode(m.dir) + b"/" + name
    with open(path, "wb") as f:
        f.write(name)
    assert os.stat(path).st_size == len(name)
    assert os.getxattr(path, "user.gtfs.state") == b"incoming"
    os.rename(path, path[:-1] + b"x")
    os.rename(path[:-1] + b"x", path)
    assert m.unmount() == 0
    m = fake_mount()
    assert name in os.listdir(os.fsencode(m.dir))
    with open(path, "rb") as f:
        assert f.read() == name
    os.unlink(path)


def test_sizes_of_nothing_and_of_a_terabyte(fake_mount):
    m = fake_mount()
    (m.dir / "empty").write_bytes(b"")
    (m.dir / ("1" * 40 + ".pack")).write_bytes(b"")
    assert (m.dir / "empty").stat().st_size == 0 and (m.dir / ("1" * 40 + ".pack")).read_bytes() == b""
    fd = os.open(m.dir / "sparse", os.O_RDWR | os.O_CREAT)
    limit = "EDQUOT"  # incoming_limit is 10 GiB
    assert result(lambda: os.ftruncate(fd, 1 << 40)) == limit
    assert result(lambda: os.pwrite(fd, b"x", 1 << 40)) == limit
    assert result(lambda: os.truncate(m.dir / "empty", 1 << 40)) == limit
    assert result(lambda: os.ftruncate(fd, (1 << 63) - 1)) in (limit, "EFBIG")
    assert result(lambda: os.pwrite(fd, b"x", (1 << 63) - 2)) in (limit, "EFBIG", "EINVAL")
    assert os.fstat(fd).st_size == 0
    os.ftruncate(fd, 9 << 30)  # below the limit, and sparse
    assert os.pread(fd, 10, (9 << 30) - 10) == bytes(10)
    assert result(lambda: os.ftruncate(fd, (10 << 30) + 1)) == limit
    os.close(fd)
    m.unmount()
    m = fake_mount("incoming_limit=2T")
    fd = os.open(m.dir / "sparse", os.O_RDWR)
    assert result(lambda: os.ftruncate(fd, 1 << 40)) in ("0", "EFBIG")
    os.close(fd)
    # A pack's name over nothing but a hole: not read through at each close.
    os.rename(m.dir / "sparse", m.dir / "sparse2")
    assert result(lambda: os.rename(m.dir / "sparse2", m.dir / ("2" * 40 + ".pack"))) == "EBADMSG"
    os.unlink(m.dir / "sparse2")


def test_deep_and_long_paths(fake_mount):
    m = fake_mount()
    for deep in (
        "a/b",
        "a/" * 1000 + "b",
        "/".join("x" * 200 for _ in range(10)),
        f"{PACK}/x",
        f"{PACK}/" + "y/" * 500,
    ):
        wanted = "ENOTDIR" if deep.startswith(PACK) else "ENOENT"
        assert result(partial(os.stat, m.dir / deep)) == wanted
        assert result(partial((m.dir / deep).write_bytes, b"")) == wanted
    for name in ("x" * 256, "ß" * 128, f"{'0' * 251}.pack"):
        for call in (
            lambda name=name: (m.dir / name).write_bytes(b""),
            lambda name=name: (m.dir / name).stat(),
            lambda name=name: (m.dir / name).mkdir(),
            lambda name=name: os.rename(m.dir / "file", m.dir / name),
            lambda name=name: os.unlink(m.dir / name),
        ):
            (m.dir / "file").touch()
            assert result(call) == "ENAMETOOLONG"
    assert result(lambda: os.stat(m.dir / ("y/" * 3000))) == "ENAMETOOLONG"
    assert result(lambda: os.stat(m.dir / ".gtfs" / "refs" / ("z" * 256))) in ("ENAMETOOLONG", "ENOENT")


# In the manner of pjdfstest. {file} is one's own unfinished file, {pack} a verified pack, {new} a name that is free.
ERRNOS: list[tuple[str, str, Callable[[Path, Path, Path], object]]] = [
    ("mkdir", "EPERM", lambda f, p, n: os.mkdir(n)),
    ("mkdir over a file", "EEXIST", lambda f, p, n: os.mkdir(f)),
    ("mkdir over a pack", "EEXIST", lambda f, p, n: os.mkdir(p)),
    ("mkdir over .gtfs", "EEXIST", lambda f, p, n: os.mkdir(p.parent / ".gtfs")),
    ("rmdir of a file", "ENOTDIR", lambda f, p, n: os.rmdir(f)),
    ("rmdir of .gtfs", "EPERM EBUSY ENOTEMPTY", lambda f, p, n: os.rmdir(p.parent / ".gtfs")),
    ("rmdir of nothing", "ENOENT", lambda f, p, n: os.rmdir(n)),
    ("symlink", "EPERM", lambda f, p, n: os.symlink("x", n)),
    ("symlink over a file", "EEXIST", lambda f, p, n: os.symlink("x", f)),
    ("link of a file", "EPERM", lambda f, p, n: os.link(f, n)),
    ("link of a pack", "EPERM", lambda f, p, n: os.link(p, n)),
    ("mkfifo", "EPERM", lambda f, p, n: os.mkfifo(n)),
    ("mknod", "EPERM", lambda f, p, n: os.mknod(n, 0o20600, 0)),
    ("bind of a socket", "EPERM", lambda f, p, n: socket.socket(socket.AF_UNIX).bind(str(n)[-100:])),
    ("open of nothing", "ENOENT", lambda f, p, n: os.open(n, os.O_RDONLY)),
    ("open exclusively over a file", "EEXIST", lambda f, p, n: os.open(f, os.O_RDWR | os.O_CREAT | os.O_EXCL)),
    ("open exclusively over a pack", "EEXIST", lambda f, p, n: os.open(p, os.O_RDWR | os.O_CREAT | os.O_EXCL)),
    ("open of a pack to write", "EPERM", lambda f, p, n: os.open(p, os.O_WRONLY)),
    ("open of a pack to append", "EPERM", lambda f, p, n: os.open(p, os.O_WRONLY | os.O_APPEND)),
    ("open of a pack to truncate", "EPERM", lambda f, p, n: os.open(p, os.O_RDONLY | os.O_TRUNC)),
    ("open of a file as a directory", "ENOTDIR", lambda f, p, n: os.open(f, os.O_DIRECTORY)),
    ("open of the root to write", "EISDIR", lambda f, p, n: os.open(f.parent, os.O_WRONLY)),
    ("O_TMPFILE", "EOPNOTSUPP EISDIR", lambda f, p, n: os.open(f.parent, os.O_TMPFILE | os.O_RDWR)),
    ("unlink of a pack", "EPERM", lambda f, p, n: os.unlink(p)),
    ("unlink of nothing", "ENOENT", lambda f, p, n: os.unlink(n)),
    ("unlink of .gtfs", "EISDIR EPERM", lambda f, p, n: os.unlink(p.parent / ".gtfs")),
    ("truncate of a pack", "EPERM", lambda f, p, n: os.truncate(p, 3)),
    ("truncate to less than nothing", "EINVAL", lambda f, p, n: os.truncate(f, -1)),
    ("truncate of a directory", "EISDIR", lambda f, p, n: os.truncate(f.parent, 0)),
    ("rename of nothing", "ENOENT", lambda f, p, n: os.rename(n, f)),
    ("rename of a pack", "EPERM", lambda f, p, n: os.rename(p, n)),
    ("rename of a file over a pack", "EBADMSG EPERM", lambda f, p, n: os.rename(f, p)),
    ("rename of .gtfs", "EPERM", lambda f, p, n: os.rename(p.parent / ".gtfs", n)),
    ("rename of a file over .gtfs", "EEXIST EISDIR EPERM", lambda f, p, n: os.rename(f, p.parent / ".gtfs")),
    ("rename of a file into .gtfs", "EPERM EXDEV", lambda f, p, n: os.rename(f, p.parent / ".gtfs" / "x")),
    ("rename out of the mount", "EXDEV", lambda f, p, n: os.rename(f, f.parents[1] / "x")),
    ("rename of the mount", "EBUSY", lambda f, p, n: os.rename(f.parent, f.parents[1] / "x")),
    ("exchange", "EINVAL", lambda f, p, n: by_libc("renameat2", -100, bytes(f), -100, bytes(p), 2)()),
    ("whiteout", "EINVAL EPERM", lambda f, p, n: by_libc("renameat2", -100, bytes(f), -100, bytes(n), 4)()),
    ("rename without replacing", "EEXIST", lambda f, p, n: by_libc("renameat2", -100, bytes(f), -100, bytes(p), 1)()),
    (
        "create in .gtfs/refs",
        "EPERM",
        lambda f, p, n: os.open(p.parent / ".gtfs" / "refs" / "x", os.O_CREAT | os.O_WRONLY),
    ),
    ("write to .gtfs/status", "EPERM", lambda f, p, n: os.open(p.parent / ".gtfs" / "status", os.O_WRONLY)),
    ("readlink of a pack", "EINVAL", lambda f, p, n: os.readlink(p)),
    ("list of a pack", "ENOTDIR", lambda f, p, n: os.listdir(p)),
    ("no such attribute", "ENODATA", lambda f, p, n: os.getxattr(p, "user.gtfs.none")),
    ("a security attribute", "ENODATA EOPNOTSUPP", lambda f, p, n: os.getxattr(p, "security.capability")),
    ("an access list", "ENODATA EOPNOTSUPP", lambda f, p, n: os.getxattr(p, "system.posix_acl_access")),
    ("an attribute that is not ours", "EOPNOTSUPP", lambda f, p, n: os.setxattr(p, "trusted.x", b"")),
    ("no such attribute to remove", "ENODATA EOPNOTSUPP", lambda f, p, n: os.removexattr(p, "trusted.x")),
    ("fallocate", "0 EOPNOTSUPP", lambda f, p, n: by_libc("fallocate", os.open(f, os.O_RDWR), 0, 0, 100)()),
    ("an unknown ioctl", "ENOTTY", lambda f, p, n: fcntl.ioctl(os.open(p, os.O_RDONLY), 0x5401)),
    ("mount point as a file", "EISDIR", lambda f, p, n: os.read(os.open(f.parent, os.O_RDONLY), 1)),
    ("read of a descriptor for writing", "EBADF", lambda f, p, n: os.read(os.open(f, os.O_WRONLY), 1)),
    ("swap on it", "EINVAL", lambda f, p, n: by_libc("swapon", bytes(f), 0)()),
    ("chmod of a pack", "0", lambda f, p, n: os.chmod(p, 0o777)),
    ("chown of a file to its owner", "0", lambda f, p, n: os.chown(f, os.getuid(), os.getgid())),
    ("utime of a pack", "0", lambda f, p, n: os.utime(p)),
    ("lock", "0", lambda f, p, n: fcntl.lockf(os.open(f, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)),
    ("flock", "0", lambda f, p, n: fcntl.flock(os.open(p, os.O_RDONLY), fcntl.LOCK_SH | fcntl.LOCK_NB)),
    ("fsync of a pack", "0", lambda f, p, n: os.fsync(os.open(p, os.O_RDONLY))),
    ("fsync of the directory", "0", lambda f, p, n: os.fsync(os.open(f.parent, os.O_RDONLY))),
    ("syncfs", "0", lambda f, p, n: by_libc("syncfs", os.open(p, os.O_RDONLY))()),
    ("seek to data", "0 EINVAL", lambda f, p, n: os.lseek(os.open(p, os.O_RDONLY), 0, os.SEEK_DATA)),
    ("copy_file_range", "0", lambda f, p, n: os.copy_file_range(os.open(p, 0), os.open(f, os.O_WRONLY), 10)),
    ("a clone", "EOPNOTSUPP EXDEV", lambda f, p, n: fcntl.ioctl(os.open(f, os.O_WRONLY), 0x40049409, os.open(p, 0))),
]


def close_all_in(directory: Path) -> None:
    """The descriptors that the table left open."""
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(f"/proc/self/fd/{fd}").startswith(str(directory)):
                os.close(int(fd))


def test_every_errno_says_what_is_wrong(fake_mount):
    m = fake_mount()
    wrong = []
    for name, wanted, call in ERRNOS:
        (m.dir / "file").write_bytes(b"text")
        os.chdir(m.dir.parent)
        got = result(partial(call, m.dir / "file", m.dir / PACK, m.dir / "new"))
        close_all_in(m.dir)
        if got not in wanted.split():
            wrong.append(f"{name}: {got} and not {wanted}")
        assert (m.dir / PACK).read_bytes() == make_pack(b"old")[1]
        assert not (m.dir / "new").exists()
    assert not wrong, "\n".join(wrong)
    assert "bug while answering" not in m.log.read_text()
