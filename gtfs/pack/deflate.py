# SPDX-License-Identifier: GPL-3.0-or-later
"""Deflate with one set of bytes on every machine (design.md §3.5): up to 1 MiB one call, above it 1 MiB segments.

The linked zlib does the work if it writes what madler's zlib writes, which a known-answer test finds out at first
use; else ``pack/puredeflate`` does. Inflating is not here: any zlib inflates these bytes. Any thread.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Final, NamedTuple, Protocol

from gtfs.errors import Blame, GtfsError
from gtfs.pack import puredeflate
from gtfs.pack.limits import MIB

log = logging.getLogger(__name__)

SEGMENT_BYTES: Final = MIB
ZLIB_HEADER: Final = b"\x78\x01"  # window 15, level 1

# SHA-256 over what madler's zlib 1.2.13 makes of known_inputs(), see writes_known_bytes()
KNOWN_ANSWER: Final = "b2c724e76cff737e732fae3753b233b3a158488430e99267b4a904eda5b7f4f3"


class WrongSize(GtfsError):
    """A stream that did not hold the number of bytes its object declares; at least ``got`` bytes came."""

    fault = Blame.SOURCE

    def __init__(self, size: int, got: int) -> None:
        super().__init__(f"an object of {size} bytes gave {got}; check the repository with git fsck")
        self.size = size
        self.got = got


class SegmentDeflate(Protocol):
    """A fresh raw deflate of ``data`` that ends in a finish if ``last``, else in one sync flush."""

    def __call__(self, data: bytes, *, last: bool) -> bytes: ...


class Deflater(NamedTuple):
    """An implementation of the two calls of design.md §3.5."""

    name: str
    container: Callable[[bytes], bytes]
    segment: SegmentDeflate


def deflate(data: bytes) -> bytes:
    """The zlib container of ``data``, whole."""
    if len(data) <= SEGMENT_BYTES:
        return choose_deflate().container(data)
    return b"".join(deflate_stream((data,), len(data)))


def deflate_stream(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The zlib container of the ``size`` bytes in ``chunks``, piece by piece; joined it is what ``deflate`` gives.

    Holds a chunk and a few segments. Raises WrongSize, perhaps after it gave some pieces.
    """
    deflater = choose_deflate()
    if size <= SEGMENT_BYTES:
        yield deflater.container(b"".join(_segments(chunks, size)))
        return
    yield ZLIB_HEADER
    done = 0
    checksum = zlib.adler32(b"")
    for segment in _segments(chunks, size):
        done += len(segment)
        checksum = zlib.adler32(segment, checksum)
        yield deflater.segment(segment, last=done == size)
    yield checksum.to_bytes(4, "big")


def _segments(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """``chunks`` cut anew into segments; only the last one may be shorter."""
    buffer = bytearray()
    got = 0
    for chunk in chunks:
        got += len(chunk)
        if got > size:
            raise WrongSize(size, got)
        buffer += chunk
        while len(buffer) >= SEGMENT_BYTES:
            yield bytes(buffer[:SEGMENT_BYTES])
            del buffer[:SEGMENT_BYTES]
    if got != size:
        raise WrongSize(size, got)
    if buffer:
        yield bytes(buffer)


def _linked_container(data: bytes) -> bytes:
    return zlib.compress(data, 1)


def _linked_segment(data: bytes, *, last: bool) -> bytes:
    compressor = zlib.compressobj(1, zlib.DEFLATED, -15, 8)
    out = compressor.compress(data)
    if last:
        return out + compressor.flush()
    # The block is ended before the marker is asked for: zlib repeats the marker when its output buffer, whose size
    # depends on the Python version, is full within it (zlib.h on Z_SYNC_FLUSH and avail_out).
    return out + compressor.flush(zlib.Z_BLOCK) + compressor.flush(zlib.Z_SYNC_FLUSH)


LINKED: Final = Deflater(f"linked zlib {zlib.ZLIB_RUNTIME_VERSION}", _linked_container, _linked_segment)
PURE: Final = Deflater("pure Python", puredeflate.container, puredeflate.segment)

_choosing = threading.Lock()


def choose_deflate() -> Deflater:
    """The implementation that this process uses: LINKED if it writes the known bytes, else, with one warning, PURE.

    The first call takes some milliseconds.
    """
    with _choosing:  # or two threads would both test and both warn
        return _chosen()


@cache
def _chosen() -> Deflater:
    if writes_known_bytes(LINKED):
        return LINKED
    log.warning(
        "the %s does not write the bytes of madler's zlib, which commit packs are made of;"
        " gtfs uses its own deflate in Python, with the right bytes but many times slower",
        LINKED.name,
    )
    return PURE


def writes_known_bytes(deflater: Deflater) -> bool:
    """Whether ``deflater`` gives madler's bytes for all of ``known_inputs``."""
    digest = hashlib.sha256()
    try:
        for data in known_inputs():
            digest.update(deflater.container(data))
            digest.update(deflater.segment(data, last=False))
    except zlib.error as error:  # zlib before 1.2.5 knows no Z_BLOCK
        log.info("%s failed its known-answer test: %s", deflater.name, error)
        return False
    return digest.hexdigest() == KNOWN_ANSWER


def known_inputs() -> Iterator[bytes]:
    """Inputs on which deflates differ: hash collisions, block ends, stored blocks, the window's edge and slides."""
    noise = hashlib.shake_256(b"gtfs-pack 1").digest(100_000)
    text = noise.translate(bytes(32 + byte * byte // 1366 for byte in range(256)))  # 48 letters, unevenly used
    yield b""
    yield b"hello\n"
    yield bytes(70_000)
    yield text[:1000]
    yield text
    yield noise[:20_000]
    yield noise[:20_000].hex().encode()
    yield text[:3000] * 25
    yield noise[:32_506] + noise[:500] + text[:200] + noise[700:900]
