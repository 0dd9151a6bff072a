# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.ids import SHA1, SHA256
from gtfs.pack.format import CorruptPack
from gtfs.reel.openreel import BrokenWriter, OpenReelWriter, ReelReader, file_chunks
from gtfs.reel.table import CorruptReel


@pytest.fixture
def writer(tmp_path):
    with OpenReelWriter(tmp_path / "open.reel", SHA1) as writer:
        yield writer


def test_packs_lie_back_to_back_and_are_read_from_there(writer, packs):
    made = packs.chain(3)
    placed = [writer.append(pack.data) for pack in made]
    writer.sync()
    assert writer.path.read_bytes() == b"".join(pack.data for pack in made)
    with ReelReader(writer.path) as reader:
        for pack, (offset, length, digest) in zip(made, placed, strict=True):
            assert reader.read(offset, length) == pack.data
            assert digest == pack.digest
        assert reader.read(placed[1].offset + 4, 4) == b"\0\0\0\2"
        assert reader.size == writer.size


def test_a_pack_may_lie_in_another_file_or_come_in_parts(writer, packs, tmp_path):
    a, b = packs.chain(2, filler=3_000_000)
    other = tmp_path / "other"
    other.write_bytes(b"xyz" + a.data + b"more")
    assert writer.append_file(other, 3, len(a.data)).digest == a.digest
    parts = [b.data[n : n + 1000] for n in range(0, len(b.data), 1000)]
    assert writer.append_chunks(parts) == (len(a.data), len(b.data), b.digest)
    assert b"".join(file_chunks(writer.path, len(a.data), len(b.data))()) == b.data


@given(cuts=st.lists(st.integers(0, 400), max_size=8), fmt=st.sampled_from([SHA1, SHA256]))
def test_a_pack_is_recognised_however_it_is_cut(cuts, fmt, make_packs, tmp_path_factory):
    pack = make_packs(fmt).make(1)
    ends = sorted(min(end, len(pack.data)) for end in cuts)
    parts = [pack.data[a:b] for a, b in zip([0, *ends], [*ends, len(pack.data)], strict=True)]
    with OpenReelWriter(tmp_path_factory.mktemp("r") / "open.reel", fmt) as writer:
        assert writer.append_chunks(parts) == (0, len(pack.data), pack.digest)
        with pytest.raises(CorruptPack):
            writer.append_chunks([*parts, b"\0"])


def test_what_is_no_whole_pack_leaves_no_trace(writer, packs):
    a, b = packs.chain(2)
    writer.append(a.data)
    flipped = bytearray(b.data)
    flipped[20] ^= 1
    for bad in (b"", b"PACK", b.data[:-1], b.data + b"x", bytes(flipped), b.data[:40] * 3, b"x" * 100):
        with pytest.raises(CorruptPack):
            writer.append(bad)
        assert writer.path.read_bytes() == a.data
    assert writer.append(b.data).offset == len(a.data)


def test_a_source_that_fails_leaves_no_trace(writer, packs):
    a, b = packs.chain(2)
    writer.append(a.data)

    def interrupted():
        yield b.data[:50]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.append_chunks(interrupted())
    assert writer.path.read_bytes() == a.data
    assert writer.append(b.data).offset == len(a.data)


def test_a_run_of_packs_is_appended_whole(writer, packs, monkeypatch):
    monkeypatch.setattr("gtfs.reel.openreel.COPY_BYTES", 300)  # several writes, which end within packs
    first, *run = packs.chain(6)
    writer.append(first.data)
    offsets = writer.append_run((pack.digest, [pack.data[:30], pack.data[30:]]) for pack in run)
    assert writer.path.read_bytes() == b"".join(pack.data for pack in [first, *run])
    assert offsets == [sum(len(p.data) for p in [first, *run][:n]) for n in range(1, 6)]
    assert writer.size == writer.path.stat().st_size
    assert writer.append_run([]) == []
    assert writer.append(first.data).offset == offsets[-1] + len(run[-1].data)


