# SPDX-License-Identifier: GPL-3.0-or-later
"""Other users of the machine: what they plant, read or hold; and file systems that can only be read."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import House, tmpfs
from waiting import WAIT_S

STRANGER = 65534
HOOKS = """applypatch-msg commit-msg fsmonitor-watchman post-applypatch post-checkout post-commit post-index-change
    post-merge post-receive post-rewrite post-update pre-applypatch pre-auto-gc pre-commit pre-merge-commit pre-push
    pre-rebase pre-receive prepare-commit-msg proc-receive push-to-checkout reference-transaction sendemail-validate
    update""".split()  # noqa: SIM905  a list of words is easier to read
SETTINGS = """core.fsmonitor core.sshCommand core.pager core.editor core.askPass core.alternateRefsCommand core.gitProxy
    gpg.program gpg.ssh.program gpg.x509.program uploadpack.packObjectsHook diff.external sequence.editor
    credential.helper filter.x.clean filter.x.smudge filter.x.process pager.config pager.rev-list pager.for-each-ref
    merge.x.driver diff.x.textconv diff.x.command interactive.diffFilter remote.origin.uploadpack""".split()  # noqa: SIM905  a list of words is easier to read
ALIASES = """rev-parse rev-list cat-file config for-each-ref update-ref symbolic-ref index-pack
    pack-objects""".split()  # noqa: SIM905  a list of words is easier to read


def plant(house: House, repository: Path) -> Path:
    """Everything by which a repository can make git start a program; gives the file that such a program would make."""
    mark = house.root / f"ran-{repository.name}"
    program = house.root / "planted"
    program.write_text(f'#!/bin/sh\necho "$0" "$@" >>{mark}\n')
    program.chmod(0o755)
    more = house.root / "planted-hooks"
    for hooks in (repository / "hooks", more):
        hooks.mkdir(exist_ok=True)
        for hook in HOOKS:
            (hooks / hook).unlink(missing_ok=True)
            (hooks / hook).symlink_to(program)
    included = house.root / "planted-config"
    included.unlink(missing_ok=True)
    for setting in SETTINGS:
        house.run(["git", "config", "--file", included, setting, program])
    for alias in ALIASES:
        house.run(["git", "config", "--file", included, f"alias.{alias}", f"!{program}"])
    house.run(["git", "config", "--file", included, "core.hooksPath", more])
    house.run(["git", "config", "--file", repository / "config", "include.path", included])
    (repository / "info").mkdir(exist_ok=True)
    (repository / "info" / "attributes").write_text("* filter=x diff=x merge=x\n")
    return mark


def test_nothing_that_a_repository_plants_is_started(house: House, fresh: Path) -> None:
    marks = [plant(house, fresh)]
    key = house.key
    house.gtfs("init", fresh, "--name", "planted", "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home)
    house.gtfs("publish", fresh)
    publisher = house.mount(fresh, "a")
    mirror = house.empty("mirror.git")
    marks.append(plant(house, mirror))
    options = ",".join([*house.mirror_options(publisher), "listen=127.0.0.1:0", f"repo={mirror}"])
    house.gtfs("sync", fresh / "gtfs" / "catalogue" / "latest.asc", "-o", options)
    assert house.history(mirror)
    # After refs have moved a mirror runs these two on purpose (test_hooks.py), and nothing else.
    started = {Path(line.split()[0]).name for line in marks[1].read_text().splitlines()}
    assert started == {"post-receive", "post-update"}
    marks[1].unlink()
    # Git runs what is planted: this is no test of a spelling.
    house.git(mirror, "update-ref", "refs/heads/other", house.history(mirror)[0])
    assert marks[1].exists()
    marks[1].unlink()
    publisher.unmount()
    mounted = house.mount(mirror, "m", "offline")
    house.gtfs("status", mirror)
    mounted.unmount()
    for command in (["fsck"], ["fsck", "--rebuild"], ["status"]):
        house.gtfs(*command, mirror)
    assert not any(mark.exists() for mark in marks), [mark.read_text() for mark in marks if mark.exists()]


def test_no_command_of_root_touches_what_belongs_to_another_user(house: House, fresh: Path) -> None:
    mark = plant(house, fresh)
    (fresh / "gtfs").mkdir()
    victim = house.root / "victim"
    victim.write_text("precious\n")
    for name in ("lock", "open.reel", "node.db", "config", "control"):
        (fresh / "gtfs" / name).symlink_to(victim)
    for path in (fresh, *fresh.rglob("*")):
        os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
    place = house.root / "m"
    place.mkdir()
    key = house.key.fingerprint
    for command in (
        ["fsck", fresh], ["fsck", "--rebuild", fresh], ["status", fresh], ["publish", fresh], ["keys", fresh],
        ["init", fresh, "--sign-key", key], ["torrent", fresh, "--out", place], ["mount", fresh, place],
        ["sync", fresh], ["mount", fresh, place, "-o", "ro,offline"], ["seed", fresh],
    ):  # fmt: skip
        line = house.gtfs(*command, code=3).line
        assert "not to you" in line and "safe.directory" in line, line
    # Who allows it to git still writes nothing through his links.
    house.run(["git", "config", "--global", "--add", "safe.directory", fresh])
    for command in (["fsck", fresh], ["status", fresh], ["sync", fresh, "-o", "offline"]):
        line = house.gtfs(*command, code=3).line
        assert f"{fresh}/gtfs belongs to" in line, line
    assert victim.read_text() == "precious\n" and not mark.exists()
    house.forgive(fresh)


@pytest.mark.parametrize("name", ["lock", "open.reel", "node.db", "config", "reels", "catalogue", "keys", "incoming"])
def test_no_command_follows_a_link_in_the_state_directory(house: House, fresh: Path, name: str) -> None:
    house.gtfs("fsck", fresh)
    place, victim = fresh / "gtfs" / name, house.root / "victim"
    if place.is_dir():
        shutil.rmtree(place)
        victim.mkdir()
    else:
        place.unlink(missing_ok=True)
        victim.write_text("precious\n")
    place.symlink_to(victim)
    for command in (["fsck", fresh], ["fsck", "--rebuild", fresh], ["status", fresh], ["publish", fresh]):
        assert f"{name} is a link" in house.gtfs(*command, code=3).line
    assert os.listdir(victim) == [] if victim.is_dir() else victim.read_text() == "precious\n"


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that everybody can reach."""
    with tempfile.TemporaryDirectory(prefix="gtfs-neighbours-", dir="/tmp") as place:
        os.chmod(place, 0o755)
        yield Path(place)


