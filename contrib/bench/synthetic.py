# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories of any number of commits, the same on every machine: small files, mostly linear, some merges and tags.

By git fast-import, about 10,000 commits a second. Real histories are better where their shape matters; these are for
what depends on the number of commits only. `make_shaped` gives every commit the same work, so that what grows faster
than their number is not the history's doing.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from measure import peer_environment

DIRECTORIES = 24
FILES = 16  # in each
LINES = 12  # of a new file
MERGE_EVERY = 40  # commits; each merge takes a branch of two in
TAG_EVERY = 1000
START_S = 1_000_000_000
SHAPED_TAGS = 100  # however many commits: refs are another matter


@dataclass(frozen=True)
class Shape:
    """A tree of ``directories`` (0: all in the root) with so many ``files`` in each, of which a commit changes some."""

    directories: int
    files: int
    changed: int

    def path(self, number: int) -> str:
        """The file of this number."""
        directory, file = divmod(number, self.files)
        return f"d{directory:03}/f{file:03}" if self.directories else f"f{file:03}"

    @property
    def total(self) -> int:
        """How many files there are."""
        return max(self.directories, 1) * self.files


SHAPES = {
    "wide": Shape(50, 100, 20),  # 20 of 5,000 files a commit
    "flat": Shape(0, 50, 1),
}


def make_history(path: Path, commits: int) -> None:
    """Make a bare repository of exactly ``commits`` commits on ``main`` and a tag object for each thousand."""
    _init(path)
    _import(path, _stream(commits))


def make_shaped(path: Path, commits: int, shape: Shape) -> None:
    """Make a bare repository of exactly ``commits`` commits in a line on ``main``, and `SHAPED_TAGS` tag objects."""
    _init(path)
    _import(path, _line(shape, 0, commits, max(commits // SHAPED_TAGS, 1)))


def grow_shaped(path: Path, before: int, commits: int, shape: Shape) -> None:
    """Put ``commits`` more on top of the ``before`` that are there."""
    _import(path, _line(shape, before, before + commits, None))


def _init(path: Path) -> None:
    env = peer_environment()
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", path], env=env, check=True)


def _import(path: Path, stream: Iterable[str]) -> None:
    command = ["git", "-C", path, "fast-import", "--quiet", "--done", "--force"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=peer_environment()) as process:
        assert process.stdin is not None
        for text in stream:
            process.stdin.write(text.encode())
        process.stdin.close()
    if process.returncode:
        raise SystemExit(f"git fast-import ended with {process.returncode}")


def _line(shape: Shape, before: int, commits: int, tag_every: int | None) -> Iterator[str]:
    """Commits of the numbers ``before`` + 1 to ``commits``."""
    for number in range(before + 1, commits + 1):
        chance = random.Random(number)
        who = f"A U Thor <author@example.org> {START_S + 600 * number} +0000"
        text = f"commit refs/heads/main\nauthor {who}\ncommitter {who}\n" + _data(f"Commit {number}\n")
        if number == before + 1 and before:
            text += "from refs/heads/main^0\n"
        changed = chance.sample(range(shape.total), shape.changed) if number > 1 else range(shape.total)
        for file in changed:
            text += f"M 100644 inline {shape.path(file)}\n" + _data(f"{file} of commit {number}\n")
        yield text + "\n"
        if tag_every and number % tag_every == 0:
            yield f"tag v{number}\nfrom refs/heads/main\ntagger {who}\n" + _data(f"v{number}\n")
    yield "done\n"


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


def main() -> int:
    """Make one, for whoever wants to look at it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("commits", type=int)
    parser.add_argument("path", type=Path)
    wanted = parser.parse_args()
    make_shaped(wanted.path, wanted.commits, SHAPES[wanted.shape])
    return 0


if __name__ == "__main__":
    sys.exit(main())
