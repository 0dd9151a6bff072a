# SPDX-License-Identifier: GPL-3.0-or-later
"""What is copied into ``.gtfs``, writers beside what is listed, writers that do not close, attributes of others."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from fakefs import make_pack
from written_pack import DATA, NAME, is_taken_in, name_of


def test_what_is_copied_into_the_control_directory_is_judged_and_then_gone(fake_mount, tmp_path):
    m = fake_mount()
    control = m.dir / ".gtfs"
    good = tmp_path / "good.asc"
    good.write_bytes(b"good " * 50_000)
    subprocess.run(["cp", "-a", good, control], check=True)
    subprocess.run(["rsync", "-a", good, f"{control}/"], check=True)
    subprocess.run(["mv", shutil.copy(good, tmp_path / "moved"), control], check=True)
    (control / "status").write_bytes(b"good, over what is there")
    assert m.status()["taken"] == ["good.asc", "good.asc", "moved", "status"]
    for text, number in ((b"forbidden", errno.EACCES), (b"anything", errno.EBADMSG)):
        with pytest.raises(OSError) as caught:
            (control / "new").write_bytes(text)
        assert caught.value.errno == number
        (control / ".new").write_bytes(text)
        with pytest.raises(OSError) as caught:
            os.rename(control / ".new", control / "new")
        assert caught.value.errno == number
        os.unlink(control / ".new")
    assert not (control / "new").exists()
    assert not (control / "good.asc").exists()
    assert len(m.status()["taken"]) == 4


def test_only_so_much_can_be_copied_into_the_control_directory(fake_mount):
    control = fake_mount().dir / ".gtfs"
    with (control / "large").open("wb", buffering=0) as file:
        with pytest.raises(OSError) as caught:
            os.truncate(file.fileno(), 1 << 40)
        assert caught.value.errno == errno.EFBIG
        with pytest.raises(OSError) as caught:
            os.pwrite(file.fileno(), b"x", 16 << 20)
        assert caught.value.errno == errno.EFBIG
        with pytest.raises(OSError) as caught:
            (control / "large").write_bytes(b"good")
        assert caught.value.errno in (errno.EBUSY, errno.EPERM)
    for i in range(8):
        (control / f".temporary{i}").write_bytes(b"good")
    left = [name for name in os.listdir(control) if name.startswith(".temporary")]
    assert left == [f".temporary{i}" for i in range(8)], "who is to remove them sees them"
    with pytest.raises(OSError) as caught:
        (control / "one-more").write_bytes(b"good")
    assert caught.value.errno == errno.EDQUOT
    for name in left:
        os.unlink(control / name)
    (control / "one-more").write_bytes(b"good")
    assert sorted(os.listdir(control)) == ["ranged", "real", "refs", "status"]


@pytest.mark.parametrize(
    "flags", [os.O_WRONLY | os.O_TRUNC, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT | os.O_TRUNC]
)
def test_a_listed_pack_may_come_by_another_way(fake_mount, flags):
    m = fake_mount()
    payload = b"offline remote"
    path, data = m.dir / name_of(payload), make_pack(payload)[1]
    size = path.stat().st_size
    os.close(os.open(path, flags))
    m.wait(lambda: path.stat().st_size == size, "the listed pack shows again")
    assert m.state_of(path.name) == "remote"
    fd = os.open(path, flags)
    assert os.pwrite(fd, data[10:], 10) == len(data) - 10
    assert m.state_of(path.name) == "incoming"
    os.pwrite(fd, data[:10], 0)
    os.close(fd)
    m.wait_verified(path.name)
    assert path.read_bytes() == data
    with pytest.raises(PermissionError):
        os.open(path, flags)


def test_a_listed_pack_may_be_truncated_by_name(fake_mount):
    m = fake_mount()
    path = m.dir / name_of(b"offline remote")
    os.truncate(path, 5)
    assert path.stat().st_size == 5
    assert m.state_of(path.name) == "incoming"
    os.unlink(path)
    assert m.state_of(path.name) == "remote"


def test_what_is_whole_is_taken_in_though_its_writer_keeps_it_open(fake_mount):
    m = fake_mount()
    fd = os.open(m.dir / NAME, os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, DATA[100:], 100)
    os.pwrite(fd, DATA[:100], 0)
    assert is_taken_in(m)
    assert os.pread(fd, len(DATA), 0) == DATA
    with pytest.raises(OSError) as caught:
        os.pwrite(fd, b"x", 0)
    assert caught.value.errno in (errno.EBUSY, errno.EPERM)
    os.close(fd)
    assert (m.dir / NAME).read_bytes() == DATA


def test_attributes_of_other_programs_are_kept_while_a_file_is_written(fake_mount):
    m = fake_mount()
    path = m.dir / "notes"
    path.write_bytes(b"x")
    os.setxattr(path, "user.origin", b"elsewhere")
    assert os.getxattr(path, "user.origin") == b"elsewhere"
    assert sorted(os.listxattr(path)) == ["user.gtfs.state", "user.origin"]
    os.removexattr(path, "user.origin")
    for call in (lambda: os.getxattr(path, "user.origin"), lambda: os.removexattr(path, "user.origin")):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.ENODATA
    with pytest.raises(OSError) as caught:
        os.setxattr(path, "trusted.x", b"")
    assert caught.value.errno == errno.EOPNOTSUPP
    os.setxattr(path, "user.big", bytes(60_000))
    with pytest.raises(OSError) as caught:
        os.setxattr(path, "user.more", bytes(10_000))
    assert caught.value.errno == errno.ENOSPC


def test_who_appends_may_come_in_parts(fake_mount, tmp_path: Path):
    m = fake_mount()
    for part in (DATA[:1000], DATA[1000:5000], DATA[5000:]):
        with (m.dir / NAME).open("ab") as file:
            file.write(part)
    assert is_taken_in(m)