@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_run_with_a_pack_that_has_changed_leaves_no_trace(writer, packs, monkeypatch, at):
    monkeypatch.setattr("gtfs.reel.openreel.COPY_BYTES", 300)
    first, *run = packs.chain(6)
    writer.append(first.data)
    for bad in (run[at].data[:-1], run[at].data + b"x", bytes([run[at].data[0] ^ 1]) + run[at].data[1:], b""):
        with pytest.raises(CorruptPack):
            writer.append_run((p.digest, [bad if n == at else p.data]) for n, p in enumerate(run))
        assert writer.path.read_bytes() == first.data
    assert writer.append(run[0].data).offset == len(first.data)


def test_a_run_that_cannot_be_read_or_written_is_not_there(writer, packs, monkeypatch):
    first, *run = packs.chain(3)
    writer.append(first.data)

    def interrupted():
        yield run[0].digest, [run[0].data]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.append_run(interrupted())
    assert writer.path.read_bytes() == first.data

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space left"):
            writer.append_run((pack.digest, [pack.data]) for pack in run)
    with pytest.raises(BrokenWriter, match="No space left"):
        writer.append_run([])
    assert writer.path.read_bytes() == first.data


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
def test_a_writer_that_failed_stays_failed(writer, packs, monkeypatch, call):
    a, b = packs.chain(2)
    writer.append(a.data)

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"):
            writer.append(b.data)
            writer.sync()
    for again in (lambda: writer.append(b.data), writer.sync, lambda: writer.truncate_to(0)):
        with pytest.raises(BrokenWriter, match="No space left"):
            again()
    with OpenReelWriter(writer.path, SHA1) as fresh:
        assert fresh.size == len(a.data) + (len(b.data) if call == "fsync" else 0)


def test_a_short_write_is_continued(writer, packs, monkeypatch):
    pack = packs.make(1)
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, bytes(data)[:7], at))
    writer.append(pack.data)
    assert writer.path.read_bytes() == pack.data


def test_truncation_gives_the_bytes_free_for_new_packs(writer, packs):
    a, b, c = packs.chain(3)
    offset = writer.append(a.data).length
    writer.append(b.data)
    writer.truncate_to(offset)
    assert writer.append(c.data).offset == offset
    assert writer.path.read_bytes() == a.data + c.data
    with pytest.raises(ValueError, match="cannot truncate"):
        writer.truncate_to(writer.size + 1)


def test_a_read_beyond_the_end_is_an_error_not_a_short_answer(writer, packs):
    writer.append(packs.make(1).data)
    with ReelReader(writer.path) as reader, pytest.raises(CorruptReel, match="ends"):
        reader.read(writer.size - 5, 6)
    reader.close()


def test_a_closed_writer_takes_nothing(writer, packs):
    writer.close()
    with pytest.raises(BrokenWriter, match="closed"):
        writer.append(packs.make(1).data)


def test_a_writer_at_rest_has_nothing_open_and_goes_on_where_it_was(writer, packs):
    a, b = packs.chain(2)
    writer.append(a.data)
    writer.rest()  # not yet: an error of the disk would be lost
    assert writer._fd >= 0
    writer.sync()
    writer.rest()
    assert writer._fd < 0
    assert writer.append(b.data).offset == len(a.data)
    writer.sync()
    assert writer.path.read_bytes() == a.data + b.data


def test_a_descriptor_that_was_closed_with_an_error_is_closed_once(writer, packs, monkeypatch):
    a, b = packs.chain(2)
    writer.append(a.data)
    writer.sync()
    close = os.close

    def failing(fd):
        close(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="Input/output"):
        patch.setattr(os, "close", failing)
        writer.rest()
    with open(os.devnull, "rb") as another:  # whose descriptor has the same number
        writer.append(b.data)
        assert another.fileno() != writer._fd and another.read() == b""


def test_a_file_that_changed_while_the_writer_rested_breaks_it(writer, packs):
    a, b = packs.chain(2)
    writer.append(a.data)
    writer.sync()
    writer.rest()
    os.truncate(writer.path, 3)
    with pytest.raises(OSError, match="its size is 3"):
        writer.append(b.data)
    with pytest.raises(BrokenWriter):
        writer.append(b.data)
