# SPDX-License-Identifier: GPL-3.0-or-later
"""What a writer hears of a file that is no acceptable pack."""

from __future__ import annotations

import errno
import os
import subprocess

import pytest
from fakefs import make_pack
from waiting import WAIT_S
from written_pack import DATA, NAME, is_taken_in, written


@pytest.mark.parametrize(
    "data",
    [
        DATA[:-1],
        DATA + b"x",
        DATA[:-1] + bytes([DATA[-1] ^ 1]),
        DATA[:500] + b"\1" + DATA[501:],
        b"x",
        b"PACK",
        bytes(40),
    ],
    ids=["truncated", "trailing byte", "wrong trailer", "flipped byte", "one byte", "magic only", "zeros"],
)
def test_what_is_not_whole_is_ebadmsg_at_close_and_can_be_written_again(fake_mount, data):
    m = fake_mount()
    assert written(m, data) == errno.EBADMSG
    assert m.state_of(NAME) == "incoming" and (m.dir / NAME).stat().st_size == len(data)
    assert written(m, DATA) == 0
    assert is_taken_in(m)


def test_a_pack_under_another_name_is_ebadmsg_and_goes_to_quarantine(fake_mount):
    m = fake_mount()
    assert written(m, make_pack(b"another")[1]) == errno.EBADMSG
    assert not (m.dir / NAME).exists() and os.listdir(m.state / "quarantine") == [NAME]
    assert "not the object of the name" in m.log.read_text()


def test_a_policys_refusal_is_eacces(fake_mount):
    m = fake_mount()
    oid, data = make_pack(b"forbidden")
    assert written(m, data, oid.hex() + ".pack") == errno.EACCES
    assert not (m.dir / (oid.hex() + ".pack")).exists()


def test_cp_says_what_is_wrong(fake_mount, tmp_path):
    m = fake_mount()
    (tmp_path / NAME).write_bytes(DATA[:-5])
    done = subprocess.run(["cp", tmp_path / NAME, m.dir], capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 1 and "Bad message" in done.stderr


def test_a_rename_to_a_wrong_name_is_refused(fake_mount):
    m = fake_mount()
    (m.dir / "half").write_bytes(DATA[:-1])
    with pytest.raises(OSError) as caught:
        os.rename(m.dir / "half", m.dir / NAME)
    assert caught.value.errno == errno.EBADMSG and (m.dir / "half").exists()
    (m.dir / "other").write_bytes(make_pack(b"another")[1])
    with pytest.raises(OSError) as caught:
        os.rename(m.dir / "other", m.dir / NAME)
    assert caught.value.errno == errno.EBADMSG and not (m.dir / "other").exists()
    assert not (m.dir / NAME).exists()


def test_what_was_refused_while_open_cannot_be_written_any_more(fake_mount):
    m = fake_mount()
    fd = os.open(m.dir / NAME, os.O_WRONLY | os.O_CREAT)
    os.write(fd, make_pack(b"another")[1])
    with pytest.raises(OSError):
        os.close(os.dup(fd))
    with pytest.raises(OSError) as caught:
        os.write(fd, b"more")
    assert caught.value.errno == errno.EBADMSG
    with pytest.raises(OSError):
        os.close(fd)
