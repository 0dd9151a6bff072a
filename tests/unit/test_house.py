# SPDX-License-Identifier: GPL-3.0-or-later
"""The arrows of design.md §2: who may import whom, and in which folder each dependency lives."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gtfs
from gtfs.version import version

HOUSE = Path(gtfs.__file__).parent
MODULES = sorted(HOUSE.rglob("*.py"))

# Each station and those of its neighbours that it may import (errors and ids are everybody's).
MAY_IMPORT = {
    "pack": set(),
    "reel": {"pack"},
    "repo": {"pack"},
    "trust": {"pack"},
    "catalogue": {"pack", "trust"},
    "ingest": {"pack", "repo", "reel", "trust"},
    "swarm": set(),
    "mount": {"pack"},
    "state": {"pack", "repo", "reel", "trust", "catalogue", "ingest"},
    "view": {"pack", "repo", "reel", "ingest", "mount", "state", "swarm"},
    "node": {"pack", "repo", "reel", "trust", "catalogue", "ingest", "swarm", "mount", "state", "view"},
    "cli": {"pack", "repo", "reel", "trust", "catalogue", "ingest", "swarm", "mount", "state", "view", "node"},
}
FREE = {"errors", "ids", "durable", "feed", "version"}

LIVES_IN = {
    "pyfuse3": {"mount"},
    "libtorrent": {"swarm"},
    "gnupg": {"trust"},
    "dulwich": {"pack", "repo"},
    "cryptography": {"swarm", "state"},
    "httpx": {"swarm", "node"},
    "debian": {"trust", "catalogue"},
    "trio": {"swarm", "mount", "view", "node", "cli"},
    "click": {"cli"},
    "rich": {"cli"},
    "platformdirs": {"cli"},
    "sqlite3": {"reel"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: a relative import"
            found.add(node.module)
    return found


def room(path: Path) -> str:
    parts = path.relative_to(HOUSE).parts
    return parts[0] if len(parts) > 1 else ""


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_imports_go_one_way(path: Path) -> None:
    here = room(path)
    for name in imports(path):
        if name.split(".")[0] != "gtfs":
            continue
        there = name.split(".")[1]
        if here and there not in FREE and there != here:
            assert there in MAY_IMPORT[here], f"{here} may not import {there}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_each_dependency_lives_in_its_folders(path: Path) -> None:
    for name in imports(path):
        homes = LIVES_IN.get(name.split(".")[0])
        assert homes is None or room(path) in homes, f"{name} does not belong in {room(path) or 'the top'}"


def test_state_and_what_is_below_load_neither_trio_nor_libtorrent() -> None:
    modules = [".".join(p.relative_to(HOUSE.parent).with_suffix("").parts) for p in MODULES if room(p) == "state"]
    code = f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\n"
    code += "print(sorted({'trio', 'libtorrent', 'pyfuse3', 'httpx', 'click', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_modules_stay_small_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# SPDX-License-Identifier: GPL-3.0-or-later\n")
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert len(text.splitlines()) <= 400


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_the_version_stands_in_no_module(path: Path) -> None:
    text = path.read_text()
    assert version() not in text and f"{version().replace('.', '')}0" not in re.findall(r"\d+", text)
    assert path.name == "version.py" or "metadata.version" not in text