def as_stranger(*command: object) -> subprocess.CompletedProcess[str]:
    become = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]
    return subprocess.run([*become, *map(str, command)], capture_output=True, text=True, timeout=WAIT_S)


def test_nobody_else_reads_the_state_or_holds_its_lock(house: House, pub: Path, open_place: Path) -> None:
    repository = open_place / "pub.git"
    shutil.copytree(pub, repository)
    state = repository / "gtfs"
    # As an older gtfs left it.
    for path in (state, *state.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert as_stranger("flock", "-n", "-s", state / "lock", "true").returncode == 0
    old = os.umask(0)
    try:
        house.gtfs("publish", "--force", repository)
        mount = house.mount(repository, "m", "nodht")
    finally:
        os.umask(old)
    for place in ("", "lock", "reels", "catalogue/latest.asc", "keys", "node.db"):
        assert "Permission denied" in as_stranger("cat", state / place).stderr
    assert as_stranger("flock", "-n", "-s", state / "lock", "true").returncode
    # Directories keep others out; what libtorrent makes in them is as it is, and reels that a web server has, too.
    within = {state / "reels", *(state / "bells").glob("*")}
    loose = [p for p in (state, *state.rglob("*")) if stat.S_IMODE(p.lstat().st_mode) & 0o077]
    assert [p for p in loose if p.is_dir() or p.parent not in within] == []
    mount.unmount()
    house.gtfs("fsck", repository)
    house.forgive(repository)


@pytest.fixture
def small(house: House) -> Iterator[Path]:
    with tmpfs(house.root / "disk", "64m") as disk:
        yield disk


def read_only(disk: Path, now: bool = True) -> None:
    subprocess.run(["mount", "-o", "remount,ro" if now else "remount,rw", disk], check=True)


def tree(directory: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.lstat().st_mtime_ns, p.lstat().st_size) for p in directory.rglob("*")}


@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
def test_what_is_on_a_read_only_file_system_can_be_read(house: House, pub: Path, small: Path, killed: bool) -> None:
    repository = small / "pub.git"
    shutil.copytree(pub, repository)
    mount = house.mount(repository, "before")
    packs = mount.packs()
    data = mount.pack(min(packs)).read_bytes()
    if killed:
        mount.kill()
    else:
        mount.unmount()
    read_only(small)
    before = tree(repository)
    status = house.gtfs("status", "--json", repository).json()
    assert status["read_only"] and not status["running"] and status["packs"]["known"] == len(packs)
    assert "not running, read-only" in house.gtfs("status", repository).out
    assert "gtfs is read-only" in house.gtfs("fsck", repository).out
    directory = house.root / "after"
    directory.mkdir()
    done = house.gtfs("mount", repository, directory, "-o", "ro,listen=127.0.0.1:0,nodht")
    assert "read-only" in done.line
    try:
        assert {name for name in os.listdir(directory) if name.endswith(".pack")} == {f"{oid}.pack" for oid in packs}
        assert (directory / f"{min(packs)}.pack").read_bytes() == data
        assert (directory / ".gtfs" / "refs" / "heads" / "main").read_bytes().startswith(b"PACK")
        with pytest.raises(OSError, match="Read-only"):
            (directory / "new").write_bytes(b"")
    finally:
        house.gtfs("umount", directory)
    for command in (
        ["publish", repository], ["mount", repository, directory], ["sync", repository, "-o", "offline"],
        ["fsck", "--rebuild", repository],
    ):  # fmt: skip
        line = house.gtfs(*command, code=7).line
        assert "cannot be written" in line and "mount -o ro" in line, line
    assert tree(repository) == before
    read_only(small, now=False)
    house.gtfs("fsck", repository)
    house.forgive(repository)


def test_without_a_state_a_read_only_file_system_has_no_node(house: House, fresh: Path, small: Path) -> None:
    repository = small / "fresh.git"
    shutil.copytree(fresh, repository)
    read_only(small)
    assert "gtfs cannot be made" in house.gtfs("status", repository, code=7).line


def test_an_index_whose_last_changes_cannot_be_read_is_named(house: House, fresh: Path, small: Path) -> None:
    repository = small / "fresh.git"
    shutil.copytree(fresh, repository)
    house.mount(repository, "m", "nodht").kill()
    house.forgive(repository)
    assert (repository / "gtfs" / "node.db-wal").stat().st_size
    (repository / "gtfs" / "node.db-shm").unlink()  # as a copy made without it
    read_only(small)
    assert "node.db-wal has its last changes" in house.gtfs("status", repository, code=7).line
