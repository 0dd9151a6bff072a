# SPDX-License-Identifier: GPL-3.0-or-later
"""When a file is a whole pack, as the look at a large file and the scan of a small one both say."""

from __future__ import annotations

from pathlib import Path

import pytest

from gtfs.ids import SHA1, SHA256, ObjectFormat
from gtfs.ingest.candidate import is_whole
from gtfs.pack.format import CorruptPack
from gtfs.pack.limits import Limits
from gtfs.pack.scan import NotWhole, scan


def pack(payload: bytes, fmt: ObjectFormat) -> bytes:
    body = b"PACK\0\0\0\2\0\0\0\1" + payload
    return body + fmt.new(body).digest()


@pytest.mark.parametrize("fmt", [SHA1, SHA256], ids=lambda fmt: fmt.name)
def test_a_file_is_whole_when_its_end_is_the_checksum_of_the_rest(tmp_path: Path, fmt: ObjectFormat) -> None:
    path = tmp_path / "f"
    good = pack(b"x" * 3_000_000, fmt)
    for data, whole in [
        (good, True),
        (pack(b"", fmt), True),
        (good[:-1], False),
        (good + b"\0", False),
        (good[:100] + b"y" + good[101:], False),
        (b"PACX" + good[4:], False),
        (b"PACK\0\0\0\3" + good[8:], False),
        (b"", False),
        (b"PACK", False),
        (bytes(len(good)), False),
    ]:
        path.write_bytes(data)
        assert is_whole(path, fmt) is whole
        # No file here is a sound pack; the scan tells those that may still become one from those that never will.
        with pytest.raises(CorruptPack) as caught:
            scan(data, fmt, Limits())
        assert isinstance(caught.value, NotWhole) is not whole


def test_the_beginning_of_a_pack_is_not_whole_whatever_its_count_says() -> None:
    for count in (b"\0\0\x10\0", b"\xff\xff\xff\xff"):
        with pytest.raises(NotWhole):
            scan(b"PACK\0\0\0\2" + count + bytes(100), SHA1, Limits())


def test_a_large_file_that_does_not_start_like_a_pack_is_not_read_through(tmp_path: Path) -> None:
    path = tmp_path / "hole"
    with path.open("wb") as f:
        f.truncate(1 << 40)  # hours of reading
    assert not is_whole(path, SHA1)
