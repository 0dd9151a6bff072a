# SPDX-License-Identifier: GPL-3.0-or-later
"""What several of these tests start from."""

from __future__ import annotations

from pathlib import Path

import pytest
from keys import shared_keys

from gtfs.ids import SHA1
from gtfs.repo.repository import Repository, create_repository
from gtfs.state.state import State
from gtfs.trust.keyring import freeze, read_user_keys


@pytest.fixture
def mirror(tmp_path: Path) -> Repository:
    """A repository that follows nobody yet, and trusts Alice."""
    repository = create_repository(tmp_path / "mirror.git", SHA1)
    keys = shared_keys()
    with State(repository) as state:
        freeze(read_user_keys([keys["alice"]], keys.home), state.layout.keyring)
    return repository
