# SPDX-License-Identifier: GPL-3.0-or-later
"""A command loads what it needs: one that a running node answers needs click, and starts no process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gtfs
from gtfs.cli.commands import cli

# What takes long to load, and what a node is made of.
HEAVY = {
    "trio", "httpx", "libtorrent", "pyfuse3", "dulwich", "rich", "sqlite3", "gnupg", "debian", "cryptography",
    "platformdirs", "importlib.metadata", "gtfs.node", "gtfs.view", "gtfs.ingest", "gtfs.trust", "gtfs.catalogue",
    "gtfs.reel", "gtfs.pack", "gtfs.swarm", "gtfs.cli.work", "gtfs.cli.nodeoptions", "gtfs.repo.repository",
}  # fmt: skip

RUN = """
import sys
from gtfs.cli.main import main
try:
    main()
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""

STATUS = {
    "repository": "/r.git", "running": True, "read_only": False, "packs": {"known": 1, "bytes": 1}, "unencodable": 0,
    "policy": "local", "quarantine": [],
}  # fmt: skip
SYNCED = {
    "packs": 0, "reels": 0, "refs_moved": 0, "waiting": 0, "refs_held_back": {}, "refused": {}, "missing": {},
    "version": 1, "fetched": 0, "bytes": 0, "feeds": [], "listed": 0, "faults": {},
}  # fmt: skip
PUBLISHED = {
    "version": 2, "new": True, "packs": 2, "reels": [], "sources": [], "refs_held_back": {}, "refs_left_out": [],
    "faults": {}, "new_packs": 2, "new_bytes": 3, "refs_moved": 1,
}  # fmt: skip
VERIFIED = {
    "accepted": True, "exit_code": 0, "blamed": [[]], "judged": [{
        "subject": "refs/heads/main", "verdict": "holds", "because": [{
            "rule": "tag", "subject": "ab" * 20, "verdict": "holds", "text": "signed", "who": ["F" * 40], "when": 1,
            "because": [],
        }],
    }],
}  # fmt: skip
HANDED_OUT = {"reels": 1, "packs": 0, "lacking": []}

Answer = Callable[[dict[str, Any]], None]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """As much of a repository as a command looks at before it has asked."""
    path = tmp_path / "r.git"
    (path / "objects").mkdir(parents=True)
    (path / "gtfs").mkdir(mode=0o700)
    return path


def run(*words: object) -> tuple[str, set[str]]:
    """What gtfs says, in an interpreter of its own that finds no program; and what it loaded."""
    env = {"PATH": "/nonexistent", "HOME": os.environ["HOME"], "PYTHONPATH": str(Path(gtfs.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, words)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, set(done.stderr.splitlines()[-1].split())


def test_a_command_loads_no_other() -> None:
    said, loaded = run("pack", "--help")
    assert "REVISION" in said or "OID" in said
    assert {f"gtfs.cli.{name}" for name in cli.commands} & loaded == {"gtfs.cli.pack"}


def test_help_loads_nothing_heavy() -> None:
    said, loaded = run("--help")
    assert "publish" in said and "Exit status" in said
    assert not HEAVY & loaded


@pytest.mark.parametrize(
    ("words", "request_", "answer", "said"),
    [
        (("status",), {"do": "status"}, STATUS, "node        running"),
        (("sync",), {"do": "sync"}, SYNCED, "up to date: version 1"),
        (
            ("publish",),
            {"do": "draft", "force": False, "jobs": None},
            {"published": PUBLISHED},
            "version 2: 2 new packs",
        ),
        (("verify", "main"), {"do": "verify", "what": ["main"]}, VERIFIED, f"  ok tag {'ab' * 20}: signed; by FFFF"),
        (
            ("torrent", "--out", "/out"),
            {"do": "torrents", "out": "/out", "packs": False, "trackers": []},
            HANDED_OUT,
            "1 reel, 0 packs: /out",
        ),
    ],
    ids=("status", "sync", "publish", "verify", "torrent"),
)
def test_a_command_that_a_node_answers_starts_no_process_and_loads_nothing_heavy(
    place: Path, words: tuple[str, ...], request_: dict[str, Any], answer: dict[str, Any], said: str
) -> None:
    asked: list[Any] = []
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(place / "gtfs", os.O_PATH)  # the path of a socket must be short
        listener.bind(f"/proc/self/fd/{here}/control")
        os.close(here)
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as stream, stream.makefile("rwb") as file:
                asked.append(json.loads(file.readline()))
                file.write(json.dumps({"done": answer}).encode() + b"\n")

        node = threading.Thread(target=serve, daemon=True)
        node.start()
        shown, loaded = run(words[0], place, *words[1:])
        node.join()
    assert asked == [request_]
    assert said in shown
    assert not HEAVY & loaded


# What a node at work may need, and its start does not: each is imported where it is used.
LATER = {"dulwich", "cryptography", "email.policy", "gtfs.overview.server", "h11", "httpx", "rich", "tomllib"}


@pytest.mark.parametrize("command", ["sync", "mount", "seed", "mirror"])
def test_what_few_nodes_need_is_not_loaded_before_a_node_starts(command: str) -> None:
    code = f"import sys, gtfs.cli.commands, gtfs.cli.work.{command}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not LATER & set(done.stdout.split())


def test_the_collector_leaves_alone_what_a_command_has_loaded() -> None:
    code = "import gc\nfrom gtfs.cli.loading import loading\n"
    code += "with loading():\n    assert not gc.isenabled()\n    import decimal\n"
    code += "print(gc.isenabled(), gc.get_freeze_count() > 1000, decimal.Decimal.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True Decimal\n"
