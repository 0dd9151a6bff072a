# SPDX-License-Identifier: GPL-3.0-or-later
"""When what was written goes to the sink, and what becomes of the rest."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

import pytest
import trio
import trio.testing

from gtfs.errors import Blame, GtfsError
from gtfs.ids import ObjectId, pack_name
from gtfs.mount.changes import Changes
from gtfs.mount.handletable import WrittenHandle
from gtfs.mount.handover import Handover
from gtfs.mount.incoming import IncomingFiles
from gtfs.mount.incomingfile import IncomingFile, IncomingHandle
from gtfs.mount.tree import Judged, PackInfo
from gtfs.pack.format import CorruptPack

pytestmark = pytest.mark.trio

OID = ObjectId(b"\x11" * 20)
NAME = pack_name(OID).encode()


class GitDied(GtfsError):
    fault = Blame.SYSTEM


class Sink:
    """Takes what begins with "whole", refuses what begins with "bad" once `go` is set, and is the PackSource, too.

    It looks at what begins with "slow" until then.
    """

    def __init__(self, root: Path) -> None:
        self.directory = root / "incoming"
        self.directory.mkdir()
        self.quarantine = root / "quarantine"
        self.stage: str | None = None  # of the pack
        self.queued: list[Path] = []
        self.failures: list[GtfsError] = []
        self.go = trio.Event()
        self.go.set()

    def note_trouble(self, text: str | None) -> None: ...

    def info(self, oid: ObjectId) -> PackInfo | None:
        return None if self.stage is None else PackInfo(1, oid, 100, 0, self.stage, 0)

    async def check(self, path: Path, oid: ObjectId) -> Judged | None:
        data = path.read_bytes()  # noqa: ASYNC240
        if self.failures:
            raise self.failures.pop(0)
        if data.startswith((b"bad", b"slow")):
            await self.go.wait()
        if data.startswith(b"bad"):
            path.rename(self.quarantine)  # noqa: ASYNC240
            raise CorruptPack("bad", 0)
        return Judged(oid) if data.startswith(b"whole") else None

    def queue(self, path: Path, judged: Judged) -> None:
        self.queued.append(path)

    def withdraw(self, oid: ObjectId) -> bool:
        return True


@pytest.fixture
def sink(tmp_path: Path) -> Sink:
    return Sink(tmp_path)


@pytest.fixture
def files(sink: Sink) -> IncomingFiles:
    return IncomingFiles(sink.directory, 1 << 20)


@pytest.fixture
def intake(sink: Sink, files: IncomingFiles) -> Handover:
    return Handover(files, sink, sink)  # type: ignore[arg-type]  # no more of a PackSource is asked


async def write(files: IncomingFiles, name: bytes, data: bytes) -> IncomingHandle:
    handle = await files.create(name, 0o644, writing=True)
    if data:
        await files.contents.write(handle, 0, data)
    return handle


async def left(files: IncomingFiles, name: bytes, data: bytes) -> IncomingFile:
    """A file that somebody wrote and closed."""
    handle = await write(files, name, data)
    await files.contents.close(handle)
    return handle.file


@pytest.mark.warns
async def test_what_is_renamed_over_a_file_that_is_being_refused_does_not_go_to_quarantine_in_its_place(
    sink: Sink, files: IncomingFiles, intake: Handover
) -> None:
    sink.go = trio.Event()
    await left(files, NAME, b"bad")
    new = await left(files, b"temporary", b"whole")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(intake.resume_task)
        await trio.testing.wait_all_tasks_blocked()

        async def rename() -> None:
            await intake.rename(new, NAME, no_replace=False)

        nursery.start_soon(rename)
        await trio.testing.wait_all_tasks_blocked()
        sink.go.set()
    assert sink.quarantine.read_bytes() == b"bad"
    assert sink.queued == [files.path(new)] and files.path(new).read_bytes() == b"whole"


@pytest.mark.warns
async def test_a_file_that_is_renamed_while_it_is_being_refused_takes_no_other_with_it(
    sink: Sink, files: IncomingFiles, intake: Handover
) -> None:
    sink.go = trio.Event()
    old = await left(files, NAME, b"bad")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(intake.resume_task)
        await trio.testing.wait_all_tasks_blocked()

        async def rename() -> None:
            with pytest.raises(FileNotFoundError):
                await intake.rename(old, b"kept", no_replace=False)

        nursery.start_soon(rename)
        await trio.testing.wait_all_tasks_blocked()
        sink.go.set()
    new = await left(files, NAME, b"another")
    assert sink.quarantine.read_bytes() == b"bad"
    assert files.all() == [new] and files.path(new).read_bytes() == b"another"


@pytest.mark.warns
async def test_a_failure_of_the_machine_is_no_refusal_of_what_was_written(
    sink: Sink, files: IncomingFiles, intake: Handover
) -> None:
    sink.failures = [GitDied("git was killed")]
    handle = await write(files, NAME, b"whole")
    with pytest.raises(GitDied):
        await intake.flush(handle)
    assert handle.file.refusal is None
    await intake.flush(handle)
    await intake.release(handle)
    assert sink.queued == [files.path(handle.file)]


@pytest.mark.warns
async def test_of_what_was_looked_at_before_a_refusal_nothing_is_kept_with_the_file(
    sink: Sink, files: IncomingFiles, intake: Handover, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[weakref.ref[set[bytes]]] = []

    async def check(path: Path, _oid: ObjectId) -> None:
        copy = set(path.read_bytes().splitlines())  # noqa: ASYNC240
        looked_at.append(weakref.ref(copy))
        try:
            raise ValueError(len(copy))
        except ValueError as error:
            raise CorruptPack("bad", 0) from error

    monkeypatch.setattr(sink, "check", check)
    handle = await write(files, NAME, b"bad")
    for _ in range(2):
        with pytest.raises(CorruptPack):
            await intake.flush(handle)
    assert [each() for each in looked_at] == [None] and handle.file.refusal is not None
    await intake.release(handle)


@pytest.mark.parametrize(("stage", "data"), [("unpacked", b"a part"), ("remote", b"")])
async def test_what_only_stands_in_the_way_of_a_pack_goes_with_its_last_user(
    sink: Sink, files: IncomingFiles, intake: Handover, stage: str, data: bytes
) -> None:
    handle = await write(files, NAME, data)
    reader = await files.contents.open(handle.file, writing=False, truncate=False)
    sink.stage = stage
    await intake.release(handle)
    assert os.listdir(sink.directory) == [os.fsdecode(NAME)]
    await intake.release(reader)
    assert os.listdir(sink.directory) == [] and files.all() == []


@pytest.mark.parametrize(
    ("stage", "data", "is_gone"),
    [
        ("unpacked", b"a part", True),
        ("remote", b"", True),
        ("remote", b"a part", False),
        ("unpacked", b"whole", False),
        (None, b"", False),
    ],
)
async def test_what_only_stands_in_the_way_of_a_pack_goes_at_the_start(
    sink: Sink, files: IncomingFiles, intake: Handover, stage: str | None, data: bytes, is_gone: bool
) -> None:
    file = await left(files, NAME, data)
    sink.stage = stage
    await intake.resume_task()
    assert os.listdir(sink.directory) == ([] if is_gone else [os.fsdecode(NAME)])
    assert file.queued is (data == b"whole")


@pytest.mark.warns
@pytest.mark.parametrize(("stage", "before", "after"), [("remote", b"", b"a part"), ("unpacked", b"slow", b"whole")])
async def test_what_is_written_while_a_void_file_is_to_go_stays(
    sink: Sink, files: IncomingFiles, intake: Handover, stage: str, before: bytes, after: bytes
) -> None:
    sink.stage, sink.go = stage, trio.Event()
    file = await left(files, NAME, before)
    check = trio.Lock() if before else file.check_lock  # as another check, or an unlink, has it
    async with trio.open_nursery() as nursery, check:
        nursery.start_soon(intake.remove_if_void, file)
        await trio.testing.wait_all_tasks_blocked()
        handle = await files.contents.open(file, writing=True, truncate=True)
        await files.contents.write(handle, 0, after)
        if before:
            sink.failures = [GitDied("git was killed")]  # so that it is not queued, and is tried again
        nursery.start_soon(intake.release, handle)
        await trio.testing.wait_all_tasks_blocked()
        sink.go.set()
    assert files.get(NAME) is file and files.path(file).read_bytes() == after


async def test_who_writes_costs_those_nothing_that_wait_for_their_parents(
    sink: Sink, files: IncomingFiles, intake: Handover, monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    for number in range(100):
        file = await left(files, b"%040x.pack" % number, b"whole")
        file.queued = True
    handle = await write(files, NAME, b"whole")
    looked: list[object] = []
    lexists = os.path.lexists
    monkeypatch.setattr(os.path, "lexists", lambda path: looked.append(path) or lexists(path))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(intake.watch_task)
        intake.written()
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert sink.queued == [files.path(handle.file)]
    assert looked == []


async def test_what_is_whole_since_it_was_cut_is_taken_in_though_its_writer_keeps_it_open(
    sink: Sink, files: IncomingFiles, intake: Handover, autojump_clock: object
) -> None:
    handle = await write(files, NAME, b"too long")
    opened = WrittenHandle(handle, files, intake, lambda: None)
    changes = Changes(None, files, intake, None)  # type: ignore[arg-type]  # not asked for names
    async with trio.open_nursery() as nursery:
        nursery.start_soon(intake.watch_task)
        intake.written()
        await trio.sleep(10)
        files.path(handle.file).write_bytes(b"whole, and too long")
        handle.file.size = 19
        await changes._truncate(handle.file, 5, opened)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert sink.queued == [files.path(handle.file)]


@pytest.mark.parametrize("is_listed", [True, False])
async def test_a_truncation_by_name_leaves_nothing_empty_before_a_listed_pack(
    is_listed: bool, sink: Sink, files: IncomingFiles, intake: Handover
) -> None:
    changes = Changes(None, files, intake, None)  # type: ignore[arg-type]  # not asked for names
    sink.stage = "remote" if is_listed else None
    if is_listed:
        with pytest.raises(OSError, match="anew"):
            await intake.begin_anew(PackInfo(1, OID, 100, 0, "remote", 0))  # then the kernel looks the name up again
        found = files.get(NAME)
        assert found is not None
    else:
        found = await left(files, NAME, b"some")
    await changes._truncate(found, 0, None)
    assert (files.get(NAME) is None) is is_listed
    assert sink.directory.joinpath(os.fsdecode(NAME)).exists() is not is_listed


async def test_a_truncation_to_nothing_takes_no_name_from_who_has_it_open(
    sink: Sink, files: IncomingFiles, intake: Handover
) -> None:
    sink.stage = "remote"
    handle = await write(files, NAME, b"some")
    changes = Changes(None, files, intake, None)  # type: ignore[arg-type]  # not asked for names
    await changes._truncate(handle.file, 0, WrittenHandle(handle, files, intake, lambda: None))
    assert files.get(NAME) is handle.file
