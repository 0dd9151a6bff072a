# SPDX-License-Identifier: GPL-3.0-or-later
"""A small project as people make them, by real git: some sixty commits, merges, tags, directories, a large file."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

from waiting import WAIT_S

_EPOCH = 1_600_000_000


class Author:
    """Works on a checkout; every commit is an hour after the one before, so ids are the same on every run."""

    def __init__(self, directory: Path, env: dict[str, str]) -> None:
        self.dir = directory
        self._env = env
        self._commits = 0
        self._random = random.Random(20)

    def git(self, *words: str) -> str:
        date = f"{_EPOCH + 3600 * self._commits} +0200"
        env = {**self._env, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        done = subprocess.run(["git", *words], cwd=self.dir, env=env, capture_output=True, text=True, timeout=WAIT_S)
        assert done.returncode == 0, f"git {words}: {done.stderr}"
        return done.stdout.strip()

    def write(self, name: str, data: str | bytes) -> None:
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)

    def commit(self, message: str) -> None:
        self._commits += 1
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)

    def merge(self, branch: str) -> None:
        self._commits += 1
        self.git("merge", "--quiet", "--no-ff", "-m", f"Merge {branch}", branch)

    def lines(self, count: int, width: int = 40) -> str:
        words = ["".join(self._random.choices("abcdefghij_ ()=,", k=width)) for _ in range(count)]
        return "\n".join(words) + "\n"

    def noise(self, size: int) -> bytes:
        return self._random.randbytes(size)


def make_project(path: Path, env: dict[str, str]) -> None:
    """A bare repository at ``path``."""
    work = path.with_name(f"{path.name}.work")
    work.mkdir()
    a = Author(work, env)
    a.git("init", "--quiet", "-b", "main")
    a.git("config", "gc.auto", "0")
    a.write("README", "A project\n\n" + a.lines(10))
    a.write(".gitignore", "*.o\n")
    a.commit("Begin")
    a.write("src/main.c", a.lines(80))
    a.write("src/lib/deep/down/part.c", a.lines(30))
    a.commit("Sources")
    a.write("data/large.bin", a.noise(300 << 10))
    a.write("run", "#!/bin/sh\nexec true\n")
    (work / "run").chmod(0o755)
    os.symlink("src/main.c", work / "main")
    a.commit("A large file, a program and a link")
    for i in range(22):
        text = (work / "src/main.c").read_text().splitlines()
        text[i * 3 % len(text)] = f"changed {i}"
        a.write("src/main.c", "\n".join(text) + "\n")
        a.write(f"src/part{i % 7}.c", a.lines(20 + i))
        if i % 5 == 0:
            a.write(f"docs/chapter{i}/text", a.lines(60))
        a.commit(f"Work {i}")
    a.git("tag", "-a", "-m", "First", "v1.0")
    a.git("tag", "light")
    for n, branch in enumerate(("topic/one", "topic/two")):
        a.git("checkout", "--quiet", "-b", branch, f"main~{3 + n}")
        for i in range(6):
            a.write(f"{branch}/{i}", a.lines(15))
            a.commit(f"{branch} {i}")
        a.git("checkout", "--quiet", "main")
        a.write(f"between{n}", a.lines(5))
        a.commit(f"Between {n}")
        a.merge(branch)
    large = bytearray((work / "data/large.bin").read_bytes())
    large[1000:1100] = a.noise(100)
    a.write("data/large.bin", bytes(large))
    a.commit("A little of the large file changes")
    a.write("data/other.bin", a.noise(250 << 10))
    a.commit("Another large file")
    for i in range(14):
        a.write(f"src/part{i % 5}.c", a.lines(30))
        a.commit(f"More work {i}")
    a.git("rm", "--quiet", "-r", "docs")
    a.commit("No more docs")
    a.git("tag", "-a", "-m", "Second", "v2.0")
    a.git("tag", "-a", "-m", "A tag of a tag", "best", "v2.0")
    a.git("branch", "old", "main~30")
    a.git("clone", "--quiet", "--mirror", "--no-hardlinks", str(work), str(path))
    subprocess.run(["rm", "-rf", str(work)], check=True)
    a.dir = path
    a.git("remote", "remove", "origin")
