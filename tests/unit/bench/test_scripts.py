# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks take of gtfs is there: they run too seldom to find out by themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[3] / "contrib" / "bench"
PYTHON = b"#!/usr/bin/env python3"
SCRIPTS = sorted(path.name for path in BENCH.iterdir() if path.is_file() and path.read_bytes().startswith(PYTHON))
# What mypy calls a name, an argument or a field that gtfs does not have.
GONE = ("attr-defined", "call-arg", "union-attr", "name-defined")


def test_there_are_benchmarks() -> None:
    assert {"clone", "swarm", "million"} <= set(SCRIPTS)


def test_they_use_nothing_of_gtfs_that_is_gone(tmp_path: Path) -> None:
    modules = [tmp_path / f"bench_{Path(name).stem}.py" for name in SCRIPTS]
    for name, module in zip(SCRIPTS, modules, strict=True):
        module.write_bytes((BENCH / name).read_bytes())
    (tmp_path / "mypy.ini").write_text("[mypy]\nignore_missing_imports = True\ncheck_untyped_defs = True\n")
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", "cache", *map(str, modules)]
    paths = os.pathsep.join(map(str, (BENCH, BENCH.parents[1])))
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "MYPYPATH": paths}, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    gone = [line for line in done.stdout.splitlines() if line.endswith(tuple(f"[{code}]" for code in GONE))]
    assert gone == []
