# SPDX-License-Identifier: GPL-3.0-or-later
"""What commands print as JSON has the keys that gtfs(1) lists, and a dry run writes nothing."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keys import Keys, shared_keys
from offering import Offering

from gtfs.cli import commands

PAGE = (Path(__file__).parents[2] / "man" / "gtfs.1").read_text()
NAMED_BY_DATA = ("settings", "unmade", "refs_held_back")


def told(name: str) -> set[str]:
    """The keys of one subsection of JSON in gtfs(1)."""
    found = re.search(rf"^\.Ss Of {name}\n(.*?)(?=^\.S[hs] )", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    lines = [line for line in found[1].splitlines() if line.startswith((".It Cm", ".Cm"))]
    return {word for line in lines for word in re.findall(r"[\w-]+", re.sub(r"^\.(It )?Cm ", "", line))} - {"Cm"}


def keys(value: Any) -> Iterator[str]:
    """All keys at any depth but those that are names of settings, refs or objects."""
    if isinstance(value, list):
        for item in value:
            yield from keys(item)
    elif isinstance(value, dict):
        for key, below in value.items():
            yield key
            is_named = key in NAMED_BY_DATA and isinstance(below, dict)
            for item in below.values() if is_named else [below]:
                yield from keys(item)


def digests(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in ("lock", "node.db-wal", "node.db-shm")
    }


class Desk:
    """A publisher's repository, its key, and somebody who types."""

    def __init__(self, path: Path, held: Keys, capsys: pytest.CaptureFixture[str]) -> None:
        self.path, self.keys, self._capsys = path, held, capsys
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", path], check=True)
        tree = self.git("hash-object", "-t", "tree", "-w", "/dev/null")
        self.commit = self.git("commit-tree", tree, "-m", "first")
        self.git("update-ref", "refs/heads/main", self.commit)

    def git(self, *words: str) -> str:
        return subprocess.run(
            ["git", "-C", self.path, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    def type(self, *words: object, exit_code: int = 0) -> str:
        self._capsys.readouterr()
        code = commands.run(["gtfs", *map(str, words)])
        said = self._capsys.readouterr()
        assert code == exit_code, said.err
        return said.out

    def json(self, *words: object, exit_code: int = 0) -> Any:
        return json.loads(self.type(*words, "--json", exit_code=exit_code))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    held = shared_keys()
    monkeypatch.setenv("GNUPGHOME", str(held.home))
    return Desk(tmp_path / "r.git", held, capsys)


def published(desk: Desk) -> None:
    desk.type("init", desk.path, "--name", "demo", "--sign-key", desk.keys["alice"])
    desk.type("publish", desk.path)
    desk.type("publish", desk.path, "--force")


def test_init_and_publish_print_what_the_page_lists(desk: Desk) -> None:
    key = desk.keys["alice"]
    words = ("init", desk.path, "--name", "demo", "--sign-key", key)
    dry, done = desk.json(*words, "--dry-run"), desk.json(*words)
    assert {*keys(dry), *keys(done)} | {"key"} == told("init")
    assert dry["settings"]["signkey"] == {"from": [], "to": [key]}
    foretold, first = desk.json("publish", desk.path, "--dry-run", "--prune"), desk.json("publish", desk.path)
    assert foretold["withdrawn"]["packs"] == 0
    assert foretold["version"] == first["version"] == 1 and first["new"]
    proposed = desk.json("publish", desk.path, "--force", "--propose", desk.path.parent / "text")
    of_attesters = {"repository", "valid_until"}
    of_lists = {"below", "count", "first", "reason", "dropped", "tag", "subject"}
    found = {*keys(foretold), *keys(first), *keys(proposed)} | of_attesters | of_lists
    assert found == told("publish")
    assert Path(proposed["proposal"]["file"]).exists()
    signed = desk.json("sign", desk.path.parent / "text", "--dry-run")
    assert set(keys(signed)) == told("sign") and not signed["signed"]
    assert not Path(signed["file"]).exists()


def test_the_other_commands_print_what_the_page_lists(desk: Desk) -> None:
    published(desk)
    assert {*keys(desk.json("keys", desk.path)), "key"} == told("keys")
    dry = desk.json("rewind", desk.path, 1, "--dry-run")
    done = desk.json("rewind", desk.path, 1)
    assert set(keys(dry)) == set(keys(done)) == told("rewind")
    assert (dry["version"], dry["digest"]) == (done["version"], done["digest"])
    assert set(keys(desk.json("torrent", desk.path, "--out", desk.path.parent / "out"))) == told("torrent")
    assert set(keys(desk.json("fsck", desk.path))) <= told("fsck")
    found = {*keys(desk.json("fsck", desk.path, "--rebuild")), *keys(desk.json("fsck", desk.path, "--due"))}
    assert found == told("fsck")
    packed = desk.json("pack", desk.path, "--all", "-o", desk.path.parent / "packs")
    assert set(keys(packed)) == told("pack") and packed["packs"] == 1
    one = desk.path.parent / "one.pack"
    assert desk.json("pack", desk.path, desk.commit, "-o", one)["bytes"] == one.stat().st_size


def test_refresh_prints_what_the_page_lists(desk: Desk) -> None:
    words = ("--sign-key", desk.keys["alice"], "--freshness-key", desk.keys["bob"])
    desk.type("init", desk.path, "--name", "demo", *words)
    desk.type("publish", desk.path)
    assert set(keys(desk.json("refresh", desk.path, "--valid-days", 60))) == told("refresh")


def test_trust_prints_what_the_page_lists(desk: Desk) -> None:
    published(desk)
    file = desk.path.parent / "bob.gpg"
    file.write_bytes(desk.keys.export("bob"))
    dry, added = desk.json("trust", desk.path, "add", file, "--dry-run"), desk.json("trust", desk.path, "add", file)
    assert dry == added
    found = set(keys(added)) | set(keys(desk.json("trust", desk.path, "list")))
    found |= set(keys(desk.json("trust", desk.path, "check")))
    bob = desk.keys["bob"]
    dry = desk.json("trust", desk.path, "remove", bob, "--dry-run")
    assert dry == desk.json("trust", desk.path, "remove", bob)
    found |= set(keys(dry))
    of_followed = {"repository", "ref", "paths", "commit", "trouble", "changed"}
    assert found | of_followed | {"validity"} == told("trust")


def test_offer_and_inbox_print_what_the_page_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = Offering(tmp_path, shared_keys(), capsys)
    there.commit("better", by="bob")
    there.offer()
    assert set(keys(there.json("offer", there.mirror, "--list"))) == told("offer")
    found = {*keys(there.add()), *keys(there.inbox("--remove", there.key("bob")))}
    assert found | {"feed"} == told("inbox")


def test_a_dry_sync_says_what_a_newer_catalogue_would_bring_and_holds_it_not(desk: Desk) -> None:
    desk.type("init", desk.path, "--name", "demo", "--sign-key", desk.keys["alice"])
    desk.type("publish", desk.path)
    ring, mirror = desk.path.parent / "alice.gpg", desk.path.parent / "m.git"
    ring.write_bytes(desk.keys.export("alice"))
    words = ("sync", desk.path / "gtfs" / "catalogue" / "latest.asc", "-o", f"offline,repo={mirror},keyring={ring}")
    assert desk.json(*words, "--dry-run") == {"repository": str(mirror), "version": None}
    assert not mirror.exists()
    desk.type(*words, exit_code=5)  # the catalogue came, and its reel has no peer
    tree = desk.git("rev-parse", "HEAD^{tree}")
    second = desk.git("commit-tree", tree, "-p", desk.commit, "-m", "second")
    desk.git("update-ref", "refs/heads/main", second)
    desk.type("publish", desk.path)
    before = digests(mirror)
    found = desk.json("sync", mirror, "--dry-run")
    assert digests(mirror) == before
    assert (found["version"], found["newest"], found["reels"]) == (1, 2, 2)
    (moved,) = found["refs"]
    assert (moved["ref"], moved["from"], moved["to"]) == ("refs/heads/main", None, second)
    of_sync = told("sync")
    assert set(keys(found)) - {"feed", "asked", "answered", "error", "exit_code", "failures", "freshness"} <= of_sync


def test_a_dry_run_writes_nothing(desk: Desk) -> None:
    published(desk)
    file = desk.path.parent / "bob.gpg"
    file.write_bytes(desk.keys.export("bob"))
    before = digests(desk.path)
    for words in (
        ("init", desk.path, "--valid-days", "5", "--publish", "auto", "--hook"),
        ("publish", desk.path, "--force"),
        ("rewind", desk.path, "1"),
        ("trust", desk.path, "add", file),
        ("fsck", desk.path, "--rebuild"),
    ):
        assert desk.type(*words, "--dry-run")
        assert digests(desk.path) == before, words


def test_a_dry_run_fails_as_what_it_is_of(desk: Desk) -> None:
    published(desk)
    for words, code in (
        (("rewind", desk.path, "9"), 2),
        (("trust", desk.path, "remove", desk.keys["alice"]), 2),
        (("trust", desk.path, "add", desk.path / "HEAD"), 4),
        (("init", desk.path, "--name", "other"), 2),
    ):
        for more in ((), ("--dry-run",)):
            desk.type(*words, *more, exit_code=code)
