# SPDX-License-Identifier: GPL-3.0-or-later
"""An operator's hooks, by whole programs: after a publish, and when something is wrong and when it is over."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from house import House
from seeding import seed, sync_options
from test_hooks import hook, lines
from test_mirror_refs import Follow
from waiting import wait_for

from gtfs.repo import eventhooks


def published_hook(pub: Path, text: str) -> Path:
    return hook(pub / "gtfs" / "hooks" / "published", text)


def trouble_hook(repository: Path, heard: Path) -> Path:
    words = '"$GTFS_TROUBLE $GTFS_STATE $GTFS_REASON"'
    return hook(repository / "gtfs" / "hooks" / "trouble", f"echo {words} >>{heard}; cat >>{heard}.in")


@pytest.mark.parametrize("runs", [True, False])
def test_a_publish_is_told_with_the_catalogue_as_input(house: House, pub: Path, runs: bool) -> None:
    uploaded, words = house.root / "uploaded", house.root / "words"
    published_hook(pub, f"cat >{uploaded}.tmp; env >{words}; mv {uploaded}.tmp {uploaded}")
    if runs:
        house.mount(pub, "A", "offline")
    house.commit(pub, "more", {"more": b"more\n"})
    house.gtfs("publish", pub)
    latest = pub / "gtfs" / "catalogue" / "latest.asc"
    wait_for(lambda: uploaded.exists() and uploaded.read_bytes() == latest.read_bytes(), "it is uploaded")
    found = dict(line.split("=", 1) for line in lines(words))
    assert found["GTFS_EVENT"] == "published"
    assert (found["GTFS_VERSION"], found["GTFS_NAME"]) == ("2", "project")
    assert (found["GTFS_REPOSITORY"], found["GTFS_CATALOGUE"]) == (str(pub), str(latest))


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("exit 3", 0o755, "ended with 3"),
        ("sleep 1000", 0o755, "took too long and was ended"),
        ("exit 0", 0o644, "is not executable: chmod +x "),
    ],
)
def test_a_hook_that_cannot_do_its_work_is_named_and_stops_nothing(
    house: House, pub: Path, text: str, mode: int, said: str
) -> None:
    path = published_hook(pub, text)
    path.chmod(mode)
    setting = ["git", "config", "--file", pub / "gtfs" / "config", "gtfs.hookseconds"]
    if text == "sleep 1000":  # the others may take longer on a slow machine
        house.run([*setting, "1"])
    house.commit(pub, "more", {"more": b"more\n"})
    done = house.gtfs("publish", pub)
    assert "version 2" in done.out
    assert f"gtfs/hooks/published {said}" in done.err
    assert f"gtfs/hooks/published {said}" in house.gtfs("status", pub).out
    # It is tried again, and hears of what is published then.
    heard = house.root / "heard"
    hook(path, f"echo $GTFS_VERSION >>{heard}")
    house.run([*setting, "600"])
    house.gtfs("publish", pub, "--force")
    assert lines(heard) == ["3"]
    assert house.gtfs("status", "--json", pub).json()["hooks"]["failed"] == []


def test_a_hook_of_another_user_is_not_run(house: House, pub: Path) -> None:
    heard = house.root / "heard"
    path = published_hook(pub, f"echo heard >{heard}")
    os.chown(path, 65534, -1)
    house.commit(pub, "more", {"more": b"more\n"})
    assert "belongs to nobody, not to you" in house.gtfs("publish", pub, code=3).line
    assert not heard.exists()
    os.chown(path, 0, -1)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda path: None, None),
        (lambda path: os.chown(path, 65534, -1), "belongs to another user"),
        (lambda path: os.chown(path.parent, 65534, -1), "belongs to another user"),
        (lambda path: path.chmod(0o775), "others can write it"),
        (lambda path: path.parent.chmod(0o777), "others can write it"),
        (lambda path: path.chmod(0o644), "is not executable"),
        (lambda path: (path.unlink(), path.mkdir()), "is no file"),
    ],
)
def test_a_hook_of_everybody_s_repositories_is_root_s_or_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object], wrong: str | None
) -> None:
    monkeypatch.setattr(eventhooks, "EVERYBODYS", tmp_path / "hooks")
    assert eventhooks.everybodys_moved() == []
    change(hook(tmp_path / "hooks" / "moved", "exit 0"))
    (found,) = eventhooks.everybodys_moved()
    assert (found.wrong is None) if wrong is None else wrong in (found.wrong or "")


def test_hooks_of_a_directory_hear_of_each_repository_that_is_told_of_it(house: House, pub: Path) -> None:
    mirror, heard, directory = Follow(house, pub), house.root / "heard", house.root / "hooks"
    moved = hook(directory / "moved", f"echo moved $(pwd) >>{heard}; cat >>{heard}")
    hook(directory / "published", f"echo $GTFS_EVENT $GTFS_VERSION >>{heard}; cat >/dev/null")
    mirror.seeder = seed(house, pub, options=f"hooks={directory}")
    wait_for(lambda: lines(heard) == ["published 1"], "it was told what was published")
    options = sync_options(house, mirror.path, mirror.seeder.port, more=f"hooks={directory}")
    house.gtfs("sync", mirror.feed, "-o", options)
    (tip,) = {line.split()[1] for line in lines(heard) if line.endswith(" refs/heads/main")}
    assert (lines(heard)[1], tip) == (f"moved {mirror.path}", house.refs(pub)["refs/heads/main"])
    house.commit(pub, "more", {"more": b"more\n"})
    moved.chmod(0o775)
    house.gtfs("publish", pub)
    house.gtfs("sync", mirror.feed, "-o", options)
    (failed,) = house.gtfs("status", "--json", mirror.path).json()["hooks"]["failed"]
    assert (failed["hook"], failed["times"]) == (str(moved), 1)
    assert "others can write it" in failed["reason"]
    assert "there is no such directory" in house.gtfs("sync", mirror.feed, "-o", "hooks=/nonexistent", code=2).line


def test_trouble_is_told_once_and_when_it_is_over(house: House, pub: Path) -> None:
    mirror = Follow(house, pub)
    mirror.sync()
    heard = house.root / "heard"
    trouble_hook(mirror.path, heard)
    broken = hook(mirror.path / "gtfs" / "hooks" / "build", "exit 3")
    house.commit(pub, "more", {"more": b"more\n"})
    mirror.publish()
    for _ in range(3):
        mirror.sync()
    assert lines(heard) == ["hook-failed begun gtfs/hooks/build ended with 3"]
    assert lines(Path(f"{heard}.in")) == [f"{mirror.path}: hook-failed begun: gtfs/hooks/build ended with 3"]
    hook(broken, "exit 4")
    mirror.sync()
    hook(broken, "exit 0")
    mirror.sync()
    assert lines(heard)[1:] == [
        "hook-failed changed gtfs/hooks/build ended with 4",
        "hook-failed over gtfs/hooks/build ended with 4",
    ]


def test_a_running_node_tells_trouble_and_logs_it(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B", "poll=1", "prefetch", expected=["gtfs/hooks/build", "ended with 3"])
    wait_for(lambda: house.refs(b.repository) == house.refs(pub), "it follows")
    heard = house.root / "heard"
    trouble_hook(b.repository, heard)
    hook(b.repository / "gtfs" / "hooks" / "build", "exit 3")
    house.commit(pub, "more", {"more": b"more\n"})
    house.gtfs("publish", pub)
    wait_for(lambda: lines(heard) == ["hook-failed begun gtfs/hooks/build ended with 3"], "it is told")
    wait_for(lambda: "trouble: hook-failed: gtfs/hooks/build ended with 3" in b.text(), "it is logged")


def test_no_hook_runs_where_the_settings_say_so(house: House, pub: Path) -> None:
    heard = house.root / "heard"
    published_hook(pub, f"echo heard >{heard}")
    house.run(["git", "config", "--file", pub / "gtfs" / "config", "gtfs.hooks", "off"])
    house.commit(pub, "more", {"more": b"more\n"})
    house.gtfs("publish", pub)
    assert not heard.exists()
