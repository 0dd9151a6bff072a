# SPDX-License-Identifier: GPL-3.0-or-later
"""A multi-pack-index from packs' indexes: in C and in Python the same, and nothing of a damaged one."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from madeindexes import ids, index

from gtfs.ids import SHA1, SHA256, ObjectFormat, ObjectId
from gtfs.pack import compiled
from gtfs.repo import multipackindex
from gtfs.repo.multipackindex import packs_in, write_multi_pack_index
from gtfs.repo.packindex import BadIndex

NAMES = st.binary(min_size=1, max_size=2).map(lambda name: ObjectId(name.ljust(20, b"\1")))
OFFSETS = st.one_of(st.integers(0, 1 << 12), st.integers((1 << 31) - 2, 1 << 40))
PACKS = st.lists(st.dictionaries(NAMES, OFFSETS, max_size=40), max_size=6)


def write(directory: Path, fmt: ObjectFormat = SHA1) -> bytes:
    path = directory / "multi-pack-index"
    write_multi_pack_index(directory, path, fmt)
    return path.read_bytes()


def chunks(data: bytes) -> dict[bytes, bytes]:
    places = [struct.unpack_from(">4sQ", data, 12 + 12 * n) for n in range(data[6] + 1)]
    return {name: data[at:end] for (name, at), (_, end) in pairwise(places)}


def said(data: bytes) -> dict[bytes, tuple[str, int]]:
    """By the name of an object, the pack and the place that a reader of gitformat-pack(5) finds."""
    parts = chunks(data)
    packs = parts[b"PNAM"].rstrip(b"\0").decode().split("\0")
    far, found = parts.get(b"LOFF"), {}
    for number, (pack, offset) in enumerate(struct.iter_unpack(">II", parts[b"OOFF"])):
        if far is not None and offset >> 31:
            (offset,) = struct.unpack_from(">Q", far, 8 * (offset & 0x7FFFFFFF))
        found[parts[b"OIDL"][20 * number : 20 * number + 20]] = packs[pack], offset
    return found


def clear(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    for file in directory.iterdir():
        file.unlink()
    return directory


@given(packs=PACKS, at_once=st.sampled_from([1, 7, 1 << 17]))
def test_it_says_of_each_object_where_the_newest_pack_has_it(
    tmp_path_factory: pytest.TempPathFactory, packs: list[dict[ObjectId, int]], at_once: int
) -> None:
    directory = clear(tmp_path_factory.getbasetemp() / "merging")
    expected = {}
    for number, pack in enumerate(packs):
        oids = sorted(pack)
        made = index(directory / f"pack-{number}.idx", oids, 2, [pack[oid] for oid in oids])
        made.with_suffix(".pack").touch()
        os.utime(made.with_suffix(".pack"), (number, number))
        expected |= {bytes(oid): (made.name, pack[oid]) for oid in oids}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multipackindex, "_AT_ONCE", at_once)
        data = write(directory)
        assert packs_in(directory / "multi-pack-index", SHA1) == {f"pack-{n}.idx" for n in range(len(packs))}
        assert compiled.is_compiled()
        patch.setattr(compiled, "_inner", None)
        assert write(directory) == data
    assert said(data) == expected
    counts = [sum(name[0] <= byte for name in expected) for byte in range(256)]
    assert chunks(data)[b"OIDF"] == struct.pack(">256I", *counts)
    assert hashlib.sha1(data[:-20]).digest() == data[-20:]


def made_packs(directory: Path, fmt: ObjectFormat = SHA1) -> list[Path]:
    made = [index(directory / f"pack-{n}.idx", ids(fmt, 100 * n, 100)) for n in range(3)]
    for path in made:
        path.with_suffix(".pack").touch()
    return made


def test_ids_of_either_hash_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_packs(tmp_path, SHA256)
    data = write(tmp_path, SHA256)
    assert chunks(data)[b"OIDL"] == b"".join(ids(SHA256, 0, 300))
    assert data[5] == 2 and hashlib.sha256(data[:-32]).digest() == data[-32:]
    monkeypatch.setattr(compiled, "_inner", None)
    assert write(tmp_path, SHA256) == data


def test_what_has_no_pack_or_is_of_version_1_is_left_out(tmp_path: Path) -> None:
    first, second, third = made_packs(tmp_path)
    second.with_suffix(".pack").unlink()
    index(third, ids(SHA1, 200, 100), version=1)
    assert chunks(write(tmp_path))[b"OIDL"] == b"".join(ids(SHA1, 0, 100))
    assert packs_in(tmp_path / "multi-pack-index", SHA1) == {first.name}


def test_without_packs_it_is_empty(tmp_path: Path) -> None:
    assert said(write(tmp_path)) == {} and packs_in(tmp_path / "multi-pack-index", SHA1) == frozenset()


NAMES_AT, FAR_AT = 8 + 1024, 8 + 1024 + 28 * 100
DAMAGES = {
    "two names in the wrong order": lambda data: (
        data[:NAMES_AT] + swapped(data[NAMES_AT : NAMES_AT + 40]) + data[1072:]
    ),
    "one name twice": lambda data: data[:NAMES_AT] + 2 * data[NAMES_AT : NAMES_AT + 20] + data[NAMES_AT + 40 :],
    "a far offset that is not there": lambda data: data[: FAR_AT - 4] + b"\x80\0\0\1" + data[FAR_AT:],
    "no whole far offsets": lambda data: data + b"abc",
    "no offsets": lambda data: data[: NAMES_AT + 2000],
    "a name under another byte": lambda data: data[: FAR_AT - 820] + b"\0" + data[FAR_AT - 819 :],
}


def swapped(two: bytes) -> bytes:
    return two[20:] + two[:20]


@pytest.mark.parametrize("in_c", [True, False])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_index_is_named_and_what_was_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes], in_c: bool
) -> None:
    _, damaged, _ = made_packs(tmp_path)
    before = write(tmp_path)
    damaged.write_bytes(damage(damaged.read_bytes()))
    if not in_c:
        monkeypatch.setattr(compiled, "_inner", None)
    with pytest.raises(BadIndex, match=damaged.name):
        write(tmp_path)
    assert (tmp_path / "multi-pack-index").read_bytes() == before
    assert not (tmp_path / "multi-pack-index.lock").exists()


def test_what_is_not_plainly_good_is_left_to_python() -> None:
    name = bytes(20)
    for part in ((0, b"", b"", b""), (0, name[1:], bytes(4), b""), (0, name, bytes(5), b""), (0, name, bytes(4), b"1")):
        assert compiled.merge((compiled.Part._make(part),), 20, 0) is None
    far = compiled.Part(0, name, b"\x80\0\0\0", bytes(8))
    assert compiled.merge((far,), 20, 1 << 31) is None
    assert compiled.merge((far,), 20, 5) == (name, b"\0\0\0\0\x80\0\0\5", bytes(8))
    assert compiled.merge((), 20, 0) == (b"", b"", b"")
    for arguments in (([], 20, 0), ((), 19, 0), ((1,), 20, 0), (((0, "a", b"", b""),), 20, 0)):
        with pytest.raises((TypeError, ValueError)):
            compiled._inner.merge(*arguments)


def test_the_names_of_very_many_packs_are_read(tmp_path: Path) -> None:
    names = [f"pack-{number:040x}.idx" for number in range(40_000)]
    text = b"".join(name.encode() + b"\0" for name in names)
    names_end = 72 + len(text)
    places = [(b"PNAM", 72), (b"OIDF", names_end), (b"OIDL", names_end + 1024), (b"OOFF", names_end + 1024)]
    table = b"".join(struct.pack(">4sQ", *place) for place in [*places, (bytes(4), names_end + 1024)])
    header = struct.pack(">4sBBBBI", b"MIDX", 1, 1, 4, 0, len(names))
    (tmp_path / "midx").write_bytes(header + table + text + bytes(1024))
    assert packs_in(tmp_path / "midx", SHA1) == set(names)
