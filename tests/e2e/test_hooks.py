# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror's own hooks, by whole programs: run after refs have moved, beside the node, and again when they failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from house import House
from test_mirror_refs import Follow
from waiting import wait_for

ZERO = "0" * 40


@pytest.fixture
def mirror(house: House, pub: Path) -> Follow:
    return Follow(house, pub)


def hook(path: Path, text: str) -> Path:
    """There at once, as a node that runs may look for it just now."""
    path.parent.mkdir(exist_ok=True)
    new = path.parent.with_name("hook.new")
    new.write_text(f"#!/bin/sh\n{text}\n")
    new.chmod(0o755)
    return new.replace(path)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_hooks_hear_of_what_moved_as_after_a_push(mirror: Follow) -> None:
    mirror.sync()
    before = mirror.house.refs(mirror.path)["refs/heads/main"]
    heard, named, own, surroundings = (mirror.house.root / name for name in ("heard", "named", "own", "surroundings"))
    hook(mirror.path / "hooks" / "post-receive", f"pwd >{surroundings}; env >>{surroundings}; cat >>{heard}")
    hook(mirror.path / "hooks" / "post-update", f'echo "$@" >>{named}')
    hook(mirror.path / "gtfs" / "hooks" / "build", f"cat >>{own}; echo built")
    hook(mirror.path / "gtfs" / "hooks" / "off.sample", "exit 1")
    mirror.house.git(mirror.pub, "branch", "extra", "main")
    mirror.house.commit(mirror.pub, "more", {"more": b"more\n"})
    mirror.publish()
    mirror.sync()
    now = mirror.house.refs(mirror.path)["refs/heads/main"]
    assert sorted(lines(heard)) == [f"{ZERO} {before} refs/heads/extra", f"{before} {now} refs/heads/main"]
    assert lines(named) == ["refs/heads/extra refs/heads/main"]
    assert lines(own) == lines(heard)
    found = lines(surroundings)
    assert found[0] == str(mirror.path)
    words = dict(line.split("=", 1) for line in found[1:])
    assert words["GIT_DIR"] == "."
    assert words["HOME"] != "/nonexistent"
    assert not {name for name in words if name.startswith(("GIT_AUTHOR", "GIT_CONFIG", "GNUPG"))}
    mirror.sync()
    assert lines(heard) == lines(own)
    assert len(lines(heard)) == 2  # nothing moved: nothing is heard
    log = (mirror.path / "gtfs" / "hooks.log").read_text()
    assert "gtfs/hooks/build: 2 refs" in log
    assert "\nbuilt\n" in log


def test_a_hook_that_fails_stops_nothing_and_hears_of_all_at_the_next_run(mirror: Follow) -> None:
    heard = mirror.house.root / "heard"
    mirror.sync()
    one = hook(mirror.path / "hooks" / "post-receive", "echo it cannot be built; exit 3")
    other = mirror.house.root / "other"
    hook(mirror.path / "gtfs" / "hooks" / "other", f"cat >>{other}")
    before = mirror.house.refs(mirror.path)["refs/heads/main"]
    for subject in ("one", "two"):
        mirror.house.commit(mirror.pub, subject, {subject: b"more\n"})
        mirror.publish()
        mirror.sync()
        assert mirror.held_back() == {}
    found = mirror.house.gtfs("status", "--json", mirror.path).json()["hooks"]
    assert [(f["hook"], f["times"]) for f in found["failed"]] == [("post-receive", 2)]
    assert found["due"] == ["post-receive"]
    assert "post-receive ended with 3" in mirror.house.gtfs("status", mirror.path).out
    assert "it cannot be built" in Path(found["log"]).read_text()
    assert len(lines(other)) == 2
    hook(one, f"cat >>{heard}")
    mirror.sync()
    now = mirror.house.refs(mirror.path)["refs/heads/main"]
    assert lines(heard) == [f"{before} {now} refs/heads/main"]
    found = mirror.house.gtfs("status", "--json", mirror.path).json()["hooks"]
    assert (found["failed"], found["due"]) == ([], [])


def test_hooks_are_off_when_the_settings_say_so(mirror: Follow) -> None:
    mirror.sync()
    heard = mirror.house.root / "heard"
    hook(mirror.path / "hooks" / "post-receive", f"cat >>{heard}")
    mirror.house.run(["git", "config", "--file", mirror.path / "gtfs" / "config", "gtfs.hooks", "off"])
    mirror.house.commit(mirror.pub, "more", {"more": b"more\n"})
    mirror.publish()
    mirror.sync()
    assert lines(heard) == []


def test_a_hook_that_hangs_holds_up_neither_refs_nor_the_end_of_the_node(house: House, pub: Path) -> None:
    publisher = house.mount(pub, "publisher")
    mirror = house.mount_mirror(publisher, "mirror", "prefetch", "poll=1", expected=["post-receive"])
    wait_for(lambda: house.refs(mirror.repository) == house.refs(pub), "the mirror follows")
    started = house.root / "started"
    hook(mirror.repository / "hooks" / "post-receive", f"echo now >>{started}; sleep 1000")
    house.commit(pub, "more", {"more": b"more\n"})
    house.gtfs("publish", pub)
    wait_for(lambda: lines(started), "the hook runs")
    house.commit(pub, "still more", {"more": b"still\n"})
    house.gtfs("publish", pub)
    wait_for(lambda: house.refs(mirror.repository) == house.refs(pub), "refs move while the hook hangs")
    assert mirror.fresh_status()["hooks"]["running"] == "post-receive"
    mirror.unmount()
    assert lines(started) == ["now"]


def test_what_a_hook_may_take_is_a_setting(mirror: Follow) -> None:
    mirror.sync()
    mirror.house.run(["git", "config", "--file", mirror.path / "gtfs" / "config", "gtfs.hookseconds", "1"])
    hook(mirror.path / "hooks" / "post-receive", "sleep 1000")
    mirror.house.commit(mirror.pub, "more", {"more": b"more\n"})
    mirror.publish()
    mirror.sync()
    assert "post-receive took too long and was ended" in mirror.house.gtfs("status", mirror.path).out
