# SPDX-License-Identifier: GPL-3.0-or-later
"""A publisher, a clone with what it holds, and people who offer: without network, by the programs' own functions."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from keys import Keys

from gtfs.catalogue.accept import Held
from gtfs.cli import commands
from gtfs.ids import Fingerprint
from gtfs.repo.repository import open_repository
from gtfs.state.state import State


@functools.cache
def _made() -> Path:
    """What every test begins with, made by the first."""
    directory = Path(tempfile.mkdtemp(prefix="gtfs-offering-", dir="/tmp"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


QUIET = "offline,nolsd,nodht"


class Offering:
    """``pub`` publishes by alice's key and has bob's in its ring; ``mirror`` holds what it published."""

    def __init__(self, root: Path, keys: Keys, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.keys, self._capsys = root, keys, capsys
        self.pub, self.mirror, self.work = root / "pub.git", root / "mirror.git", root / "work"
        made = _made()
        if (made / "whole").exists():
            for name in ("pub.git", "mirror.git", "work"):
                shutil.copytree(made / name, root / name)
            self.git(self.work, "remote", "set-url", "origin", str(self.pub))
            self.first = self.git(self.work, "rev-parse", "HEAD")
            return
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", self.pub], check=True)
        subprocess.run(["git", "clone", "-q", self.pub, self.work], check=True, capture_output=True)
        self.git(self.work, "checkout", "-q", "-B", "main")
        self.first = self.commit("first")
        self.git(self.work, "push", "-q", "origin", "main")
        self.type("init", self.pub, "--name", "demo", "--sign-key", keys["alice"], "--gnupg-home", keys.home)
        self.trust("bob")
        self.type("publish", self.pub)
        self.sync()
        config = ("config", "--file", str(self.mirror / "gtfs" / "config"), "--unset-all", "gtfs.source")
        self.git(self.mirror, *config)
        for name in ("pub.git", "mirror.git", "work"):
            shutil.copytree(root / name, made / name)
        (made / "whole").touch()

    # -- programs -------------------------------------------------------------------------------------------------

    def git(self, where: Path, *words: str, stdin: bytes = b"") -> str:
        done = subprocess.run(["git", "-C", where, *words], input=stdin, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def type(self, *words: object, exit_code: int = 0) -> str:
        self._capsys.readouterr()
        code = commands.run(["gtfs", *map(str, words)])
        said = self._capsys.readouterr()
        assert code == exit_code, (code, said.out, said.err)
        return said.out + said.err

    def json(self, *words: object, exit_code: int = 0) -> Any:
        self._capsys.readouterr()
        code = commands.run(["gtfs", *map(str, words), "--json"])
        said = self._capsys.readouterr()
        assert code == exit_code, (code, said.out, said.err)
        return json.loads(said.out)

    def trust(self, *names: str) -> None:
        file = self.root / "keys.gpg"
        file.write_bytes(self.keys.export(*names))
        self.type("trust", self.pub, "add", file)

    def sync(self) -> None:
        """What is published comes to the mirror, objects by git."""
        public = self.root / "alice.gpg"
        public.write_bytes(self.keys.export("alice"))
        if not self.mirror.exists():
            subprocess.run(["git", "clone", "-q", "--mirror", self.pub, self.mirror], check=True)
        self.git(self.mirror, "fetch", "-q", str(self.pub), "+refs/heads/*:refs/heads/*")
        source = self.pub / "gtfs" / "catalogue" / "latest.asc"
        self.type("sync", source, "--into", self.mirror, "-o", f"{QUIET},keyring={public}")

    # -- what is offered ------------------------------------------------------------------------------------------

    def commit(self, subject: str, *, by: str | None = None, file: str | None = None) -> str:
        """One more commit in the work tree, signed by this key."""
        (self.work / (file or "page")).write_text(subject)
        self.git(self.work, "add", "-A")
        head = self.git(self.work, "for-each-ref", "--format=%(objectname)", "refs/heads/main").split()
        oid = self.make(self.git(self.work, "write-tree"), head, subject.encode(), by=by)
        self.git(self.work, "reset", "-q", "--hard", oid)
        return oid

    def make(self, tree: str, parents: list[str], message: bytes, *, by: str | None = None, time_s: int = 0) -> str:
        """A commit in the work tree's repository, whatever stands in it."""
        seconds = time_s or int(time.time()) - 60
        who = b"A U Thor <author@example.org> %d +0000" % seconds
        head = b"tree %s\n" % tree.encode() + b"".join(b"parent %s\n" % p.encode() for p in parents)
        head += b"author %s\ncommitter %s\n" % (who, who)
        signature = b""
        if by is not None:
            armor = self.keys.sign(head + b"\n" + message, by)
            signature = b"gpgsig " + armor.rstrip(b"\n").replace(b"\n", b"\n ") + b"\n"
        raw = head + signature + b"\n" + message
        return self.git(self.work, "hash-object", "-t", "commit", "-w", "--stdin", stdin=raw)

    def offer(self, *words: object, by: str = "bob", exit_code: int = 0) -> str:
        key = ("--sign-key", self.keys[by], "--gnupg-home", self.keys.home)
        return self.type("offer", self.mirror, "main", "--from", self.work, *key, *words, exit_code=exit_code)

    @property
    def fork(self) -> Path:
        return self.mirror / "gtfs-fork.git"

    @property
    def catalogue(self) -> Path:
        return self.fork / "gtfs" / "catalogue" / "latest.asc"

    def inbox(self, *words: object, exit_code: int = 0) -> Any:
        return self.json("inbox", self.pub, "-o", QUIET, *words, exit_code=exit_code)

    def add(self, *, exit_code: int = 0) -> Any:
        """The publisher hears of the fork."""
        return self.inbox("--add", self.catalogue, exit_code=exit_code)

    def held(self) -> Held:
        with State(open_repository(self.fork)) as state:
            assert state.held is not None
            return state.held

    def forge(self, by: str = "bob", **changes: Any) -> Path:
        """A fork's catalogue as no `gtfs offer` makes it, beside the reels of the real one."""
        text = replace(self.held().catalogue, **changes).to_text().encode()
        path = self.catalogue.with_name("forged.asc")
        path.write_bytes(self.keys.clearsign(text, by))
        return path

    def key(self, name: str) -> Fingerprint:
        return self.keys[name]
