# SPDX-License-Identifier: GPL-3.0-or-later
"""madler's deflate at level 1, window 15, memory 8, byte for byte, in Python (design.md §3.5).

The stand-in where the linked zlib writes other bytes; ``pack/deflate`` decides that. It is no general deflate: one
level, the whole input in one call, a fresh state each time. Sources: zlib 1.2.3 to 1.3.1, deflate.c (deflate_fast,
longest_match, fill_window) and trees.c; RFC 1950 and 1951. Keeps nothing between calls; any thread.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Final, NamedTuple

HASH_SIZE: Final = 1 << 15  # memory 8: hash of 15 bits, shift 5
SYMBOLS: Final = (1 << 14) - 1  # a block's symbol buffer counts as full one below its 16384
WINDOW_BYTES: Final = 1 << 15
MAX_MATCH: Final = 258
LOOKAHEAD_BYTES: Final = MAX_MATCH + 3 + 1  # MIN_LOOKAHEAD; below it fill_window is called
MAX_DISTANCE: Final = WINDOW_BYTES - LOOKAHEAD_BYTES
CHAIN: Final = 4
NICE: Final = 8
INSERTED: Final = 4  # every position of a match up to this length goes into the hash table

END_BLOCK: Final = 256
EXTRA_LENGTH: Final = (0,) * 8 + (1,) * 4 + (2,) * 4 + (3,) * 4 + (4,) * 4 + (5,) * 4 + (0,)
EXTRA_DISTANCE: Final = (0, 0, *(bits for bits in range(14) for _ in range(2)))
EXTRA_CODE_LENGTH: Final = (0,) * 16 + (2, 3, 7)
CODE_LENGTH_ORDER: Final = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)

# length -> literal/length symbol, distance -> distance symbol, and the first value of each. Length 258 has a symbol
# of its own, though 284 with its extra bits all set could say it too.
LENGTH_SYMBOL: Final = (
    bytes(3) + b"".join(bytes((code,)) * (1 << EXTRA_LENGTH[code]) for code in range(28))[:255] + b"\x1c"
)
DISTANCE_SYMBOL: Final = b"\0" + b"".join(bytes((code,)) * (1 << EXTRA_DISTANCE[code]) for code in range(30))
FIRST_LENGTH: Final = tuple(LENGTH_SYMBOL.index(code, 3) for code in range(29))
FIRST_DISTANCE: Final = tuple(DISTANCE_SYMBOL.index(code, 1) for code in range(30))


class Block(NamedTuple):
    """What goes out as one deflate block: ``data[start:end]`` as symbols.

    A symbol below 256 is a literal, any other one is ``length << 16 | distance``. ``storable`` is false once the
    window has slid past ``start``: zlib then has no bytes left to store.
    """

    symbols: list[int]
    start: int
    end: int
    storable: bool


class CodeTree(NamedTuple):
    """A Huffman tree: bit lengths by symbol, ``max_code`` the last symbol in use, ``bits`` its cost with extra bits."""

    lengths: list[int]
    max_code: int
    bits: int


def container(data: bytes) -> bytes:
    """The zlib container that ``zlib.compress(data, 1)`` makes of ``data``."""
    return b"\x78\x01" + segment(data, last=True) + zlib.adler32(data).to_bytes(4, "big")


def segment(data: bytes, *, last: bool) -> bytes:
    """A fresh raw deflate of ``data`` that ends in a finish if ``last``, else in one sync flush."""
    out = bytearray()
    waiting = ""  # bits that fill no byte yet; like all bit strings here the first bit sent stands rightmost
    blocks = list(_blocks(data))
    if not last and not blocks[-1].symbols:
        blocks.pop()  # a flush writes no empty block, a finish does
    for number, block in enumerate(blocks, 1):
        final = int(last and number == len(blocks))
        pieces = _compressed(block, final)
        if pieces is None:
            waiting = _append(out, f"00{final}" + waiting, aligned=True)
            stored = block.end - block.start
            out += stored.to_bytes(2, "little") + (stored ^ 0xFFFF).to_bytes(2, "little")
            out += data[block.start : block.end]
        else:
            pieces.reverse()
            waiting = _append(out, "".join(pieces) + waiting, aligned=bool(final))
    if not last:
        _append(out, "000" + waiting, aligned=True)
        out += b"\0\0\xff\xff"
    return bytes(out)


def _append(out: bytearray, bits: str, *, aligned: bool) -> str:
    """Moves whole bytes of ``bits`` to ``out`` and returns the rest; ``aligned`` pads it to a byte with zeros."""
    if aligned:
        bits = "0" * (-len(bits) % 8) + bits
    rest = len(bits) % 8
    if len(bits) > rest:
        out += int(bits[rest:], 2).to_bytes(len(bits) // 8, "little")
    return bits[:rest]


def _hashes(data: bytes) -> list[int]:
    """UPDATE_HASH over every three bytes, all at once: one integer with a lane of 16 bits a position."""
    size = len(data)
    if size < 3:
        return []
    wide = bytearray(2 * size)
    wide[::2] = data
    first = int.from_bytes(wide, "little")
    low = int.from_bytes(b"\x1f\0" * size, "little")  # the bits that the 15-bit mask keeps after the shift by 10
    mixed = (first & low) << 10 ^ first >> 16 << 5 ^ first >> 32
    lanes = array("H", mixed.to_bytes(2 * size, "little"))
    if sys.byteorder == "big":
        lanes.byteswap()
    return lanes[: size - 2].tolist()


def _blocks(data: bytes) -> Iterator[Block]:
    """deflate_fast: the blocks of ``data``; the last one holds what is left, perhaps nothing."""
    size = len(data)
    hashes = _hashes(data)
    hashed = len(hashes)
    head = [0] * HASH_SIZE  # hash -> its latest position. Position 0, and the window's first byte, count as none
    previous = [0] * size  # position -> the one before it with the same hash
    base = 0  # where zlib's 64 KiB window starts; positions here are absolute, theirs are relative to this
    slide_at = _slide_at(base, size)
    symbols: list[int] = []
    start = position = 0
    while True:
        if position >= slide_at:
            base += WINDOW_BYTES
            slide_at = _slide_at(base, size)
        if position >= size:
            break
        match = 0
        if position < hashed:
            key = hashes[position]
            match = previous[position] = head[key]
            head[key] = position
        if match > base and position - match <= MAX_DISTANCE:
            # longest_match: the nearest of the longest among the first four; any match must beat two bytes
            limit = max(position - MAX_DISTANCE, base)
            nice = min(NICE, size - position)
            length = 2
            distance = 0
            wanted = data[position : position + 3]
            for _ in range(CHAIN):
                if data[match : match + length + 1] == wanted:
                    length = _common(data, match, position)
                    distance = position - match
                    if length >= nice:
                        break
                    wanted = data[position : position + length + 1]
                match = previous[match]
                if match <= limit:
                    break
            if distance:
                symbols.append(length << 16 | distance)
                end = position + length
                if length <= INSERTED and size - end >= 3:
                    for inside in range(position + 1, end):
                        key = hashes[inside]
                        previous[inside] = head[key]
                        head[key] = inside
                position = end
            else:
                symbols.append(data[position])
                position += 1
        else:
            symbols.append(data[position])
            position += 1
        if len(symbols) == SYMBOLS:
            yield Block(symbols, start, position, start >= base)
            symbols = []
            start = position
    yield Block(symbols, start, position, start >= base)


def _slide_at(base: int, size: int) -> int:
    """The first position at which fill_window is called and slides the window that starts at ``base``.

    It is called when fewer than LOOKAHEAD_BYTES are ahead in the window, and slides from WINDOW_BYTES + MAX_DISTANCE
    on: with a full window one position later than with one that the end of the input leaves short.
    """
    return base + WINDOW_BYTES + MAX_DISTANCE + (size >= base + 2 * WINDOW_BYTES)


def _common(data: bytes, match: int, position: int) -> int:
    """How many bytes, at most MAX_MATCH, are the same from ``match`` and from ``position`` on."""
    span = 16
    while True:
        here = data[position : position + span]
        there = data[match : match + len(here)]
        if here != there:
            differing = int.from_bytes(here, "little") ^ int.from_bytes(there, "little")
            return (differing & -differing).bit_length() - 1 >> 3
        if len(here) < span or span == MAX_MATCH:
            return len(here)
        span = MAX_MATCH


def _compressed(block: Block, final: int) -> list[str] | None:
    """The block's bits, piece by piece as sent, with the cheapest of the two codings; None if stored is cheaper."""
    counts = Counter(block.symbols)
    literal_counts = [0] * 286
    distance_counts = [0] * 30
    literal_counts[END_BLOCK] = 1
    for symbol, count in counts.items():
        if symbol < 256:
            literal_counts[symbol] = count
        else:
            literal_counts[257 + LENGTH_SYMBOL[symbol >> 16]] += count
            distance_counts[DISTANCE_SYMBOL[symbol & 0xFFFF]] += count
    # the extra bits of a symbol cost the same in every coding, and stand in both sums
    static_bits = _static_bits(literal_counts, distance_counts)
    literals = build_tree(literal_counts, (0,) * 257 + EXTRA_LENGTH, 15)
    distances = build_tree(distance_counts, EXTRA_DISTANCE, 15)
    runs = [*_runs(literals), *_runs(distances)]
    code_length_counts = [0] * 19
    for symbol, _, _ in runs:
        code_length_counts[symbol] += 1
    code_lengths = build_tree(code_length_counts, EXTRA_CODE_LENGTH, 7)
    sent = 1 + max(rank for rank, symbol in enumerate(CODE_LENGTH_ORDER) if code_lengths.lengths[symbol])
    dynamic_bits = literals.bits + distances.bits + code_lengths.bits + 3 * sent + 5 + 5 + 4

    static_bytes = (static_bits + 3 + 7) >> 3
    best_bytes = min((dynamic_bits + 3 + 7) >> 3, static_bytes)
    if block.storable and block.end - block.start + 4 <= best_bytes:
        return None
    if best_bytes == static_bytes:
        literal_codes, distance_codes = STATIC_LITERAL_CODES, STATIC_DISTANCE_CODES
        pieces = [f"01{final}"]
    else:
        literal_codes, distance_codes = _codes(literals.lengths), _codes(distances.lengths)
        code_length_codes = _codes(code_lengths.lengths)
        pieces = [f"10{final}", f"{literals.max_code - 256:05b}", f"{distances.max_code:05b}", f"{sent - 4:04b}"]
        pieces += (f"{code_lengths.lengths[symbol]:03b}" for symbol in CODE_LENGTH_ORDER[:sent])
        pieces += chain.from_iterable((code_length_codes[symbol], _bits(value, width)) for symbol, value, width in runs)
    words = {symbol: _word(symbol, literal_codes, distance_codes) for symbol in counts}
    pieces += map(words.__getitem__, block.symbols)
    pieces.append(literal_codes[END_BLOCK])
    return pieces


