# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks as programs: where git has them, as whom they run, and how one ends that does not end by itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gtfs.ids import SHA1
from gtfs.reel.index import Index
from gtfs.repo.eventhooks import hooks_in
from gtfs.repo.hooks import Hook, HookFailed, find_hooks, owner_of, run_hook
from gtfs.repo.repository import Repository, create_repository

STRANGER = 65534
LINES = [(b"0" * 40, b"1" * 40, b"refs/heads/main"), (b"2" * 40, b"0" * 40, b"refs/heads/caf\xc3\xa9")]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    found = create_repository(tmp_path / "a.git", SHA1)
    found.state_directory.mkdir(exist_ok=True)
    return found


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def run(repository: Repository, hook: Hook, most_s: float = 600, *, stop: bool = False) -> None:
    run_hook(repository, owner_of(repository), hook, LINES, most_s=most_s, stop=lambda: stop)


def test_hooks_are_where_gits_settings_have_them(repository: Repository, tmp_path: Path) -> None:
    program(repository.layout.git_hooks / "post-receive", "")
    program(repository.layout.hooks / "b", "")
    program(repository.layout.hooks / "a", "")
    program(repository.layout.hooks / "c.sample", "")
    for event in ("published", "withdrawn", "trouble", "offered"):  # which hear of something else
        program(repository.layout.hooks / event, "")
    program(repository.layout.hooks / "d", "").chmod(0o644)
    owner = owner_of(repository)
    assert [hook.name for hook in find_hooks(repository, owner)] == ["post-receive", "gtfs/hooks/a", "gtfs/hooks/b"]
    elsewhere = program(tmp_path / "more" / "post-update", "")
    repository.git("config", "core.hooksPath", str(elsewhere.parent))
    found = find_hooks(repository, owner)
    assert [(hook.name, hook.takes_names) for hook in found[:1]] == [("post-update", True)]
    assert found[0].path == elsewhere


def test_a_hook_of_any_name_is_kept_by_index_and_log(repository: Repository, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(b"caf\xe9"))
    program(repository.layout.hooks / odd, "exit 1")
    program(tmp_path / odd / "trouble", "").chmod(0o644)
    owner = owner_of(repository)
    found = [*find_hooks(repository, owner), *hooks_in([tmp_path / odd], owner, "trouble")]
    with Index(tmp_path / "node.db") as index:
        index.hooks.gather([hook.name for hook in found])
        for hook in found:
            with pytest.raises(HookFailed) as caught:
                run(repository, hook)
            index.hooks.failed(hook.name, 0, str(caught.value))
        assert {failure.hook for failure in index.hooks.failures()} == {hook.name for hook in found}
    assert len(found) == 2 and b"gtfs/hooks/caf\\udce9: " in repository.layout.hooks_log.read_bytes()


def test_lines_and_names_are_those_that_git_gives(repository: Repository, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(repository, Hook("a", program(tmp_path / "a", f"cat >{out}")))
    assert out.read_bytes() == b"".join(b"%s %s %s\n" % line for line in LINES)
    run(repository, Hook("b", program(tmp_path / "b", f'printf "%s\\n" "$@" >{out}'), takes_names=True))
    assert out.read_bytes() == b"".join(name + b"\n" for _, _, name in LINES)


def test_more_names_than_a_program_takes_come_in_several_calls(repository: Repository, tmp_path: Path) -> None:
    out = tmp_path / "out"
    hook = Hook("many", program(tmp_path / "many", f"echo $# >>{out}"), takes_names=True)
    lines = [(b"0" * 40, b"1" * 40, b"refs/heads/%06d" % n + b"x" * 200) for n in range(20_000)]
    run_hook(repository, owner_of(repository), hook, lines, most_s=600, stop=lambda: False)
    counts = [int(line) for line in out.read_text().split()]
    assert sum(counts) == 20_000
    assert len(counts) > 1


def test_a_hook_of_another_users_repository_runs_as_that_user(repository: Repository, tmp_path: Path) -> None:
    assert os.geteuid() == 0, "needs root, to give a repository away"
    out = tmp_path / "out"
    out.touch()
    for path in (repository.path, out):
        os.chown(path, STRANGER, STRANGER)
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(0o755)
    run(repository, Hook("who", program(tmp_path / "who", f"(id -u; id -g; id -G; umask; cat) >{out}")))
    assert out.read_text().split()[:3] == [str(STRANGER)] * 3


def test_a_hook_that_takes_too_long_is_ended_with_all_that_it_started(repository: Repository, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    hook = Hook("slow", program(tmp_path / "slow", f"sleep 1000 & echo $! >{pid}; wait"))
    with pytest.raises(HookFailed, match="slow took too long"):
        run(repository, hook, most_s=1)
    ended = subprocess.run(["ps", "-o", "stat=", "-p", pid.read_text().strip()], capture_output=True, text=True)
    assert ended.stdout.strip()[:1] in ("", "Z")


def test_a_hook_is_ended_when_the_node_ends(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(HookFailed, match="as the node ends"):
        run(repository, Hook("slow", program(tmp_path / "slow", "sleep 1000")), stop=True)


def test_a_hook_that_writes_without_end_is_ended(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(HookFailed, match="wrote more than"):
        run(repository, Hook("loud", program(tmp_path / "loud", "yes")))
    assert repository.layout.hooks_log.stat().st_size < 1 << 20


def test_what_a_hook_leaves_running_goes_on_and_is_not_waited_for(repository: Repository, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    run(repository, Hook("daemon", program(tmp_path / "daemon", f"sleep 1000 & echo $! >{pid}")))
    os.kill(int(pid.read_text()), 9)


def test_an_old_log_makes_room_for_a_new_one(repository: Repository, tmp_path: Path) -> None:
    repository.layout.hooks_log.write_bytes(b"x" * (2 << 20))
    run(repository, Hook("a", program(tmp_path / "a", "echo said")))
    assert repository.layout.hooks_log_before.stat().st_size == 2 << 20
    assert "said" in repository.layout.hooks_log.read_text()


def test_a_program_that_cannot_be_run_is_a_failure(repository: Repository, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(b"#!/nonexistent/interpreter\n")
    path.chmod(0o755)
    with pytest.raises(HookFailed, match="bad cannot be run"):
        run(repository, Hook("bad", path))
