# SPDX-License-Identifier: GPL-3.0-or-later
"""The gtfs that the ring runs: a wheel of this tree, in a venv of its own, as a packager and a user have it.

It is built once a run, whoever of several workers comes first. For quick runs of one's own, GTFS_FROM_TREE=1 takes the
programs of the venv that runs pytest instead; there gtfs is editable, and is the tree.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from house import ROOT
from waiting import WAIT_S

PARTS = ("gtfs", "man", "contrib/completion", "setup.cfg", "setup.py", "MANIFEST.in", "README.md", "LICENSE")


def install_once(shared: Path) -> Path:
    """The directory of the programs, below one that all workers of a run share."""
    if os.environ.get("GTFS_FROM_TREE"):
        return Path(sys.executable).parent
    place = shared / "wheel"
    with (shared / "wheel.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "done").exists():
            install(place)
            (place / "done").touch()
    return place / "venv" / "bin"


def install(place: Path) -> None:
    """Build the wheel from a copy, as a build leaves files of old modules behind, and install it."""
    tree, venv = place / "tree", place / "venv"
    for part in PARTS:
        source, target = ROOT / part, tree / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(source, target)
    python = venv / "bin" / "python"
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", place, tree)
    _run(sys.executable, "-m", "venv", "--without-pip", venv)
    (wheel,) = place.glob("*.whl")
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    # What gtfs needs comes from the venv that runs pytest; its own gtfs comes last, and a .pth file's .pth files are
    # not read, so that an editable one is not seen.
    ours = Path(sysconfig.get_path("purelib", vars={"base": str(venv)}))
    lines = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (ours / "dependencies.pth").write_text("".join(f"{line}\n" for line in lines))


def _run(*command: object) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=2 * WAIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
