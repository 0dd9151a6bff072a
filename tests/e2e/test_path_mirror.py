# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy kind `path` by whole programs: contributors who do not sign, from publish to a mirror's refs."""

from __future__ import annotations

from pathlib import Path

import pytest
from house import House
from test_mirror_refs import Follow


@pytest.fixture
def mirror(house: House, pub: Path) -> Follow:
    return Follow(house, pub)


def commit(house: House, repository: Path, *parents: str, signed: bool) -> str:
    """A commit of the first parent's files."""
    tree = house.git(repository, "rev-parse", f"{parents[0]}^{{tree}}")
    who = "A U Thor <author@example.org> 1700200000 +0000"
    head = [f"tree {tree}", *(f"parent {p}" for p in parents), f"author {who}", f"committer {who}"]
    message = f"\n\n{len(parents)} parents\n"
    signature = ""
    if signed:
        lines = house.key.gpg("--armor", "--detach-sign", data=("\n".join(head) + message).encode()).decode()
        signature = "\ngpgsig " + "\n ".join(lines.rstrip("\n").split("\n"))
    data = ("\n".join(head) + signature + message).encode()
    return house.git(repository, "hash-object", "-w", "-t", "commit", "--stdin", stdin=data)


def test_a_mirror_follows_a_signed_way_and_holds_the_rest_back(mirror: Follow) -> None:
    house, pub = mirror.house, mirror.pub
    root = house.git(pub, "rev-parse", "main")
    line = f"refs/heads/main path by={house.key.fingerprint} root={root}"
    house.gtfs("init", pub, *mirror.init, "--policy", line, "--policy", "** catalogue")
    contributed = commit(house, pub, commit(house, pub, root, signed=False), signed=False)
    merged = commit(house, pub, root, contributed, signed=True)
    house.git(pub, "update-ref", "refs/heads/main", merged)
    mirror.publish()
    assert "hold" not in mirror.said
    mirror.sync()
    assert house.refs(mirror.path)["refs/heads/main"] == merged and mirror.held_back() == {}

    unsigned = commit(house, pub, merged, signed=False)
    house.git(pub, "update-ref", "refs/heads/main", unsigned)
    mirror.publish()
    reason = f"the commit is not signed ({unsigned})"
    assert f"hold refs/heads/main back: {reason}" in mirror.said
    mirror.sync(code=4)
    assert mirror.held_back() == {"refs/heads/main": (reason, False)}
    assert house.refs(mirror.path)["refs/heads/main"] == merged

    again = commit(house, pub, merged, unsigned, signed=True)
    house.git(pub, "update-ref", "refs/heads/main", again)
    mirror.publish()
    mirror.sync()
    assert house.refs(mirror.path)["refs/heads/main"] == again and mirror.held_back() == {}


def test_a_line_may_name_ssh_keys_and_says_what_it_does_not_know(mirror: Follow) -> None:
    house, pub = mirror.house, mirror.pub
    line = f"refs/heads/* path by={house.key.fingerprint},SHA256:{'x' * 43} file=.guix-authorizations"
    house.gtfs("init", pub, *mirror.init, "--policy", line)
    assert house.git(pub, "config", "--file", pub / "gtfs/config", "gtfs.policy") == line
    for bad in ("refs/heads/* path file=README", "refs/heads/* path root=HEAD", "refs/heads/* tag root=" + "1" * 40):
        assert "policy line" in house.gtfs("init", pub, *mirror.init, "--policy", bad, code=2).err
