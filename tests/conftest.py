# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every ring: a scrubbed environment, a header with what was found, no unexpected warning in the log,
no mount left behind, and in CI no skip."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from gtfs.pack import compiled, quickdelta

settings.register_profile("gtfs", deadline=None)  # nothing asserts on time
settings.load_profile("gtfs")

PROGRAMS = tuple(
    """git gpg gpgv ssh-keygen fusermount3 rsync prlimit gcc opentracker mandoc transmission-daemon transmission-remote
    aria2c rtorrent qbittorrent-nox nginx vim.tiny less file""".split()  # noqa: SIM905  a list of words is easier to read
)
COMPILE = "gtfs was installed without a C compiler or zlib1g-dev: python setup.py build_ext --inplace"
VECTORS = Path(__file__).parent / "vectors"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "warns: this test expects gtfs to log warnings")
    # Run in the background of a shell that is not interactive, pytest inherits SIGINT ignored, and so would the
    # programs that tests end by it. HUP likewise, from nohup.
    for number, action in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, action)


def pytest_report_header() -> list[str]:
    found = [name for name in PROGRAMS if shutil.which(name) or Path("/usr/sbin", name).exists()]
    missing = [name for name in PROGRAMS if name not in found]
    fuse = "yes" if os.access("/dev/fuse", os.R_OK | os.W_OK) else "NO"
    return [f"gtfs: FUSE {fuse}; found {' '.join(found)}" + (f"; MISSING {' '.join(missing)}" if missing else "")]


@pytest.fixture(autouse=True)
def scrubbed_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith(("GIT_", "XDG_")) or name in ("GNUPGHOME", "LD_PRELOAD", "http_proxy", "https_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@example.org")


@pytest.fixture(autouse=True)
def no_unexpected_warning(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    if request.node.get_closest_marker("warns"):
        return
    bad = [r for r in caplog.get_records("call") if r.levelno >= logging.WARNING and r.name.startswith("gtfs")]
    assert not bad, "unexpected warnings in the log: " + "; ".join(r.getMessage() for r in bad)


@pytest.fixture(scope="module", params=["compiled", "python"])
def each_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """For modules whose tests hold for the loops in C and for the Python that they stand for."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "python":
            patch.setattr(compiled, "_inner", None)
            patch.setattr(quickdelta, "_inner", None)
        assert compiled.is_compiled() is (request.param == "compiled"), COMPILE
        assert quickdelta.is_compiled() is (request.param == "compiled"), COMPILE
        yield


@pytest.fixture(scope="module")
def in_python() -> Iterator[None]:
    """For tests of what is done only where the loops are not compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "_inner", None)
        patch.setattr(quickdelta, "_inner", None)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_mount_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    yield
    base = f"{tmp_path_factory.getbasetemp()}/"
    left = [
        line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[1].startswith(base)
    ]
    for place in left:
        subprocess.run(["fusermount3", "-uz", place], check=False)
    assert not left, f"tests left mounts behind: {left}"


@pytest.fixture(scope="session")
def vectors() -> Path:
    return VECTORS


@pytest.fixture(scope="session")
def odd_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bare repository of tests/vectors with everything awkward in it; read only, copy it to change it."""
    path = tmp_path_factory.mktemp("odd") / "odd.git"
    git = ["git", f"--git-dir={path}"]
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
    with (VECTORS / "odd-repository.pack").open("rb") as pack:
        subprocess.run([*git, "index-pack", "--stdin"], stdin=pack, stdout=subprocess.DEVNULL, check=True)
    lines = (VECTORS / "odd-repository.refs").read_text().splitlines()
    creates = "".join("create {1} {0}\n".format(*line.split()) for line in lines)
    subprocess.run([*git, "update-ref", "--stdin"], input=creates, text=True, check=True)
    return path


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = 1
        reporter.write_line("a test was skipped, which CI does not allow", red=True)
