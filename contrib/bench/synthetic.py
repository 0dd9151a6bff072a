# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository of any number of commits, the same on every machine: small files, mostly linear, some merges and tags.

By git fast-import, about 10,000 commits a second. Real histories are better where their shape matters; this one is
for what depends on the number of commits only.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

from measure import peer_environment

DIRECTORIES = 24
FILES = 16  # in each
LINES = 12  # of a new file
MERGE_EVERY = 40  # commits; each merge takes a branch of two in
TAG_EVERY = 1000
START_S = 1_000_000_000


def make_history(path: Path, commits: int) -> None:
    """Make a bare repository of exactly ``commits`` commits on ``main`` and a tag object for each thousand."""
    env = peer_environment()
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", path], env=env, check=True)
    command = ["git", "-C", path, "fast-import", "--quiet", "--done", "--force"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=env) as process:
        assert process.stdin is not None
        for text in _stream(commits):
            process.stdin.write(text.encode())
        process.stdin.close()
    if process.returncode:
        raise SystemExit(f"git fast-import ended with {process.returncode}")


def _stream(commits: int) -> Iterator[str]:
    chance = random.Random(commits)
    contents: dict[str, list[str]] = {}
    number = head = 0

    def commit(branch: str, parent: int, merged: int = 0) -> str:
        nonlocal number
        number += 1
        who = f"A U Thor <author@example.org> {START_S + 600 * number} +0000"
        text = f"commit refs/heads/{branch}\nmark :{number}\nauthor {who}\ncommitter {who}\n" + _data(
            f"Commit {number}\n"
        )
        text += f"from :{parent}\n" if parent else ""
        text += f"merge :{merged}\n" if merged else ""
        for _ in range(1 if merged else chance.randint(1, 2)):
            name = f"d{chance.randrange(DIRECTORIES):02}/f{chance.randrange(FILES):02}"
            lines = contents.setdefault(name, [])
            if lines:
                lines[chance.randrange(len(lines))] = f"line of commit {number}: {chance.getrandbits(64):016x}\n"
            else:
                lines += [f"{chance.getrandbits(64):016x}\n" for _ in range(LINES)]
            text += f"M 100644 inline {name}\n" + _data("".join(lines))
        return text + "\n"

    while number < commits:
        if number % MERGE_EVERY == MERGE_EVERY // 2 and number + 4 <= commits:
            base = head
            yield commit("side", base)
            yield commit("side", number)
            side = number
            yield commit("main", base)
            yield commit("main", number, side)
        else:
            yield commit("main", head)
        head = number
        if number % TAG_EVERY == 0:
            yield (
                f"tag v{number // TAG_EVERY}\nfrom :{head}\n"
                f"tagger A U Thor <author@example.org> {START_S + 600 * number} +0000\n" + _data(f"v{number}\n")
            )
    # Nothing but main may hold the commits.
    yield "reset refs/heads/side\nfrom 0000000000000000000000000000000000000000\n\ndone\n"


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}\n"
