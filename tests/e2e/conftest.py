# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole programs together: gtfs, git, mount(8), rsync, gpg. Needs FUSE, and fails without it rather than skips."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from gitremote import Clones
from house import ROOT, House, Key, environment
from installed import install_once
from lockedkey import LockedKey
from project import make_project
from waiting import WAIT_S


@pytest.fixture(scope="session", autouse=True)
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where ``gtfs`` and its ``python`` are; the first of PATH, for every program that a test starts."""
    own = tmp_path_factory.getbasetemp()
    found = install_once(own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{found}{os.pathsep}{os.environ['PATH']}")
        yield found


@pytest.fixture(scope="session")
def keys() -> Iterator[Path]:
    """A directory for GnuPG homes; a short path, for the sockets of its agents."""
    directory = Path(tempfile.mkdtemp(prefix="gtfs-e2e-", dir="/tmp"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def key(keys: Path) -> Iterator[Key]:
    """The publisher's."""
    made = Key(keys, "publisher")
    yield made
    made.close()


@pytest.fixture(scope="session")
def stranger(keys: Path) -> Iterator[Key]:
    """Nobody whom a test trusts."""
    made = Key(keys, "stranger")
    yield made
    made.close()


@pytest.fixture
def locked(keys: Path) -> Iterator[LockedKey]:
    made = LockedKey(keys / f"l{len(list(keys.iterdir()))}")
    yield made
    made.close()


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare repository that no test may change: see `fresh`."""
    path = tmp_path_factory.mktemp("project") / "project.git"
    make_project(path, environment(path.parent))
    return path


@pytest.fixture(scope="session")
def published(project: Path, key: Key, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, published once; not to be changed either."""
    root = tmp_path_factory.mktemp("published")
    house = House(root / "house", key)
    path = root / "pub.git"
    shutil.copytree(project, path)
    house.gtfs("init", path, "--name", "project", "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home)
    house.gtfs("publish", path)
    house.close()
    return path


@pytest.fixture
def house(tmp_path: Path, key: Key) -> Iterator[House]:
    """Where a test runs its programs."""
    assert os.path.exists("/dev/fuse"), "tests/e2e needs FUSE (CONTRIBUTING.md)"
    made = House(tmp_path / "h", key)
    yield made
    made.close()


@pytest.fixture
def fresh(house: House, project: Path) -> Path:
    """A plain bare repository of the project, the test's own."""
    path = house.root / "fresh.git"
    shutil.copytree(project, path)
    return path


@pytest.fixture(scope="session")
def otherzlib(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library to preload: a zlib that writes other bytes."""
    library = tmp_path_factory.mktemp("otherzlib") / "otherzlib.so"
    shim = ROOT / "tests" / "compat" / "otherzlib.c"
    command = ["gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, shim, "-ldl"]
    subprocess.run(command, check=True, timeout=WAIT_S)
    return library


@pytest.fixture(scope="session")
def disk_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """disk.c, built; a test has a copy of its own."""
    library = tmp_path_factory.mktemp("disk") / "disk.so"
    source = Path(__file__).with_name("disk.c")
    command = ["gcc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl"]
    subprocess.run(command, check=True, timeout=WAIT_S)
    return library


@pytest.fixture
def pub(house: House, published: Path) -> Path:
    """A published repository, the test's own."""
    path = house.root / "pub.git"
    shutil.copytree(published, path)
    house.keep_sound(path)
    return path


@pytest.fixture
def clones(house: House, pub: Path) -> Clones:
    """git of who follows a mounted publisher."""
    return Clones(house, pub)
