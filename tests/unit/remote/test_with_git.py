# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that waits for nobody but git ends with it, whoever does it, and needs no signal to end by."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
import trio
from waiting import WAIT_S

from gtfs.layout import Layout
from gtfs.remote.withgit import ask_with_git, run_with_git


@pytest.fixture
def git(monkeypatch: pytest.MonkeyPatch) -> Iterator[IO[bytes]]:
    """The other end of standard input."""
    ours, its = os.pipe()
    with open(ours, "rb") as stdin, open(its, "wb") as git:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield git


def test_a_fetch_goes_on_where_every_signal_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda _number: signal.SIG_IGN)

    async def work() -> int:
        return 7

    assert run_with_git(work) == 7


def test_work_ends_with_git(git: IO[bytes]) -> None:
    async def work() -> None:
        git.close()
        await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        run_with_git(work)


def test_who_waits_for_a_running_node_ends_with_git(git: IO[bytes], tmp_path: Path) -> None:
    root = tmp_path / "gtfs"
    root.mkdir(mode=0o700)
    done = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(Layout(root).control))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(4096)
                connection.sendall(b'{"progress": {}}\n')
                git.close()
                done.wait(WAIT_S)

        node = threading.Thread(target=answer)
        node.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                ask_with_git(root, {"do": "sync"}, lambda _progress: None)
        finally:
            done.set()
            node.join()
