# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from gtfs.durable import sweep_temporaries
from gtfs.ids import SHA1
from gtfs.reel.index import Index, IndexCorrupt
from gtfs.reel.openreel import OpenReelWriter
from gtfs.reel.recover import (
    Listed,
    Recovered,
    open_index,
    rebuild_index,
    recover_open_reel,
    set_aside,
    verify_open_reel,
)
from gtfs.reel.seal import metainfo_path_of, write_reel


@pytest.fixture
def index(tmp_path):
    with Index(tmp_path / "node.db") as index:
        yield index


@pytest.fixture
def path(tmp_path):
    return tmp_path / "open.reel"


def test_a_tail_that_no_row_knows_is_cut_at_every_length(index, path, packs, fill_open_reel):
    made = packs.chain(4)
    with OpenReelWriter(path, SHA1) as writer:
        fill_open_reel(writer, index, made[:3])
    kept = path.read_bytes()
    for end in range(len(made[3].data) + 1):
        path.write_bytes(kept + made[3].data[:end])
        assert recover_open_reel(path, index, SHA1) == Recovered((), end)
        assert path.read_bytes() == kept
    assert [row.oid for row in index.packs.open_rows()] == [pack.oid for pack in made[:3]]


def test_rows_whose_packs_are_cut_off_are_forgotten_at_every_length(tmp_path, path, packs, fill_open_reel):
    made = packs.chain(3)
    with OpenReelWriter(path, SHA1) as writer, Index(tmp_path / "node.db") as index:
        fill_open_reel(writer, index, made)
        whole = path.read_bytes()
        start = len(whole) - len(made[2].data)
        for end in range(start, len(whole)):
            path.write_bytes(whole[:end])
            assert recover_open_reel(path, index, SHA1) == Recovered((made[2].oid,), end - start)
            assert path.read_bytes() == whole[:start]
            assert index.packs.known([made[2].oid]) == set()
            assert all(check.good for check in verify_open_reel(path, index.packs.open_rows()))
            index.packs.put_local([made[2].local(start)])


def test_a_tail_of_zeros_where_a_pack_should_be_is_cut(index, path, packs, fill_open_reel):
    made = packs.chain(3)
    with OpenReelWriter(path, SHA1) as writer:
        fill_open_reel(writer, index, made)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(made[0].data)] + bytes(len(whole) - len(made[0].data)))
    found = recover_open_reel(path, index, SHA1)
    assert set(found.dropped) == {made[1].oid, made[2].oid}
    assert path.read_bytes() == made[0].data


def test_an_open_reel_that_is_gone_takes_its_rows_along(index, path, packs, fill_open_reel):
    made = packs.chain(3)
    with OpenReelWriter(path, SHA1) as writer:
        fill_open_reel(writer, index, made)
    path.unlink()
    assert set(recover_open_reel(path, index, SHA1).dropped) == {pack.oid for pack in made}
    assert index.packs.count() == 0
    assert recover_open_reel(path, index, SHA1) == Recovered((), 0)


def test_an_open_reel_whose_packs_are_all_sealed_is_emptied(index, tmp_path, path, packs, fill_open_reel):
    made = packs.chain(3)
    with OpenReelWriter(path, SHA1) as writer:
        fill_open_reel(writer, index, made)
    size = path.stat().st_size
    sealed = write_reel(tmp_path, [pack.source for pack in made], SHA1)
    reel = index.reels.put(sealed.name, sealed.infohash, sealed.size, sealed.rows, 0, "complete")
    index.packs.move_to_reel(reel, sealed.places)
    assert recover_open_reel(path, index, SHA1) == Recovered((), size)
    assert index.packs.count_by_stage() == {"unpacked": 3}


def test_damage_inside_is_left_for_fsck_and_told_there(index, path, packs, fill_open_reel):
    made = packs.chain(3)
    with OpenReelWriter(path, SHA1) as writer:
        fill_open_reel(writer, index, made)
    with path.open("r+b") as file:
        file.seek(len(made[0].data) + 30)
        file.write(b"\0\0\0\0")
    assert recover_open_reel(path, index, SHA1) == Recovered((), 0)
    assert [check.good for check in verify_open_reel(path, index.packs.open_rows())] == [True, False, True]


