# SPDX-License-Identifier: GPL-3.0-or-later
"""delta(B, T) gives the vectors' bytes, and whatever it gives makes T from B."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from pathlib import Path

import pytest
from dulwich.pack import apply_delta
from hypothesis import given
from hypothesis import strategies as st

from gtfs.pack.delta import blob_tokens, common_prefix, common_suffix, make_delta, tree_tokens
from gtfs.pack.treediff import Tree

VECTORS = Path(__file__).parents[2] / "vectors"
CASES = [json.loads(line) for line in (VECTORS / "delta.jsonl").read_text().splitlines()]


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_delta_has_the_bytes_of_the_vector(case: dict[str, str]) -> None:
    tree = case["kind"] == "tree"
    tokens = tree_tokens(20) if tree else blob_tokens
    base, target = unpacked(case["base"]), unpacked(case["target"])
    delta = make_delta(base, target, tokens, Tree(target, 20).borders() if tree else None)
    assert hashlib.sha256(delta).hexdigest() == next(v for k, v in case.items() if "sha256" in k)


LINES = st.lists(st.sampled_from([b"", b"a", b"line of some length\n", b"x" * 40 + b"\n", b"\r\n", b"\r", b"tail"]))


@given(LINES, LINES)
def test_delta_makes_the_target_from_the_base(base: list[bytes], target: list[bytes]) -> None:
    b, t = b"".join(base), b"".join(target)
    assert b"".join(apply_delta(b, make_delta(b, t, blob_tokens))) == t


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_prefix_and_suffix_are_what_a_loop_would_find(a: bytes, b: bytes) -> None:
    limit = min(len(a), len(b))
    prefix = next((i for i in range(limit) if a[i] != b[i]), limit)
    suffix = next((i for i in range(limit) if a[-1 - i] != b[-1 - i]), limit)
    assert common_prefix(a, 0, b, 0, limit) == prefix
    assert common_suffix(a, len(a), b, len(b), limit) == suffix
