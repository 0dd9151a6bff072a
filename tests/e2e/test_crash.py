# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL at every step: nothing acknowledged is lost, nothing needs a repair by hand, and the work goes on.

Three ways to choose the moment: the number of a step on the disk (disk.c), before or after one of git's own, or
just some time.
"""

from __future__ import annotations

import errno
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from disks import Disk
from house import House, Mount
from waiting import WAIT_S, wait_for


@pytest.fixture
def steps(house: House, disk_library: Path) -> Disk:
    return Disk(house, disk_library, "kill")


def test_publish_killed_at_any_step_publishes_the_same_reel_in_the_end(
    house: House, fresh: Path, published: Path, steps: Disk
) -> None:
    words = ["--name", "project", "--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home]
    house.gtfs("init", fresh, *words)
    other = house.root / "other.git"
    shutil.copytree(fresh, other)
    total = steps.count("publish", other, "--jobs", "1")
    assert total > 10
    moments = random.Random(3)
    kills = 0
    # Fewer steps are left each time.
    for at in [3, 9, *moments.sample(range(1, total // 2), 3), 2, 1]:
        kills += steps.ends(at, "publish", fresh, "--jobs", "1")
    assert kills >= 4
    done = house.gtfs("publish", "-v", fresh)
    expected = {p.name for p in (published / "gtfs" / "reels").glob("*.reel")}
    assert {line.split()[1] + ".reel" for line in done.out.splitlines() if line.startswith("reel ")} == expected
    assert {p.name for p in (fresh / "gtfs" / "reels").glob("*.reel")} == expected
    assert not [*(fresh / "gtfs").glob("*.tmp"), *(fresh / "gtfs").glob("spool/*")]
    house.keep_sound(fresh)


def test_sync_killed_at_any_step_goes_on_and_completes(house: House, pub: Path, steps: Disk) -> None:
    a = house.mount(pub, "A")
    source = pub / "gtfs" / "catalogue" / "latest.asc"
    options = ",".join([*house.mirror_options(a), "listen=127.0.0.1:0"])
    mirror, other = house.root / "m.git", house.root / "other.git"
    total = steps.count("sync", source, "--into", other, "-o", options)
    held: dict[str, str] = {}
    moments = random.Random(4)
    # How many steps a sync takes depends on when what comes from others; half as many it takes in any case.
    surely = total // 2
    # Of a new mirror each time; then on with what the last kill left.
    for at in [*moments.sample(range(1, total), 6), total - 1]:
        shutil.rmtree(mirror, ignore_errors=True)
        assert steps.ends(at, "sync", source, "--into", mirror, "-o", options) or at > surely
        if (mirror / "HEAD").exists():
            house.acknowledged(mirror)
    shutil.rmtree(mirror)
    kills = 0
    for at in [surely, *moments.sample(range(1, surely), 4)]:
        kills += steps.ends(at, "sync", source, "--into", mirror, "-o", options)
        now = house.acknowledged(mirror) if (mirror / "HEAD").exists() else {}
        assert held.items() <= now.items()
        held = now
    assert kills
    house.gtfs("sync", source, "--into", mirror, "-o", options)
    assert house.refs(mirror) == house.refs(pub)
    assert house.objects(mirror) == house.objects(pub)
    house.run(["git", "-C", mirror, "fsck", "--strict"])
    assert not [*(mirror / "gtfs").glob("*.tmp"), *(mirror / "gtfs").glob("unpacking/*")]
    house.keep_sound(mirror, other)


@pytest.mark.parametrize("command", ["index-pack", "update-ref", "symbolic-ref"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_sync_killed_around_a_step_of_gits(house: House, pub: Path, command: str, when: str) -> None:
    a = house.mount(pub, "A")
    source = pub / "gtfs" / "catalogue" / "latest.asc"
    options = ",".join([*house.mirror_options(a), "listen=127.0.0.1:0"])
    mirror = house.root / "m.git"
    programs, armed = house.root / "bin", house.root / "armed"
    programs.mkdir()
    git = shutil.which("git")
    (programs / "git").write_text(
        f"""#!/bin/sh
