# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs carried into a mount by ordinary programs, where there is neither peer nor catalogue."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from house import House, Mount
from waiting import wait_for


def check_all_arrived(house: House, b: Mount, origin: Path) -> None:
    """Every pack is unpacked, git has every object, and gc takes none away."""
    history = house.history(origin)
    b.wait_unpacked(*history)
    repository = b.repository
    kinds = house.run(
        ["git", "-C", repository, "cat-file", "--batch-check=%(objectname) %(objecttype)"],
        stdin="".join(f"{oid}\n" for oid in history).encode(),
    ).out.splitlines()
    commits = set(house.git(origin, "rev-list", "--all").split())
    assert kinds == [f"{oid} {'commit' if oid in commits else 'tag'}" for oid in history]
    held = house.objects(repository)
    assert held == house.objects(origin)

    tips = house.git(repository, "for-each-ref", "--format=%(objectname)", "refs/gtfs/tips/").split()
    children = house.git(origin, "rev-list", "--all", "--parents").splitlines()
    with_children = {p for line in children for p in line.split()[1:]}
    assert {t for t in tips if t in commits} == commits - with_children - _tagged(house, origin)
    house.run(["git", "-C", repository, "gc", "--quiet", "--prune=now"])
    assert house.objects(repository) == held
    house.run(["git", "-C", repository, "fsck", "--full", "--strict"])

    assert b.packs() == set(history)
    nothing = {"queued": 0, "waiting": 0, "error": None}
    wait_for(lambda: b.status()["incoming"] == nothing, "the last batch has ended")
    assert b.status()["policy"] == "local"
    assert list((repository / "gtfs" / "incoming").iterdir()) == []


def _tagged(house: House, origin: Path) -> set[str]:
    """Commits that an annotated tag holds, so that no tip of their own is needed."""
    out = house.git(origin, "for-each-ref", "--format=%(objecttype) %(*objectname)", "refs/tags")
    return {line.split()[1] for line in out.splitlines() if line.startswith("tag ") and len(line.split()) > 1}


@pytest.fixture
def a(house: House, pub: Path) -> Mount:
    return house.mount(pub, "A", "offline")


@pytest.fixture
def b(house: House) -> Mount:
    return house.mount(house.empty(), "B", "offline")


def test_rsync_between_two_mounts_carries_a_whole_repository(house: House, a: Mount, b: Mount) -> None:
    done = house.run(["rsync", "-a", f"{a.dir}/", f"{b.dir}/"])
    assert done.err == ""
    check_all_arrived(house, b, a.repository)
    for oid in b.packs():
        assert b.pack(oid).read_bytes() == a.pack(oid).read_bytes()
    # Again: everything is there, and nothing is written.
    again = house.run(["rsync", "-a", "--itemize-changes", "--omit-dir-times", f"{a.dir}/", f"{b.dir}/"])
    assert [line for line in again.out.splitlines() if ".pack" in line] == []
    assert house.run(["rsync", "-anc", "--itemize-changes", f"{a.dir}/", f"{b.dir}/"]).out.count(".pack") == 0


def test_rsync_in_place_arrives_and_with_delayed_updates_says_why_not(house: House, a: Mount, b: Mount) -> None:
    # Delayed updates want a directory beside the files, which a mount does not have.
    done = house.run(["rsync", "-a", "--delay-updates", f"{a.dir}/", f"{b.dir}/"], code=None)
    assert "Unable to create partial-dir" in done.err
    assert b.names() == []
    done = house.run(["rsync", "-aX", "--inplace", f"{a.dir}/", f"{b.dir}/"])
    assert done.err == ""
    check_all_arrived(house, b, a.repository)


@pytest.mark.parametrize("order", ["children first", "random"])
def test_cp_in_any_order_is_unpacked_in_the_end(house: House, a: Mount, b: Mount, order: str) -> None:
    history = house.history(a.repository)
    if order == "children first":
        history.reverse()
    else:
        random.Random(7).shuffle(history)
    first = history[0]
    house.run(["cp", *(a.pack(oid) for oid in history[:20]), b.dir])
    if order == "children first":
        assert b.state(first) != "unpacked"
        assert b.pack(first).read_bytes() == a.pack(first).read_bytes()
    house.run(["cp", *(a.pack(oid) for oid in history[20:]), b.dir])
    check_all_arrived(house, b, a.repository)


def test_what_waits_for_its_parents_survives_a_restart(house: House, a: Mount, b: Mount) -> None:
    history = house.history(a.repository)
    late = history[30:]
    house.run(["cp", *(a.pack(oid) for oid in reversed(late)), b.dir])
    assert house.objects(b.repository) == set()
    b.unmount()
    b = house.mount(b.repository, "B", "offline")
    assert b.packs() == set(late)
    house.run(["cp", *(a.pack(oid) for oid in history[:30]), b.dir])
    check_all_arrived(house, b, a.repository)


def _cp_a(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source, target], check=True)


def _dd(source: Path, target: Path) -> None:
    command = ["dd", f"if={source}", f"of={target}", "bs=1000", "conv=fsync", "status=none"]
    subprocess.run(command, check=True)


def _mv(source: Path, target: Path) -> None:
    outside = target.parent.parent / "outside"
    shutil.copyfile(source, outside)
    subprocess.run(["mv", outside, target], check=True)


def _cat(source: Path, target: Path) -> None:
    subprocess.run(["sh", "-c", 'cat "$1" > "$2"', "sh", source, target], check=True)


def _part_then_rename(source: Path, target: Path) -> None:
    part = target.with_name(f"{target.name}.part")
    data = source.read_bytes()
    with part.open("wb") as f:
        f.truncate(len(data))
        for at in reversed(range(0, len(data), 1000)):
            f.seek(at)
            f.write(data[at : at + 1000])
    part.rename(target)


def test_every_way_of_writing_a_file(house: House, a: Mount, b: Mount) -> None:
    ways: list[Callable[[Path, Path], None]] = [_cp_a, _dd, _mv, _cat, _part_then_rename]
    history = house.git(a.repository, "rev-list", "--topo-order", "--reverse", "v1.0~5").split()
    assert len(history) >= 3 * len(ways)
    for number, oid in enumerate(history):
        ways[number % len(ways)](a.pack(oid), b.pack(oid))
    b.wait_unpacked(*history)
    for oid in history:
        assert b.pack(oid).read_bytes() == a.pack(oid).read_bytes()
        assert house.git(b.repository, "cat-file", "-t", oid) == "commit"
    assert b.packs() == set(history)


def test_packs_go_from_a_directory_of_files_and_back(house: House, fresh: Path, b: Mount) -> None:
    packs = house.root / "packs"
    house.gtfs("pack", fresh, "--all", "-o", packs)
    assert {p.name.removesuffix(".pack") for p in packs.iterdir()} == set(house.history(fresh))
    house.run(["rsync", "-a", f"{packs}/", f"{b.dir}/"])
    b.wait_unpacked(*house.history(fresh))
    back = house.root / "back"
    house.run(["rsync", "-a", f"{b.dir}/", f"{back}/"])
    assert house.run(["diff", "-r", packs, back]).out == ""
