# SPDX-License-Identifier: GPL-3.0-or-later
"""What git clones, a mirror has; and what mirrors refuse, the publisher hears first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from house import House

WHO = b"A U Thor <author@example.org> 1700000000 +0000"


class Odd:
    """A publisher's repository into which anything can be put."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.path = house.empty("origin.git")
        key = house.key
        self.blob = self.put("blob", b"a\n")
        self.tip = self.commit(self.tree((b"100644", b"a", self.blob)))
        self.to_main()
        house.gtfs("init", self.path, "--name", "odd", "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home)
        house.keep_sound(self.path)

    def put(self, kind: str, data: bytes) -> str:
        return self.house.git(self.path, "hash-object", "-w", "--literally", "-t", kind, "--stdin", stdin=data)

    def tree(self, *entries: tuple[bytes, bytes, str]) -> str:
        return self.put("tree", b"".join(b"%s %s\0%s" % (m, n, bytes.fromhex(o)) for m, n, o in entries))

    def commit(self, root: str, *parents: str, author: bytes = WHO) -> str:
        names = b"".join(b"parent %s\n" % p.encode() for p in parents)
        text = b"tree %s\n%sauthor %s\ncommitter %s\n\nm\n" % (root.encode(), names, author, WHO)
        self.tip = self.put("commit", text)
        return self.tip

    def to_main(self) -> None:
        self.house.git(self.path, "update-ref", "refs/heads/main", self.tip)


@pytest.fixture
def odd(house: House) -> Odd:
    return Odd(house)


def mirror(house: House, odd: Odd, name: str = "B.git") -> tuple[Path, dict[str, Any]]:
    """A mirror that was synced and found to be the same, and what sync said."""
    a = house.mount(odd.path, "A")
    repository = house.root / name
    done = house.gtfs(
        "sync", odd.path / "gtfs" / "catalogue" / "latest.asc", "--into", repository, "--json", "-o",
        ",".join(house.mirror_options(a)),
    )  # fmt: skip
    a.unmount()
    house.keep_sound(repository)
    house.gtfs("fsck", repository, "--against", odd.path)
    assert house.refs(repository) == house.refs(odd.path)
    return repository, done.json()


def test_what_git_clones_is_carried_and_counted_by_kind(house: House, odd: Odd) -> None:
    inside = odd.tree((b"100644", b"file", odd.put("blob", b"inside\n")))
    link = odd.put("blob", b"../.git/annex/objects/4V/J0/SHA256E-s8--bb/SHA256E-s8--bb")
    entries = [(b"120000", b"Icon\r", link), (b"40755", b"dir", inside), (b"0160000", b"z", "12" * 20)]
    odd.commit(odd.tree(*entries), odd.tip, author=b"<a@example.org> <b@example.org> 1305038239 -0700")
    odd.commit(odd.tree(*entries[::-1]), odd.tip, author=b"A <a@example.org> -1 +0000")
    odd.to_main()
    published = house.gtfs("publish", odd.path)
    kinds = ("badFilemode: 2 objects", "annexLink: 1 object", "badDateOverflow: 1 object", "treeNotSorted: 1 object")
    for kind in kinds:
        assert published.err.count(f"note: {kind} with ") == 1
    repository, said = mirror(house, odd)
    assert {f"{k}: {v['objects']} object{'s' * (v['objects'] > 1)}" for k, v in said["faults"].items()} >= set(kinds)
    assert house.git(repository, "cat-file", "-p", f"{odd.tip}~1:dir/file") == "inside"
    assert "nothing had changed" in house.gtfs("publish", odd.path).out


def test_publish_stops_before_sealing_and_says_how_to_list(house: House, odd: Odd) -> None:
    bad = odd.tree((b"100644", b".git", odd.blob))
    odd.commit(odd.tree((b"40000", b"sub", bad)), odd.tip)
    odd.to_main()
    done = house.gtfs("publish", odd.path, code=3)
    for word in (odd.tip, "path sub", bad, "hasDotgit", f"gtfs init {odd.path} --accept-fault {bad}"):
        assert word in done.line
    assert not list((odd.path / "gtfs" / "reels").iterdir())
    assert not (odd.path / "gtfs" / "catalogue" / "latest.asc").exists()

    house.gtfs("init", odd.path, "--accept-fault", bad)
    house.gtfs("publish", odd.path)
    text = (odd.path / "gtfs" / "catalogue" / "latest.asc").read_text()
    assert f"Accepted-Faults:\n {bad}\n" in text
    repository, _ = mirror(house, odd)
    # Git's own fsck list is not changed by it: another object with the same fault is refused again.
    worse = odd.tree((b"100644", b".git", odd.put("blob", b"other\n")))
    odd.commit(odd.tree((b"40000", b"sub", bad), (b"40000", b"worse", worse)), odd.tip)
    odd.to_main()
    done = house.gtfs("publish", odd.path, code=3)
    assert worse in done.line
    assert bad not in done.line
    assert house.refs(repository) != house.refs(odd.path)


def test_many_faults_are_listed_by_the_file_that_publish_writes(house: House, odd: Odd) -> None:
    link = odd.put("blob", b".git/hooks/post-checkout")
    modules = odd.put("blob", b'[submodule "x"]\n\tpath = x\n\turl = -u./payload\n')
    for entries in ([(b"120000", b"esc\x1b[2J", link)], [(b"100644", b".gitmodules", modules)]):
        odd.commit(odd.tree(*entries), odd.tip)
    odd.to_main()
    done = house.gtfs("publish", odd.path, code=3)
    file = odd.path / "gtfs" / "unlisted-faults"
    assert ", and 1 more; mirrors refuse" in done.line
    assert f"gtfs init {odd.path} --accept-faults {file}" in done.line
    assert "\x1b" not in done.err
    house.gtfs("init", odd.path, "--accept-faults", file)
    house.gtfs("publish", odd.path)
    accepted = (odd.path / "gtfs" / "accepted-faults").read_text()
    assert accepted == "".join(f"{oid}\n" for oid in sorted([link, modules]))
    mirror(house, odd)


def test_what_is_no_list_of_objects_is_said(house: House, odd: Odd) -> None:
    file = house.root / "list"
    file.write_text("# a comment\n\nnot an id\n")
    assert "line 3" in house.gtfs("init", odd.path, "--accept-faults", file, code=2).line
    house.gtfs("init", odd.path, "--accept-fault", "12", code=2)
    other = house.empty("other.git")
    assert "--sign-key" in house.gtfs("init", other, "--accept-fault", "12" * 20, code=2).err
    house.forgive(other)


def test_a_mounted_publisher_stops_likewise(house: House, odd: Odd) -> None:
    house.gtfs("publish", odd.path)
    a = house.mount(odd.path, "A")
    tip = odd.tip
    bad = odd.tree((b"100644", b"..", odd.blob))
    odd.commit(bad, tip)
    odd.to_main()
    done = house.gtfs("publish", a.dir, code=3)
    assert bad in done.line
    assert "hasDotdot" in done.line
    assert a.status()["catalogue"]["version"] == 1
    assert a.alive()
