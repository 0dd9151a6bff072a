# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipes are played with an installed wheel, as tests/e2e runs its programs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "e2e"))

from installed import install_once


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``gtfs`` is."""
    own = tmp_path_factory.getbasetemp()
    return install_once(own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own)
