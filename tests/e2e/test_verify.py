# SPDX-License-Identifier: GPL-3.0-or-later
"""`gtfs verify` by whole programs: good and refused refs, tags and packs, with and without a running node."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from house import House
from test_mirror_refs import Follow
from test_path_mirror import commit


@pytest.fixture
def mirror(house: House, pub: Path) -> Follow:
    return Follow(house, pub)


def signed_tag(house: House, repository: Path, target: str, name: str) -> str:
    raw = f"object {target}\ntype commit\ntag {name}\ntagger A U Thor <author@example.org> 1700200000 +0000\n\nx\n"
    raw += house.key.gpg("--armor", "--detach-sign", data=raw.encode()).decode()
    return house.git(repository, "hash-object", "-w", "-t", "tag", "--stdin", stdin=raw.encode())


def test_refs_tags_and_packs_are_explained_with_what_a_maintainer_can_do(mirror: Follow) -> None:
    house, pub, key = mirror.house, mirror.pub, mirror.house.key.fingerprint
    root = house.git(pub, "rev-parse", "main")
    lines = [f"refs/heads/main path by={key} root={root}", "refs/heads/signed every-commit", "refs/tags/** tag"]
    lines += [f"refs/heads/waits catalogue threshold=2 attesters={key},{'A' * 40}", "** catalogue"]
    house.gtfs("init", pub, *mirror.init, *(word for line in lines for word in ("--policy", line)))
    for ref in house.refs(pub):
        if ref.startswith("refs/tags/"):
            house.git(pub, "update-ref", "-d", ref)
    merged = commit(house, pub, root, signed=True)
    house.git(pub, "update-ref", "refs/heads/main", merged)
    tag = signed_tag(house, pub, merged, "v9")
    house.git(pub, "update-ref", "refs/tags/v9", tag)
    mirror.publish()
    mirror.sync()

    # All is well: exit code 0, and who signed what.
    said = house.gtfs("verify", mirror.path, "main", "v9", merged, tag, f"{merged}.pack")
    assert said.err == "" and said.out.count(": accepted\n") == 5 and key in said.out
    told = house.gtfs("verify", "--json", mirror.path, merged).json()
    vouched = next(r for r in told["judged"][0]["because"] if r["rule"] == "let-in")
    assert told["accepted"] and "SHA-256" in vouched["text"]
    assert house.gtfs("verify", pub, "main", "v9").err == ""

    # The next version has refs against which something stands.
    unsigned = commit(house, pub, merged, signed=False)
    bare = house.git(pub, "mktag", stdin=f"object {merged}\ntype commit\ntag v10\n"
                     "tagger A U Thor <author@example.org> 1700200000 +0000\n\nx\n".encode())  # fmt: skip
    for ref, oid in (("heads/main", unsigned), ("heads/signed", unsigned), ("heads/waits", root), ("tags/v10", bare)):
        house.git(pub, "update-ref", f"refs/{ref}", oid)
    mirror.publish()
    heard = mirror.sync(code=4).err
    assert f"refs/heads/main stays where it is: the commit is not signed ({unsigned}) [rule: path]; sign it" in heard
    shown = house.gtfs("status", mirror.path).out
    assert "[rule: tag" in shown and "refs/heads/waits: 0 of 2 sign-offs" in shown
    for word, rule, subject in (
        ("main", "path", unsigned), ("signed", "every-commit", None), ("v10", "tag", bare), ("waits", "quorum", root),
    ):  # fmt: skip
        told = house.gtfs("verify", "--json", mirror.path, word, code=4).json()
        ((blamed,),) = told["blamed"]
        assert blamed["rule"] == rule and blamed["subject"] == (subject or blamed["subject"]) and blamed["advice"]
    said = house.gtfs("verify", mirror.path, "v9", "v10", code=4)
    assert said.out.startswith("refs/tags/v9: accepted\n") and "\nrefs/tags/v10: REFUSED\n" in said.out
    assert said.line.startswith("gtfs: v10: the tag is not signed [rule: tag ")
    assert "names no ref" in house.gtfs("verify", mirror.path, "nothing", code=3).line

    # A running node says the same; of its own mount only names are asked about.
    node = house.mount(mirror.path, "mirror", "nodht", "nolsd", expected=["refs? stays? where (it is|they are)"])
    assert house.gtfs("verify", node.dir, "v9", node.pack(tag)).err == ""
    assert house.gtfs("verify", mirror.path, "v10", code=4).line == said.line

    # A pack of any origin is judged by its bytes.
    good = house.root / f"{merged}.pack"
    shutil.copyfile(node.pack(merged), good)
    house.gtfs("verify", node.dir, good)
    data = bytearray(good.read_bytes())
    data[len(data) // 2] ^= 1
    good.write_bytes(data)
    assert "[rule: pack" in house.gtfs("verify", node.dir, good, code=4).line
    shutil.copyfile(node.pack(unsigned), good)
    assert f"this is the pack of {unsigned}" in house.gtfs("verify", node.dir, good, code=4).line
    node.unmount()
    assert "[rule: pack" in house.gtfs("verify", mirror.path, good, code=4).line


def test_removing_a_key_from_the_ring_names_the_refs_that_stay_from_now_on(mirror: Follow) -> None:
    house, pub, key = mirror.house, mirror.pub, mirror.house.key.fingerprint
    root = house.git(pub, "rev-parse", "main")
    house.gtfs("init", pub, *mirror.init, "--policy", f"refs/heads/main path root={root}", "--policy", "** catalogue")
    house.git(pub, "update-ref", "refs/heads/main", commit(house, pub, root, signed=True))
    mirror.publish()
    mirror.sync()
    done = house.gtfs("trust", mirror.path, "remove", "--force", key)
    assert "refs/heads/main is held back from now on: " in done.err and "[rule: path" in done.err
