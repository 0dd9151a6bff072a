# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel tells a node that something happened in its directories; where it cannot, the node is told so."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import trio
import trio.lowlevel
import trio.testing

from gtfs.node import noticing as noticing_module
from gtfs.node.noticing import Ear, Noticing, open_noticing
from gtfs.repo.inotify import Inotify, is_told_of, local_mounts


def put(path: Path) -> None:
    lock = path.with_name(path.name + ".lock")
    lock.write_text("x")
    lock.rename(path)


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the tests' own file system is."""
    monkeypatch.setattr(noticing_module, "is_told_of", lambda directory, mounts: True)


class Woken(Ear):
    def __init__(self) -> None:
        self.event = trio.Event()
        super().__init__(self.event.set)


@pytest.mark.usefixtures("local")
def test_only_who_listens_to_a_directory_is_woken(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    async def main() -> None:
        async with open_noticing() as noticing:
            one, other = Woken(), Woken()
            assert noticing.listen(one, [tmp_path / "a"]) and noticing.listen(other, [tmp_path / "b"])
            put(tmp_path / "a" / "ref")
            await one.event.wait()
            assert one.has_heard and not other.has_heard
            # From now on the other directory.
            assert noticing.listen(one, [tmp_path / "b"])
            one.has_heard, one.event = False, trio.Event()
            one.wake = one.event.set
            put(tmp_path / "a" / "ref")
            put(tmp_path / "b" / "ref")
            await other.event.wait()
            await one.event.wait()
            noticing.leave(one)
            noticing.leave(other)
            assert not noticing._ears

    trio.run(main)


@pytest.mark.usefixtures("local")
def test_a_directory_that_goes_and_comes_back_is_listened_to_again(tmp_path: Path) -> None:
    place = tmp_path / "a"
    place.mkdir()

    async def main() -> None:
        async with open_noticing() as noticing:
            ear = Woken()
            assert noticing.listen(ear, [place])
            place.rmdir()
            await ear.event.wait()
            while ear.numbers:
                await trio.lowlevel.checkpoint()
            assert not noticing.listen(ear, [place])
            place.mkdir()
            assert noticing.listen(ear, [place])

    trio.run(main)


@pytest.mark.warns
@pytest.mark.usefixtures("local")
def test_without_watches_left_the_node_looks_by_itself_and_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def add(self: Inotify, directory: Path) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Inotify, "add", add)
    noticing = Noticing()
    assert not noticing.listen(Ear(lambda: None), [tmp_path])
    assert not noticing.listen(Ear(lambda: None), [tmp_path])
    noticing.close()
    assert len([r for r in caplog.records if "max_user_watches" in r.getMessage()]) == 1


def test_without_an_instance_every_node_looks_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Inotify) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Inotify, "__init__", fail)

    async def main() -> None:
        async with open_noticing() as noticing:
            assert not noticing.listen(Ear(lambda: None), [tmp_path])

    trio.run(main)


def test_what_lies_on_a_file_system_of_others_is_not_told_of() -> None:
    mounts = {"/": True, "/srv/nfs": False, "/srv/nfs/here": True}
    assert is_told_of(Path("/srv/git"), mounts)
    assert not is_told_of(Path("/srv/nfs/git/a.git"), mounts)
    assert is_told_of(Path("/srv/nfs/here/a.git"), mounts)
    assert "/" in local_mounts()
