# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtfs.ids import SHA1, SHA256
from gtfs.metainfo import build_metainfo, parse_metainfo
from gtfs.reel.openreel import OpenReelWriter, file_chunks
from gtfs.reel.seal import PackToSeal, read_reel, verify_reel, write_reel
from gtfs.reel.table import CorruptReel


@pytest.fixture
def sealed(tmp_path, packs):
    made = packs.chain(4, filler=50_000)
    return made, write_reel(tmp_path, [pack.source for pack in made], SHA1)


def test_a_reel_is_packs_then_table_then_footer_under_its_name(sealed):
    made, reel = sealed
    data = reel.path.read_bytes()
    assert data.startswith(b"".join(pack.data for pack in made))
    assert data.endswith(b"GTFSREEL")
    assert reel.path.name == f"{reel.name}.reel"
    assert (reel.size, reel.rows) == (len(data), 4)
    foot, rows = read_reel(reel.path, SHA1)
    assert foot.name == reel.name
    assert list(rows) == [pack.row for pack in made]
    for pack, (oid, offset) in zip(made, reel.places, strict=True):
        assert oid == pack.oid
        assert data[offset : offset + len(pack.data)] == pack.data


def test_the_torrent_beside_it_is_that_of_its_bytes(sealed):
    _, reel = sealed
    metainfo = reel.metainfo_path.read_bytes()
    assert (metainfo, reel.infohash) == build_metainfo(reel.path)
    assert parse_metainfo(metainfo).name == reel.path.name


def test_nothing_else_is_left_in_the_directory(sealed, tmp_path):
    _, reel = sealed
    assert {path.name for path in tmp_path.iterdir()} == {f"{reel.name}.reel", f"{reel.name}.torrent"}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


@settings(max_examples=20)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=5), st.sampled_from([SHA1, SHA256]))
def test_the_same_packs_make_the_same_reel_wherever_they_lie(make_packs, tmp_path_factory, fillers, fmt):
    maker = make_packs(fmt)
    made = [maker.make(number, filler=filler) for number, filler in enumerate(fillers)]
    here, there = tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b")
    first = write_reel(here, [pack.source for pack in made], fmt)
    with OpenReelWriter(there / "open.reel", fmt) as writer:
        places = [(pack, writer.append(pack.data).offset) for pack in reversed(made)]
    places.reverse()
    second = write_reel(
        there,
        [p.source._replace(read=file_chunks(writer.path, offset, len(p.data))) for p, offset in places],
        fmt,
    )
    assert (first.name, first.infohash) == (second.name, second.infohash)
    assert first.path.read_bytes() == second.path.read_bytes()
    assert all(check.good for check in verify_reel(second.path, fmt))


@pytest.mark.parametrize("change", ["flip", "shorten", "lengthen"])
def test_a_pack_that_is_not_what_was_recorded_is_not_sealed(tmp_path, packs, change):
    a, b = packs.chain(2)
    bad = {"flip": b.data[:-1] + b"\0", "shorten": b.data[:-1], "lengthen": b.data + b"\0"}[change]
    source = PackToSeal(b.oid, len(b.data), b.digest, lambda: [bad])
    with pytest.raises(CorruptReel, match=b.oid.hex()):
        write_reel(tmp_path, [a.source, source], SHA1)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_behind(tmp_path, packs, monkeypatch):
    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_reel(tmp_path, [packs.make(1).source], SHA1)
    assert list(tmp_path.iterdir()) == []


def test_a_stop_before_the_last_rename_is_made_good_by_the_next_try(tmp_path, packs, monkeypatch):
    sources = [pack.source for pack in packs.chain(2)]
    real = Path.replace

    def stop(self, target):
        if target.suffix == ".reel":
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", stop)
        write_reel(tmp_path, sources, SHA1)
    assert [path.suffix for path in tmp_path.iterdir()] == [".torrent"]
    reel = write_reel(tmp_path, sources, SHA1)
    assert build_metainfo(reel.path) == (reel.metainfo_path.read_bytes(), reel.infohash)
    assert len(list(tmp_path.iterdir())) == 2


def test_sealing_again_replaces_the_reel_by_itself(sealed, tmp_path):
    made, reel = sealed
    before = reel.path.read_bytes()
    assert write_reel(tmp_path, [pack.source for pack in made], SHA1) == reel
    assert reel.path.read_bytes() == before


def test_an_empty_reel_and_a_repeated_pack_are_refused(tmp_path, packs):
    pack = packs.make(1)
    for sources in ([], [pack.source, pack.source]):
        with pytest.raises(CorruptReel):
            write_reel(tmp_path, sources, SHA1)


def test_a_flipped_byte_in_a_pack_is_told_by_its_row_only(sealed):
    made, reel = sealed
    data = bytearray(reel.path.read_bytes())
    data[reel.offsets[2] + 30] ^= 4
    reel.path.write_bytes(data)
    assert [(check.oid, check.good) for check in verify_reel(reel.path)] == [
        (pack.oid, number != 2) for number, pack in enumerate(made)
    ]


def test_every_flipped_byte_behind_the_packs_is_refused(tmp_path, packs):
    reel = write_reel(tmp_path, [pack.source for pack in packs.chain(2)], SHA1)
    whole = reel.path.read_bytes()
    for at in range(len(whole) - 48 - 2 * 60, len(whole)):
        reel.path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x20]) + whole[at + 1 :])
        with pytest.raises(CorruptReel):
            read_reel(reel.path, SHA1)


def test_a_reel_that_is_too_short_too_long_or_misnamed_is_refused(sealed, tmp_path):
    _, reel = sealed
    whole = reel.path.read_bytes()
    for name, data in [
        (reel.path.name, whole[:-1]),
        (reel.path.name, b"x" + whole),
        (reel.path.name, whole[-48:]),
        (reel.path.name, b""),
        ("0" * 64 + ".reel", whole),
        ("some.reel", whole),
        (reel.name, whole),
    ]:
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(CorruptReel):
            read_reel(path)
