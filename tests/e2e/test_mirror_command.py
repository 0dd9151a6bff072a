# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs mirror`` by whole programs: one command, and a daemon follows and seeds from then on, a checkout with it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from house import ROOT, Done, House, Key
from seeding import Seeder, catalogue, seed
from test_collection import publish as publish_one
from waiting import WAIT_S, wait_for


class Operator:
    """Somebody with a gtfs.conf of his own, and a daemon when he starts one."""

    def __init__(self, house: House, publisher: Seeder) -> None:
        self.house = house
        self.config = house.root / "etc" / "gtfs.conf"
        self.config.parent.mkdir()
        self.config.write_text(
            f"[defaults]\n\toptions = listen=127.0.0.1:0,nodht,nolsd,poll=1,peer=127.0.0.1:{publisher.port}\n"
        )
        self.drop_ins = Path(f"{self.config}.d")
        self.env = {"STATE_DIRECTORY": f"{house.root}/data", "RUNTIME_DIRECTORY": f"{house.root}/run"}
        self.path = house.root / "mirror.git"
        self.process: subprocess.Popen[bytes] | None = None
        self.log = house.root / "daemon.log"
        house.keep_sound(self.path)

    def mirror(self, *words: Any, code: int = 0) -> Done:
        command = ["gtfs", "mirror", "--config", self.config, "--keyring", self.house.key.public, *words]
        return self.house.run(command, env=self.env, code=code)

    def start(self) -> None:
        with self.log.open("ab") as out:
            command = ["gtfs", "-v", "seed", "--config", self.config]
            self.process = self.house.start(command, env=self.env, out=out)
        wait_for(lambda: self.list(code=None).code == 0, self.log.read_text)

    def list(self, code: int | None = 0) -> Done:
        return self.house.run(["gtfs", "seed", "list", "--json"], env=self.env, code=code)

    def members(self) -> dict[str, str]:
        return {item["name"]: item["stage"] for item in self.list().json()["repositories"]}

    def end(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(WAIT_S) == 0
        self.process = None

    def status(self) -> Any:
        return self.house.gtfs("status", "--json", self.path).json()

    def wait_at(self, path: Path, oid: str) -> None:
        wait_for(lambda: os.path.lexists(path) and os.readlink(path).endswith(oid), self.log.read_text)


@pytest.fixture
def publisher(house: House, pub: Path) -> Seeder:
    return seed(house, pub, options="poll=1")


@pytest.fixture
def operator(house: House, publisher: Seeder) -> Operator:
    return Operator(house, publisher)


def told() -> set[str]:
    """The keys that gtfs(1) lists."""
    page = (ROOT / "man" / "gtfs.1").read_text().partition(".Ss Of mirror\n")[2].partition(".Ss ")[0]
    lines = [line for line in page.splitlines() if line.startswith((".It Cm", ".Cm"))]
    return {word for line in lines for word in re.findall(r"[a-z]+", line.partition("Cm ")[2])}


def more(house: House, pub: Path, text: str) -> str:
    """One more commit, published by the running publisher."""
    oid = house.commit(pub, text, {"news": text.encode()})
    house.gtfs("publish", pub)
    return oid


def test_one_command_makes_a_mirror_that_the_running_daemon_follows_from_then_on(
    operator: Operator, house: House, pub: Path
) -> None:
    operator.start()
    done = operator.mirror(catalogue(pub), operator.path)
    assert f"{operator.path} mirrors {catalogue(pub)} from now on" in done.out
    assert house.refs(operator.path) == house.refs(pub)
    assert operator.members() == {"mirror": "running"}
    (drop_in,) = operator.drop_ins.iterdir()
    text = drop_in.read_text()
    assert drop_in.name == "mirror-mirror.conf" and "keyring" not in text and str(operator.path) in text
    # Again, by another spelling of the same: nothing changes.
    for source in (catalogue(pub), catalogue(pub).parent):
        done = operator.mirror("--json", source, operator.path)
        found = done.json()
        assert (found["new"], found["changed"], found["next"]) == (False, [], None) and found["sync"]["version"] == 1
        assert found.keys() | {"text"} == told()
    assert "already; nothing changed" in operator.mirror(catalogue(pub)).out  # it is known by its SOURCE, too
    assert drop_in.read_text() == text and len(list(operator.drop_ins.iterdir())) == 1
    # What is new comes by itself, also after a restart.
    oid = more(house, pub, "while it runs")
    wait_for(lambda: house.refs(operator.path)["refs/heads/main"] == oid, operator.log.read_text)
    operator.end()
    oid = more(house, pub, "while it is off")
    operator.start()
    wait_for(lambda: house.refs(operator.path)["refs/heads/main"] == oid, operator.log.read_text)
    operator.end()


def test_another_source_or_directory_is_refused_with_what_to_do(operator: Operator, house: House, pub: Path) -> None:
    operator.mirror(catalogue(pub), operator.path)
    other = house.root / "other.asc"
    other.write_bytes(catalogue(pub).read_bytes())
    said = operator.mirror(other, operator.path, code=2).line
    assert f"which mirrors {catalogue(pub)}; give another DIR" in said
    said = operator.mirror("--name", "mirror", catalogue(pub), house.root / "second.git", code=2).line
    assert "mirror is the name of" in said and "--name" in said
    assert "is a repository; give its publisher's catalogue" in operator.mirror(pub, house.root / "x.git", code=2).line
    assert "publisher's own" in operator.mirror(catalogue(pub), pub, code=2).line
    said = operator.mirror("--name", "other", catalogue(pub), operator.path, code=2).line
    assert "is called mirror in" in said and "give it another name there" in said
    (operator.drop_ins / "mirror-mirror.conf").unlink()
    assert "is a mirror of" in operator.mirror(other, operator.path, code=2).line
    work = house.root / "work"
    house.run(["git", "init", "-q", work])
    assert "has a work tree" in operator.mirror(catalogue(pub), work, code=3).line
    assert list(operator.drop_ins.iterdir()) == []
    # One that gtfs sync made is taken over.
    assert operator.mirror("--json", catalogue(pub), operator.path).json()["new"]


def test_where_no_daemon_runs_it_is_fetched_here_and_how_to_start_one_is_said(
    operator: Operator, house: House, pub: Path
) -> None:
    done = operator.mirror(catalogue(pub), operator.path)
    assert "no daemon runs to follow it; start one: gtfs seed --config" in done.out
    assert house.refs(operator.path) == house.refs(pub)
    operator.start()
    wait_for(lambda: operator.members() == {"mirror": "running"}, operator.log.read_text)
    other = house.root / "other.conf"
    other.write_text("")
    done = house.run(["gtfs", "mirror", "--config", other, catalogue(pub)], env=operator.env, code=2)
    assert f"the daemon that runs reads {operator.config}" in done.line
    operator.end()


def test_nothing_is_left_of_a_mirror_that_is_not_trusted_and_a_dry_run_writes_nothing(
    operator: Operator, house: House, pub: Path, project: Path
) -> None:
    wrong = ["gtfs", "mirror", "--config", operator.config, "--signer", "A" * 40, catalogue(pub), operator.path]
    assert house.run(wrong, env=operator.env, code=3).line.startswith("gtfs: keyring")
    done = operator.mirror("--dry-run", catalogue(pub), operator.path)
    assert '[repository "mirror"]' in done.out and "would be written" in done.out
    assert operator.mirror("--dry-run", "--json", catalogue(pub), operator.path).json()["kind"] == "mirror"
    assert not operator.path.exists() and not operator.drop_ins.exists()
    operator.path.mkdir()  # an empty directory is taken, as git clone takes it
    operator.mirror(catalogue(pub), operator.path)
    assert (
        "nothing of the configuration would change" in operator.mirror("--dry-run", catalogue(pub), operator.path).out
    )


def test_the_default_directory_is_named_as_git_clone_names_it(operator: Operator, house: House, pub: Path) -> None:
    served = house.root / "srv" / "demo.git" / "gtfs" / "catalogue"
    shutil.copytree(catalogue(pub).parent, served)
    operator.mirror(f"file://{served}/latest.asc")
    assert house.refs(house.root / "demo.git") == house.refs(pub)


def test_options_and_the_place_to_push_to_are_set_anew(operator: Operator, house: House, pub: Path) -> None:
    operator.start()
    operator.mirror(catalogue(pub), operator.path)
    found = operator.mirror("--json", "-o", "cache_size=1G", "--push-url", "git@h:p", catalogue(pub), operator.path)
    assert found.json()["changed"] == ["options", "push_url"]
    assert "cache_size=1G" in (operator.drop_ins / "mirror-mirror.conf").read_text()
    assert "cache" in operator.status()["swarm"]
    clone = house.root / "clone"
    house.run(["git", "clone", "--quiet", operator.path, clone])
    house.run(["git", "-C", clone, "commit", "--quiet", "--allow-empty", "-m", "mine"])
    assert "push to git@h:p instead" in house.run(["git", "-C", clone, "push", "origin", "HEAD:main"], code=1).err
    assert "nothing of one repository" in operator.mirror("-o", "nodht", catalogue(pub), operator.path, code=2).line
    assert "--push-url" in operator.mirror("--push-url=-x", catalogue(pub), operator.path, code=2).line
    operator.end()


def test_a_checkout_follows_what_is_published_and_hooks_find_it_so(operator: Operator, house: House, pub: Path) -> None:
    operator.start()
    www = house.root / "www"
    first = house.git(pub, "rev-parse", "main")
    operator.mirror("--worktree", www, "--worktree", f"{house.root}/old@refs/tags/v0", catalogue(pub), operator.path)
    assert os.readlink(www) == f"www.gtfs/{first}"
    files = house.git(pub, "ls-tree", "-r", "--name-only", "-z", "main").split("\0")
    assert {str(p.relative_to(www)) for p in www.rglob("*") if not p.is_dir() or p.is_symlink()} == set(files) - {""}
    hook = operator.path / "hooks" / "post-receive"
    hook.write_text(f"#!/bin/sh\ncat {www}/news >{house.root}/seen\n")
    hook.chmod(0o755)
    oid = more(house, pub, "news")
    operator.wait_at(www, oid)
    wait_for(lambda: (house.root / "seen").exists(), operator.log.read_text)
    wait_for(lambda: (house.root / "seen").read_text() == "news", operator.log.read_text)
    found = {each["ref"]: each for each in operator.status()["worktrees"]}
    assert found["HEAD"] == {"path": str(www), "ref": "HEAD", "at": oid, "wanted": oid, "trouble": None}
    assert "v0 leads to no commit" in found["refs/tags/v0"]["trouble"]
    assert "v0 leads to no commit" in house.gtfs("status", operator.path).out
    # Somebody's file in the way stops nothing else, and what happened while nobody ran is made good.
    operator.end()
    house.git(pub, "tag", "v0", "main")
    oid = more(house, pub, "later")
    (house.root / "old").write_text("mine")
    operator.start()
    operator.wait_at(www, oid)
    wait_for(lambda: "move it away" in str(operator.status()["worktrees"]), operator.log.read_text)
    (house.root / "old").unlink()
    operator.mirror(catalogue(pub), operator.path)
    assert (house.root / "old" / "news").read_text() == "news"
    operator.end()


def test_a_sync_alone_brings_the_checkout_along(operator: Operator, house: House, pub: Path, publisher: Seeder) -> None:
    www = house.root / "www"
    operator.mirror("--worktree", www, catalogue(pub), operator.path)
    oid = more(house, pub, "news")
    options = f"listen=127.0.0.1:0,nodht,nolsd,peer=127.0.0.1:{publisher.port}"
    house.gtfs("sync", operator.path, "-o", options)
    assert os.readlink(www) == f"www.gtfs/{oid}"
    (www).unlink()
    www.mkdir()
    oid = more(house, pub, "more news")
    house.gtfs("sync", operator.path, "-o", options)
    assert house.refs(operator.path)["refs/heads/main"] == oid  # a checkout that is not ours stops no sync
    found = house.gtfs("status", "--json", operator.path).json()["worktrees"]
    assert "move it away" in found[0]["trouble"]


def test_a_collection_is_mirrored_below_a_directory(house: House, key: Key) -> None:
    top = house.root / "git"
    for name in ("a.git", "pub/b.git"):
        publish_one(house, key, top / name, name)
    sign = ["--name", "all", "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home]
    house.gtfs("collection", "init", top, *sign)
    house.gtfs("collection", "publish", top)
    operator = Operator(house, seed(house, top / "a.git", top / "pub/b.git"))
    operator.start()
    mirrors = house.root / "mirrors"
    found = operator.mirror("--json", top, mirrors).json()
    assert (found["kind"], found["name"], found["repositories"], found["new"]) == ("collection", "all", 2, True)
    house.keep_sound(mirrors / "a.git", mirrors / "pub/b.git")
    for name in ("a.git", "pub/b.git"):
        wait_for(
            lambda name=name: (mirrors / name).exists() and house.refs(mirrors / name) == house.refs(top / name),
            operator.log.read_text,
        )
    assert not operator.mirror("--json", top, mirrors).json()["new"]
    assert re.search("already; nothing changed", operator.mirror(top).out)
    publish_one(house, key, house.root / "other.git", "other")
    assert "give another DIR" in operator.mirror(catalogue(house.root / "other.git"), mirrors, code=2).line
    assert "for one repository" in operator.mirror("--worktree", house.root / "w", top, mirrors, code=2).line
    operator.end()