for word in "$@"; do
    if [ "$word" = {command} ] && [ -e {armed} ]; then
        rm {armed}
        {"" if when == "before" else f'{git} "$@"'}
        kill -9 $PPID
        exit 1
    fi
done
exec {git} "$@"
"""
    )
    (programs / "git").chmod(0o755)
    env = {"PATH": f"{programs}:{house.environment['PATH']}"}
    armed.touch()
    done = house.gtfs("sync", source, "--into", mirror, "-o", options, code=None, env=env)
    assert done.code == -signal.SIGKILL and not armed.exists(), done
    house.acknowledged(mirror)
    done = house.gtfs("sync", source, "--into", mirror, "-o", options, env=env)
    assert done.err == ""
    assert house.refs(mirror) == house.refs(pub)
    assert house.objects(mirror) == house.objects(pub)
    house.keep_sound(mirror)


def put_until_it_dies(b: Mount, a: Mount, oids: list[str]) -> list[str]:
    """Copy packs one after the other; those whose copy ended well."""
    done = []
    for oid in oids:
        try:
            shutil.copyfile(a.pack(oid), b.pack(oid))
        except OSError as error:
            # When its copy was cut off by the kill after the last byte, it is taken in by itself.
            if error.errno not in (errno.EBUSY, errno.EPERM):
                wait_for(lambda: not b.alive(), f"it died, as {error} says")
            if not b.alive():
                break
        done.append(oid)
    return done


def test_a_mount_killed_while_it_takes_packs_in_keeps_what_was_copied(house: House, pub: Path, steps: Disk) -> None:
    a = house.mount(pub, "A", "offline")
    repository = house.empty()
    history = house.history(pub)
    todo, copied = list(history), []
    random.Random(5).shuffle(todo)  # so that some wait for their parents
    held: dict[str, str] = {}
    for at in (60, 5, 20, 110, 35):
        b = house.mount(repository, "B", "offline", env=steps.at(0))
        steps.arm(steps.steps() + at)
        done = put_until_it_dies(b, a, todo[:20])
        copied += done
        todo = [oid for oid in todo if oid not in done]
        with suppress(ProcessLookupError):  # it may die of its own step just now
            b.kill_without_detaching()
        b.detach()
        now = house.acknowledged(repository)
        assert held.items() <= now.items()
        held = now
    assert len(copied) > 20
    b = house.mount(repository, "B", "offline")
    assert set(copied) <= b.packs()
    put_until_it_dies(b, a, todo)
    b.wait_unpacked(*history)
    assert house.objects(repository) == house.objects(pub)
    house.git(repository, "gc", "--quiet", "--prune=now")
    assert house.objects(repository) == house.objects(pub)


def test_a_mirror_killed_at_any_time_while_it_fetches_completes(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    moments = random.Random(6)
    held: dict[str, str] = {}
    mirror = house.root / "B.git"
    for _ in range(5):
        b = house.mount_mirror(a, "B", "prefetch", expected=["."])
        time.sleep(moments.uniform(0, 0.7))
        b.kill()
        now = house.acknowledged(mirror)
        assert held.items() <= now.items()
        held = now
    b = house.mount_mirror(a, "B", "prefetch")
    wait_for(lambda: house.refs(mirror) == house.refs(pub), f"the mirror is whole; log:\n{b.text()}")
    assert house.objects(mirror) == house.objects(pub)


def test_a_publisher_killed_while_it_seeds_loses_nobody_anything(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B")
    process = house.start(["gtfs", "sync", b.dir])
    wait_for(lambda: b.status()["swarm"]["downloaded"] > 0, "it fetches")
    a.kill()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=WAIT_S)
    c = house.mount(pub, "A", f"listen=127.0.0.1:{a.port}")
    house.gtfs("sync", b.dir)
    assert house.refs(b.repository) == house.refs(pub)
    assert c.packs() == b.packs()