def test_leftovers_of_sealing_are_swept(tmp_path):
    (tmp_path / ".writing-0123").write_bytes(b"x")
    (tmp_path / "kept.reel").write_bytes(b"x")
    assert sweep_temporaries(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["kept.reel"]


def test_a_database_is_set_aside_with_its_journal(tmp_path):
    path = tmp_path / "node.db"
    assert set_aside(path) is None
    path.write_bytes(b"1")
    (tmp_path / "node.db-wal").write_bytes(b"2")
    assert set_aside(path) == tmp_path / "node.db.old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["node.db.old", "node.db.old-wal"]


def test_what_a_crash_left_of_a_database_goes_to_the_rest_of_it(tmp_path):
    (tmp_path / "node.db.old").write_bytes(b"1")
    (tmp_path / "node.db-wal").write_bytes(b"2")
    assert set_aside(tmp_path / "node.db") is None
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert left == {"node.db.old": b"1", "node.db.old-wal": b"2"}


@pytest.fixture
def store(tmp_path, packs, fill_open_reel):
    """Six packs: two in each of two reels, two in the open reel; and the index as it was."""
    made = packs.chain(6, filler=200)
    reels = tmp_path / "reels"
    reels.mkdir()
    path = tmp_path / "open.reel"
    with Index(tmp_path / "node.db") as index, OpenReelWriter(path, SHA1) as writer:
        sealed = []
        for part, version in ((made[0:2], 3), (made[2:4], 0)):
            reel = write_reel(reels, [pack.source for pack in part], SHA1)
            index.packs.put_local(pack.local(None) for pack in part)
            id_ = index.reels.put(reel.name, reel.infohash, reel.size, reel.rows, version, "complete")
            index.packs.move_to_reel(id_, reel.places)
            sealed.append(reel)
        fill_open_reel(writer, index, made[4:])
    return made, sealed, tmp_path


def rebuild(store, packs, listed=()):
    directory = store[2]
    set_aside(directory / "node.db")
    index = Index(directory / "node.db")
    read = []
    args = (directory / "reels", directory / "open.reel", SHA1, packs.scan_prefix, packs.describe)
    return index, rebuild_index(index, *args, dict(listed), read.append), sum(read)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("is_empty", [False, True], ids=["gone", "empty"])
@pytest.mark.parametrize("kept", ["open.reel", "reels"])
def test_an_index_is_not_made_anew_where_it_should_know_packs(store, kept, is_empty, read_only):
    directory = store[2]
    set_aside(directory / "node.db")
    if is_empty:
        (directory / "node.db").touch()
    (directory / ("reels" if kept == "open.reel" else "open.reel")).rename(directory / "elsewhere")
    before = sorted(directory.rglob("*"))
    with pytest.raises(IndexCorrupt, match=r"is gone or empty, .*; run gtfs fsck --rebuild$"):
        open_index(directory / "node.db", directory / "reels", directory / "open.reel", read_only=read_only)
    assert sorted(directory.rglob("*")) == before


def test_an_index_is_made_where_there_is_nothing(tmp_path):
    (tmp_path / "reels").mkdir()
    (tmp_path / "open.reel").touch()
    with open_index(tmp_path / "node.db", tmp_path / "reels", tmp_path / "open.reel") as index:
        assert index.packs.count() == 0


def listed_as(reel, version):
    return reel.name, Listed(reel.infohash, reel.size, reel.rows, version)


def facts(index):
    rows = index.packs.rows_after(0, 100)
    reels = {reel.id: reel.name for reel in index.reels.all()}
    return {
        (r.oid, r.kind, r.time_s, r.size, r.digest, r.stage, reels.get(r.reel), r.offset): index.history.parents_of(
            r.oid
        )
        for r in rows
    }


def test_a_rebuilt_index_says_the_same_as_the_lost_one(store, packs):
    made, sealed, directory = store
    with Index(directory / "node.db") as index:
        before = facts(index)
        reels = {reel[1:] for reel in index.reels.all()}
    index, rebuilt, read = rebuild(store, packs, [listed_as(sealed[0], 3)])
    with index:
        assert rebuilt == (2, 6, ())
        assert facts(index) == before
        assert {reel[1:] for reel in index.reels.all()} == reels
        assert recover_open_reel(directory / "open.reel", index, SHA1) == Recovered((), 0)
    assert read == sum(len(pack.data) for pack in made)


def test_a_reel_with_a_hole_is_partial_and_its_packs_remote(store, packs):
    made, sealed, _ = store
    with sealed[1].path.open("r+b") as file:
        file.write(bytes(len(made[2].data)))
    index, rebuilt, _ = rebuild(store, packs)
    with index:
        assert rebuilt == (2, 6, ())
        assert index.reels.by_name(sealed[1].name).stage == "partial"
        assert index.reels.by_name(sealed[1].name).infohash == sealed[1].infohash
        assert index.packs.get(made[2].oid).stage == "remote"
        assert index.packs.get(made[3].oid).stage == "unpacked"


def test_a_damaged_reel_that_nobody_lists_is_a_problem(store, packs):
    made, sealed, _ = store
    with sealed[1].path.open("r+b") as file:
        file.write(bytes(len(made[2].data)))
    metainfo_path_of(sealed[1].path).unlink()
    index, rebuilt, _ = rebuild(store, packs)
    with index:
        assert rebuilt[:2] == (1, 4)
        assert sealed[1].name in rebuilt.problems[0]


def test_a_listed_reel_without_its_end_or_its_file_is_known(store, packs):
    _, sealed, _ = store
    sealed[0].path.write_bytes(bytes(sealed[0].size))
    sealed[1].path.unlink()
    index, rebuilt, _ = rebuild(store, packs, [listed_as(reel, 9) for reel in sealed])
    with index:
        assert rebuilt == (2, 2, ())
        assert index.reels.by_name(sealed[0].name)[5:] == (9, "partial")
        assert index.reels.by_name(sealed[1].name)[5:] == (9, "remote")


def test_a_listing_with_another_size_is_not_believed(store, packs):
    _, sealed, _ = store
    name, listed = listed_as(sealed[0], 9)
    index, rebuilt, _ = rebuild(store, packs, [(name, listed._replace(size=1))])
    with index:
        assert "another size" in rebuilt.problems[0]


def test_packs_behind_a_damaged_one_in_the_open_reel_are_found(store, packs):
    made, _, directory = store
    path = directory / "open.reel"
    path.write_bytes(b"junk" + path.read_bytes().replace(made[4].data[:60], bytes(60)) + made[0].data + b"PACK\0\0\0\2")
    index, rebuilt, _ = rebuild(store, packs)
    with index:
        assert [row.oid for row in index.packs.open_rows()] == [made[5].oid]
        assert len(rebuilt.problems) == 2
        assert index.packs.get(made[0].oid).reel is not None
        assert all(check.good for check in verify_open_reel(path, index.packs.open_rows()))


CRASHER = """
import os, signal, sys
from gtfs.ids import SHA1
from gtfs.pack.format import COMMIT
from gtfs.reel.index import Index, LocalPack
from gtfs.reel.openreel import OpenReelWriter
directory, step = sys.argv[1], sys.argv[2]
data = open(directory + "/pack", "rb").read()
index = Index(__import__("pathlib").Path(directory, "node.db"))
writer = OpenReelWriter(__import__("pathlib").Path(directory, "open.reel"), SHA1)
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def parts():
    yield data[:40]
    if step == "append":
        die()
    yield data[40:]
place = writer.append_chunks(parts())
if step == "sync":
    die()
writer.sync()
if step == "rows":
    die()
with index.transaction():
    index.packs.put_local([LocalPack(b"\\1" * 20, COMMIT, 0, place.length, place.digest, place.offset, (), "verified")])
    if step == "commit":
        die()
print("acknowledged")
sys.stdout.flush()
die()
"""


@pytest.mark.parametrize("step", ["append", "sync", "rows", "commit", "end"])
def test_a_kill_at_any_step_leaves_what_was_acknowledged_and_nothing_else(tmp_path, packs, step):
    (tmp_path / "pack").write_bytes(packs.make(1).data)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", CRASHER, str(tmp_path), step], env=env, stdout=subprocess.PIPE)
    assert done.returncode == -signal.SIGKILL
    with Index(tmp_path / "node.db") as index:
        found = recover_open_reel(tmp_path / "open.reel", index, SHA1)
        assert found.dropped == ()
        assert index.packs.count() == (1 if done.stdout else 0) == (step == "end")
        assert (tmp_path / "open.reel").stat().st_size == index.packs.total_bytes()
