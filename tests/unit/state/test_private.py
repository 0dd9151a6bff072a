# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gtfs.state.control import ask_node
from gtfs.state.lock import Lock, lock_holder
from gtfs.state.private import NotPrivate, check_private, is_read_only, make_private, read_unlinked

FILES = """lock open.reel node.db node.db-wal node.db-shm config keyring.gpg control
    batch-1.tmp""".split()  # noqa: SIM905  a list of words is easier to read
DIRECTORIES = """reels catalogue quarantine spool keys signoffs incoming pointed unpacking
    repacking""".split()  # noqa: SIM905  a list of words is easier to read


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "gtfs"
    make_private(path)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_one_is_its_users_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        make_private(tmp_path / "gtfs")
    finally:
        os.umask(old)
    assert mode(tmp_path / "gtfs") == 0o700


def test_one_of_an_older_gtfs_is_closed_to_others(root: Path) -> None:
    root.chmod(0o777)
    for name in FILES:
        (root / name).write_bytes(b"")
        (root / name).chmod(0o666)
    for name in DIRECTORIES:
        (root / name).mkdir(mode=0o777)
        (root / name).chmod(0o777)
        (root / name / "file").write_bytes(b"")
        (root / name / "file").chmod(0o644)
    make_private(root, writers_modes=("incoming",))
    assert mode(root) == 0o700
    for place in root.rglob("*"):
        kept = place.parent.name == "incoming"
        assert mode(place) == (0o644 if kept else 0o700 if place.is_dir() else 0o600), place


@pytest.mark.parametrize("name", [*FILES, *DIRECTORIES, "reels/x.reel", "keys/node.asc", "catalogue/latest.asc"])
def test_no_link_is_followed(root: Path, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).symlink_to(victim)
    for look in (make_private, check_private):
        with pytest.raises(NotPrivate, match=f"{name} is a link"):
            look(root)
    assert victim.read_bytes() == b"precious"


def test_the_directory_itself_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    root = tmp_path / "gtfs"
    root.symlink_to(tmp_path / "elsewhere")
    for look in (make_private, check_private):
        with pytest.raises(NotPrivate, match="is a link"):
            look(root)
    with pytest.raises(NotPrivate, match="is a link"):
        ask_node(root, {"do": "status"}, lambda _p: None)
    assert os.listdir(tmp_path / "elsewhere") == []
    root.unlink()
    root.write_bytes(b"")
    with pytest.raises(NotPrivate, match="is not a directory"):
        make_private(root)


@pytest.mark.parametrize("name", ["", "lock", "reels", "reels/x.reel"])
def test_what_belongs_to_somebody_else_is_named(root: Path, name: str) -> None:
    assert os.geteuid() == 0, "needs root, to give a file away"
    (root / "reels").mkdir()
    for file in ("lock", "reels/x.reel"):
        (root / file).write_bytes(b"")
    os.chown(root / name, 65533, -1)
    for look in (make_private, check_private):
        with pytest.raises(NotPrivate, match=f"{root / name} belongs to .*65533.*, not to you"):
            look(root)


def test_what_is_written_in_place_has_no_other_name(root: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (root / "open.reel").hardlink_to(victim)
    with pytest.raises(NotPrivate, match="hard link"):
        make_private(root)


def test_a_fifo_makes_nobody_wait(root: Path) -> None:
    os.mkfifo(root / "lock")
    assert lock_holder(root / "lock") is None
    with pytest.raises(NotPrivate, match="neither a file nor a directory"):
        make_private(root)


def test_nobody_else_can_open_the_lock(root: Path, tmp_path: Path) -> None:
    with Lock(root / "lock"):
        assert mode(root / "lock") == 0o600
        assert lock_holder(root / "lock") == os.getpid()
    (root / "lock").unlink()
    (root / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError), Lock(root / "lock"):
        pass
    assert not (tmp_path / "victim").exists()


@pytest.fixture
def as_user() -> Iterator[Path]:
    """A place of an ordinary user's, who acts while the test runs."""
    assert os.geteuid() == 0, "needs root, to be somebody else for a while"
    with tempfile.TemporaryDirectory(prefix="gtfs-user-", dir="/tmp") as place:
        os.chown(place, 65533, -1)
        os.seteuid(65533)
        try:
            yield Path(place)
        finally:
            os.seteuid(0)


def test_what_root_made_for_a_user_is_named_to_him(as_user: Path) -> None:
    root = as_user / "gtfs"
    os.seteuid(0)
    root.mkdir(mode=0o700)
    os.seteuid(65533)
    for look in (make_private, check_private):
        with pytest.raises(NotPrivate, match=f"{root} belongs to root, not to you"):
            look(root)


def test_a_directory_that_its_user_cannot_write_is_only_read(as_user: Path) -> None:
    root = as_user / "gtfs"
    assert not is_read_only(root)
    make_private(root)
    assert not is_read_only(root)
    root.chmod(0o500)
    assert is_read_only(root)
    check_private(root)
    as_user.chmod(0o500)
    assert is_read_only(as_user / "other")


@pytest.mark.parametrize("what", ["pipe", "directory", "link"])
def test_nobody_waits_for_what_is_no_file(root: Path, what: str) -> None:
    if what == "pipe":
        os.mkfifo(root / "config")
    elif what == "directory":
        (root / "config").mkdir()
    else:
        (root / "config").symlink_to("/dev/null")
    with pytest.raises(NotPrivate, match="is no file" if what != "link" else "is a link"):
        read_unlinked(root / "config")
