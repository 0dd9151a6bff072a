# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom the helper keeps from pushing to a repository on this machine, and whom git alone may."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gtfs.ids import SHA1
from gtfs.remote.address import LocalRepository
from gtfs.remote.local import PushRefused, _refuse_follower
from gtfs.repo.pushes import refuse_pushes
from gtfs.repo.repository import create_repository
from gtfs.state.private import make_private


@pytest.fixture
def mirror() -> Iterator[LocalRepository]:
    """Where everybody may look for it."""
    with tempfile.TemporaryDirectory(prefix="gtfs-shared-", dir="/tmp") as place:
        Path(place).chmod(0o755)
        repository = create_repository(Path(place, "mirror.git"), SHA1)
        make_private(repository.state_directory)
        refuse_pushes(repository, [b"refs/heads/main"], "the catalogue of demo", None)
        yield LocalRepository(repository.path)


@pytest.fixture
def as_somebody_else() -> Iterator[None]:
    assert os.geteuid() == 0, "needs root, to be somebody else for a while"
    os.seteuid(65533)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_push_to_a_mirror_is_refused(mirror: LocalRepository) -> None:
    with pytest.raises(PushRefused, match="is a mirror and follows the catalogue of demo; push to its publisher"):
        _refuse_follower(mirror)


def test_a_push_to_what_another_user_keeps_to_himself_is_gits_to_refuse(
    mirror: LocalRepository, as_somebody_else: None
) -> None:
    with pytest.raises(PermissionError):
        list(mirror.path.joinpath("gtfs").iterdir())
    _refuse_follower(mirror)