def _word(symbol: int, literal_codes: list[str], distance_codes: list[str]) -> str:
    """The bits of a literal, or of a match's length and distance with their extra bits."""
    if symbol < 256:
        return literal_codes[symbol]
    length = symbol >> 16
    code = LENGTH_SYMBOL[length]
    low = _bits(length - FIRST_LENGTH[code], EXTRA_LENGTH[code]) + literal_codes[257 + code]
    distance = symbol & 0xFFFF
    code = DISTANCE_SYMBOL[distance]
    return _bits(distance - FIRST_DISTANCE[code], EXTRA_DISTANCE[code]) + distance_codes[code] + low


def _bits(value: int, width: int) -> str:
    return f"{value:0{width}b}" if width else ""


def _static_bits(literal_counts: list[int], distance_counts: list[int]) -> int:
    literals = sum(map(int.__mul__, literal_counts, STATIC_LITERAL_LENGTHS))
    lengths = sum(map(int.__mul__, literal_counts[257:], EXTRA_LENGTH))
    return literals + lengths + sum(n * (5 + extra) for n, extra in zip(distance_counts, EXTRA_DISTANCE, strict=True))


def build_tree(counts: list[int], extra_bits: tuple[int, ...], max_length: int) -> CodeTree:
    """trees.c's build_tree with its heap and its tie-breaks; fewer than two symbols in use are filled up to two."""
    elements = len(counts)
    rank = [(count, 0) for count in counts] + [(0, 0)] * elements  # (frequency, depth), what the heap sorts by
    parent = [0] * len(rank)
    heap = [0, *(symbol for symbol in range(elements) if counts[symbol])]  # its first place is not used
    max_code = heap[-1] if len(heap) > 1 else -1
    bits = 0
    while len(heap) < 3:
        node = 0
        if max_code < 2:
            max_code += 1
            node = max_code
        heap.append(node)
        rank[node] = (1, 0)
        bits -= 1

    def sift(place: int) -> None:
        moved = heap[place]
        last = len(heap) - 1
        while (son := 2 * place) <= last:
            if son < last and rank[heap[son + 1]] <= rank[heap[son]]:
                son += 1
            if rank[moved] <= rank[heap[son]]:
                break
            heap[place] = heap[son]
            place = son
        heap[place] = moved

    for place in range((len(heap) - 1) // 2, 0, -1):
        sift(place)
    order: list[int] = []  # rarest first
    node = elements
    while len(heap) > 2:
        rarest = heap[1]
        heap[1] = heap[-1]
        heap.pop()
        sift(1)
        rarer = heap[1]
        order += (rarest, rarer)
        parent[rarest] = parent[rarer] = node
        rank[node] = (rank[rarest][0] + rank[rarer][0], max(rank[rarest][1], rank[rarer][1]) + 1)
        heap[1] = node
        node += 1
        sift(1)
    lengths = _limited(order, parent, node - 1, max_length, elements)
    for symbol in order:
        if symbol < elements:
            extra = extra_bits[symbol]
            bits += rank[symbol][0] * (lengths[symbol] + extra)
    return CodeTree(lengths[:elements], max_code, bits)


def _limited(order: list[int], parent: list[int], root: int, max_length: int, elements: int) -> list[int]:
    """trees.c's gen_bitlen: lengths by symbol, those over ``max_length`` taken back as 'ar' by Okumura does."""
    lengths = [0] * (root + 1)
    used = [0] * (max_length + 1)  # leaves of each length
    overflow = 0
    for node in reversed(order):
        length = lengths[parent[node]] + 1
        if length > max_length:
            length = max_length
            overflow += 1
        lengths[node] = length
        if node < elements:
            used[length] += 1
    if overflow:
        while overflow > 0:
            shorter = max_length - 1
            while not used[shorter]:
                shorter -= 1
            used[shorter] -= 1
            used[shorter + 1] += 2
            used[max_length] -= 1
            overflow -= 2
        leaves = (node for node in order if node < elements)
        for length in range(max_length, 0, -1):
            for _ in range(used[length]):
                lengths[next(leaves)] = length
    return lengths


def _runs(tree: CodeTree) -> Iterator[tuple[int, int, int]]:
    """scan_tree: a tree's bit lengths as (code length symbol, extra value, its width)."""
    before = -1
    place = 0
    lengths = tree.lengths
    while place <= tree.max_code:
        length = lengths[place]
        most = 138 if length == 0 else 6 if length == before else 7
        end = place + 1
        while end <= tree.max_code and end - place < most and lengths[end] == length:
            end += 1
        count = end - place
        place = end
        if count < (3 if length in (0, before) else 4):
            for _ in range(count):
                yield length, 0, 0
        elif length == 0:
            yield (17, count - 3, 3) if count <= 10 else (18, count - 11, 7)
        else:
            if length != before:
                yield length, 0, 0
                count -= 1
            yield 16, count - 3, 2
        before = length


def _codes(lengths: list[int]) -> list[str]:
    """RFC 1951 §3.2.2's canonical codes; bit reversed, so that the first bit sent stands rightmost."""
    codes = [""] * len(lengths)
    code = 0
    for length in range(1, 16):
        code <<= 1
        for symbol, own in enumerate(lengths):
            if own == length:
                codes[symbol] = f"{code:0{length}b}"[::-1]
                code += 1
    return codes


STATIC_LITERAL_LENGTHS: Final = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8
STATIC_LITERAL_CODES: Final = _codes(STATIC_LITERAL_LENGTHS)
STATIC_DISTANCE_CODES: Final = _codes([5] * 30)
