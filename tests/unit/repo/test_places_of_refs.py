# SPDX-License-Identifier: GPL-3.0-or-later
"""Where refs stand, with lines that are known already; and their places."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from gtfs.repo import history
from gtfs.repo.history import read_places
from gtfs.state.selection import place_of, places_of


def lines_of(refs):
    return b"".join(b"%s %s\n" % (oid.hex().encode(), name) for name, oid in refs.items())


def blocks_of(refs, size):
    items = list(refs.items())
    parts = [dict(items[at : at + size]) for at in range(0, len(items), size)]
    return [(lines_of(part), part) for part in parts]


def given(refs):
    """A repository of which git says this, and whose files say nothing."""
    return SimpleNamespace(git=lambda *_: lines_of(refs))


@pytest.fixture(autouse=True)
def git_is_asked(monkeypatch):
    monkeypatch.setattr(history, "read_plain", lambda _repository: None)


def many(count):
    return {f"refs/heads/change-{n:05}".encode(): bytes([n % 251] * 20) for n in range(count)}


def test_known_lines_change_nothing_in_what_git_says():
    at = random.Random(23)
    for size in (1, 7, 40):
        before = many(300)
        for _ in range(40):
            now = dict(before)
            for _ in range(at.choice((0, 1, 2, 50))):
                name = at.choice(list(now))
                now.pop(name) if at.random() < 0.4 else now.update({name: at.randbytes(20)})
            for _ in range(at.choice((0, 1, 30))):
                now[f"refs/{at.choice(('a', 'gtfs', 'heads', 'tags'))}/{at.random()}".encode()] = at.randbytes(20)
            now = dict(sorted(now.items()))
            found = read_places(given(now), blocks_of(before, size))
            assert list(found.items()) == list(now.items())
    assert read_places(given({}), blocks_of(many(10), 3)) == {}
    assert read_places(given(many(10))) == many(10)


def test_known_lines_of_which_many_are_gone_are_looked_for_no_longer(monkeypatch):
    before = many(1000)
    now = {name: bytes(20) for name in before}
    looked = []
    known = ((looked.append(lines) or lines, said) for lines, said in blocks_of(before, 2))
    assert read_places(given(now), known) == now
    assert len(looked) == history._MISSED + 1


def test_places_are_those_of_each_name():
    names = [
        b"refs/heads-x/a", b"refs/heads/a", b"refs/heads/b/c", b"refs/heads0/a", b"refs/stash", b"refs/stash-x",
        b"refs/stash.d/a", b"refs/tags/v1", b"x",
    ]  # fmt: skip
    assert places_of(sorted(names)) == {place_of(name) for name in names}
    assert places_of([]) == set()
