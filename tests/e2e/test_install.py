# SPDX-License-Identifier: GPL-3.0-or-later
"""What a packager gets: archives that hold every module, and a wheel that does the main job outside of the checkout."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import ROOT, House
from ports import free_port
from waiting import WAIT_S


def tracked(*below: str) -> set[str]:
    out = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", *below], capture_output=True, check=True).stdout
    return set(out.decode().split("\0")) - {""}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist and the wheel, made from what git tracks."""
    root = tmp_path_factory.mktemp("build")
    tree = root / "tree"
    for name in tracked():
        place = tree / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--outdir", root / "dist", tree]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * WAIT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return root / "dist"


@pytest.fixture(scope="module")
def installed(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh venv that has the wheel."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True, timeout=WAIT_S)
    (wheel,) = archives.glob("*.whl")
    command = [venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel]
    subprocess.run(command, check=True, timeout=2 * WAIT_S)
    return venv


def test_both_archives_hold_every_module_and_the_sdist_all_that_git_tracks(archives: Path) -> None:
    (sdist,) = archives.glob("*.tar.gz")
    (wheel,) = archives.glob("*.whl")
    with tarfile.open(sdist) as tar:
        in_sdist = {name.partition("/")[2] for name in tar.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    sources = {name for name in tracked("gtfs") if name.endswith(".c")}
    assert sources
    assert tracked("gtfs") - sources <= in_wheel
    assert not sources & in_wheel
    documents = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE")
    # But debian/: it is added to the sdist, which is its .orig.tar.gz.
    assert tracked("gtfs", "man", "doc", "contrib", "tests", *documents) <= in_sdist


def test_one_wheel_with_the_compiled_module_serves_every_python(archives: Path, installed: Path) -> None:
    (wheel,) = archives.glob("*.whl")
    assert re.fullmatch(r"gtfs-[^-]+-cp311-abi3-linux_[a-z0-9_]+\.whl", wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        compiled = {name for name in archive.namelist() if name.endswith(".so")}
    assert compiled == {"gtfs/pack/_compiled.abi3.so", "gtfs/pack/_deltas.abi3.so"}
    assert is_compiled(installed / "bin" / "python") == "True"


def is_compiled(python: Path, where: Path = Path("/")) -> str:
    command = [
        python,
        "-c",
        "from gtfs.pack import compiled, quickdelta as q; print(compiled.is_compiled() and q.is_compiled())",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=WAIT_S, cwd=where).stdout.strip()


@pytest.mark.parametrize(
    ("name", "value", "tag"),
    [("GTFS_PURE", "1", "py3-none-any"), ("CC", "/nonexistent/cc", "cp311-abi3")],
    ids=["on demand", "without a compiler"],
)
def test_gtfs_is_all_python_where_nothing_is_compiled(
    archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, tag: str
) -> None:
    (sdist,) = archives.glob("*.tar.gz")
    monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-build-isolation", "--no-index", "--wheel-dir", tmp_path, sdist]
    subprocess.run(command, check=True, timeout=2 * WAIT_S, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    assert f"-{tag}" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        assert not [member for member in archive.namelist() if member.endswith(".so")]
        archive.extractall(tmp_path / "unpacked")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "unpacked"))
    assert is_compiled(Path(sys.executable), where=tmp_path) == "False"


def test_the_wheel_brings_pages_and_completions(installed: Path) -> None:
    share = installed / "share"
    pages = {Path(name).name for name in tracked("man")}
    assert {path.name for path in (share / "man").glob("man?/*")} == pages
    for name in ("bash-completion/completions/gtfs.bash", "zsh/site-functions/_gtfs"):
        assert (share / name).is_file()
    assert (share / "fish" / "vendor_completions.d" / "gtfs.fish").is_file()


def test_the_debian_package_has_the_version_and_the_dependencies_of_setup_cfg() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    head = (ROOT / "debian" / "changelog").read_text().split("\n", 1)[0]
    assert re.fullmatch(rf"gtfs \({re.escape(config['metadata']['version'])}-\d+\) \S+; urgency=\w+", head)
    control = (ROOT / "debian" / "control").read_text()
    for line in config["options"]["install_requires"].split():
        found = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", line)
        assert found
        assert f" python3-{found[1].removeprefix('python-')} (>= {found[2]}) <!nocheck>" in control


def test_the_programs_of_this_ring_are_those_of_a_wheel(house: House, programs: Path) -> None:
    where = Path(house.run(["python", "-c", "import gtfs; print(gtfs.__file__)"]).out.strip())
    assert where.is_relative_to(programs.parent) and "site-packages" in where.parts
    assert not where.is_relative_to(ROOT)
    version = house.gtfs("--version").out.split()[-1]
    (wheel,) = programs.parents[1].glob("*.whl")
    assert wheel.name.startswith(f"gtfs-{version}-")
    for name in ("gtfs", "mount.fuse.gtfs"):
        assert (programs / name).read_text().startswith(f"#!{programs / 'python'}")


@pytest.fixture
def elsewhere(house: House, installed: Path) -> Iterator[House]:
    """A house whose gtfs is the installed one."""
    house.environment["PATH"] = f"{installed / 'bin'}{os.pathsep}{house.environment['PATH']}"
    yield house


def test_the_wheel_does_the_main_job_outside_of_the_checkout(elsewhere: House, fresh: Path) -> None:
    house, a, b = elsewhere, elsewhere.root / "A", elsewhere.root / "B"
    a.mkdir()
    b.mkdir()
    port = free_port()
    quiet = "nolsd,nodht"
    where = house.run(["python", "-c", "import gtfs; print(gtfs.__file__)"]).out
    assert "site-packages" in where
    key = ["--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home]
    house.run(["gtfs", "init", fresh, "--name", "project", *key])
    house.run(["gtfs", "publish", fresh])
    mirror = house.root / "m.git"
    house.run(["gtfs", "mount", fresh, a, "-o", f"{quiet},listen=127.0.0.1:{port}"])
    try:
        source = fresh / "gtfs" / "catalogue" / "latest.asc"
        options = f"{quiet},listen=127.0.0.1:0,repo={mirror},keyring={house.key.public},peer=127.0.0.1:{port}"
        house.run(["gtfs", "mount", source, b, "-o", options])
        try:
            house.run(["gtfs", "sync", b])
            assert sorted(os.listdir(a)) == sorted(os.listdir(b))
            assert json.loads(house.run(["gtfs", "status", "--json", b]).out)["running"]
        finally:
            house.run(["gtfs", "umount", b])
    finally:
        house.run(["gtfs", "umount", a])
    assert house.refs(mirror) == house.refs(fresh)
    for repository in (fresh, mirror):
        house.run(["gtfs", "fsck", repository])
