# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the linked zlib writes other bytes, gtfs still writes the right ones, and says once that it is slow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import WAIT_S

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
VECTORS = ROOT / "tests" / "vectors" / "deflate.tsv"

# Deflates the small inputs of the vectors from two threads, then one of over 1 MiB.
PROGRAM = r"""
import hashlib, json, logging, sys, zlib
from concurrent.futures import ThreadPoolExecutor

logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
from gtfs.pack import deflate

x, out, i = 1, bytearray(), 0
while len(out) < 32769:
    x = (x * 1103515245 + 12345) & 0x7FFFFFFF
    out += b"%x\n" % (x % (97 + i % 5000)) if i % 7 else bytes(((x >> 16) & 255, (x >> 8) & 255))
    i += 1
inputs = {"empty": b"", "one byte": b"a", "hello": b"hello\n", "zeros 70000": bytes(70000)}
for size in (100, 1000, 4096, 32767, 32768, 32769):
    inputs[f"gen[:{size}]"] = bytes(out[:size])
with ThreadPoolExecutor(2) as pool:
    answers = dict(zip(inputs, pool.map(deflate.deflate, inputs.values())))
assert all(zlib.decompress(answers[name]) == data for name, data in inputs.items())
other = b"".join(deflate.deflate_stream([bytes(out)] * 34, 34 * len(out)))
assert zlib.decompress(other) == bytes(out) * 34
json.dump({
    "hashes": {name: hashlib.sha256(answer).hexdigest() for name, answer in answers.items()},
    "above 1 MiB": hashlib.sha256(other).hexdigest(),
    "used": deflate.choose_deflate().name,
    "linked differs": zlib.compress(bytes(out), 1) != answers["gen[:32769]"],
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def otherzlib(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed: the other zlib cannot be built")
    library = tmp_path_factory.mktemp("otherzlib") / "otherzlib.so"
    command = ["gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, HERE / "otherzlib.c", "-ldl"]
    subprocess.run(command, check=True, timeout=WAIT_S)
    return library


def run(environment: dict[str, str]) -> tuple[dict, str]:
    """What PROGRAM printed and logged in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def usual() -> dict:
    """The same program with the zlib of this machine as it is."""
    return run({})[0]


def vectors() -> dict[str, str]:
    rows = [line.split("\t") for line in VECTORS.read_text().splitlines() if not line.startswith("#")]
    return {name: sha256 for name, _, _, sha256 in rows}


@pytest.mark.parametrize("how", ["level", "memory", "window", "fixed"])
def test_the_bytes_stay_the_same_over_a_zlib_that_differs_and_one_warning_says_so(
    otherzlib: Path, usual: dict, how: str
) -> None:
    answer, logged = run({"LD_PRELOAD": str(otherzlib), "OTHERZLIB": how})
    if not answer["linked differs"]:
        pytest.skip("this Python carries its zlib in itself: LD_PRELOAD does not reach it")

    assert answer["used"] == "pure Python"
    expected = vectors()
    assert answer["hashes"] == {name: expected[name] for name in answer["hashes"]}
    assert answer["above 1 MiB"] == usual["above 1 MiB"]
    warnings = [line for line in logged.splitlines() if line.startswith("WARNING")]
    assert len(warnings) == 1
    assert "zlib" in warnings[0] and "slower" in warnings[0]
