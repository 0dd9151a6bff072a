# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipes are played with an installed wheel, as tests/e2e runs its programs."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "e2e"))

from house import House, Key
from installed import install_once


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``gtfs`` is."""
    own = tmp_path_factory.getbasetemp()
    return install_once(own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own)


@pytest.fixture(scope="session")
def key() -> Iterator[Key]:
    """The publisher's, at a path short enough for its agent's socket."""
    directory = Path(tempfile.mkdtemp(prefix="gtfs-recipes-", dir="/tmp"))
    made = Key(directory, "publisher")
    yield made
    made.close()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def house(tmp_path: Path, key: Key, programs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Where a test runs its programs; at its end all of them have ended, and what they wrote is sound."""
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    made = House(tmp_path / "h", key)
    yield made
    made.close()
