# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has a repository, and whether that is somebody who answers."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from gtfs.errors import Blame
from gtfs.state import lock as module
from gtfs.state.lock import Busy, Lock, lock_holder


@pytest.mark.parametrize(
    ("is_node", "advice"), [(True, "use the commands that talk to it"), (False, "try again when it has ended")]
)
def test_who_comes_second_hears_who_has_it_and_what_to_do(tmp_path: Path, is_node: bool, advice: str) -> None:
    with Lock(tmp_path / "lock", is_node=is_node):
        with pytest.raises(Busy, match=advice) as refused, Lock(tmp_path / "lock"):
            pass
        assert lock_holder(tmp_path / "lock") == os.getpid()
    assert (refused.value.pid, refused.value.is_node, refused.value.fault) == (os.getpid(), is_node, Blame.BUSY)
    assert lock_holder(tmp_path / "lock") is None


def test_what_an_earlier_holder_wrote_says_nothing_of_the_one_that_has_it_now(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("4194304 node\nand more\n")
    with Lock(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(Busy) as refused, Lock(tmp_path / "lock"):
            pass
    assert not refused.value.is_node


@pytest.mark.parametrize("text", ["", "rubbish\n", "-7 node\n", "\0" * 40])
def test_a_holder_that_cannot_be_read_is_busy_all_the_same(tmp_path: Path, text: str) -> None:
    with Lock(tmp_path / "lock"):
        (tmp_path / "lock").write_text(text)
        with pytest.raises(Busy, match="another process") as refused, Lock(tmp_path / "lock"):
            pass
        assert lock_holder(tmp_path / "lock") == 0
    assert refused.value.pid == 0


def test_who_looks_whether_it_is_held_is_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock"
    path.touch()
    looking = os.open(path, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr("gtfs.state.lock.time.sleep", lambda _s: os.close(looking))  # the look ends
    with Lock(path):
        assert lock_holder(path) == os.getpid()


def test_who_reads_for_long_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOKS_S", 0.0)
    (tmp_path / "lock").write_text("4194304 node\n")  # of whoever wrote there before
    reader = Lock(tmp_path / "lock")
    reader.acquire_shared()
    with pytest.raises(Busy, match="in use by another process; it cannot write there") as refused:
        Lock(tmp_path / "lock").acquire()
    assert (refused.value.pid, refused.value.is_node) == (0, False)
    reader.release()
    with Lock(tmp_path / "lock"), pytest.raises(Busy):
        reader.acquire_shared()
