# SPDX-License-Identifier: GPL-3.0-or-later
"""Small repositories for a bench of many, and what a daemon that has them costs."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

BRANCH = "refs/heads/main"


def make_key(home: Path) -> tuple[str, Path]:
    """A key without a passphrase in a gpg home, made if need be, and the file of its public part."""
    home.mkdir(mode=0o700, exist_ok=True)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", ""]
    keyring = home / "bench.gpg"
    if not keyring.exists():
        subprocess.run(
            [*gpg, "--quick-generate-key", "Bench <bench@example.org>", "ed25519", "sign", "never"], check=True
        )
    listing = subprocess.run([*gpg, "--with-colons", "--list-keys"], check=True, capture_output=True, text=True).stdout
    key = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))
    if not keyring.exists():
        subprocess.run([*gpg, "--export", "--output", str(keyring), key], check=True)
    return key, keyring


def add_commits(path: Path, number: int, numbers: range) -> None:
    """More commits on the branch of a repository, the first of all without a parent."""
    lines = []
    for n in numbers:
        text = f"file {n} of repository {number}\n" * 20
        lines += [f"commit {BRANCH}", f"committer A <a@example.org> {1_700_000_000 + n} +0000", "data 1", "x"]
        lines += [f"from {BRANCH}^0"] if n and n == numbers[0] else []
        lines += [f"M 644 inline f{n}", f"data {len(text)}", text]
    subprocess.run(["git", f"--git-dir={path}", "fast-import", "--quiet"], input="\n".join(lines).encode(), check=True)


def oid_of(repository: Path) -> str:
    """Of the branch, "" while it is not there."""
    with contextlib.suppress(OSError):
        return (repository / BRANCH).read_text().strip()
    with contextlib.suppress(OSError):
        lines = (repository / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in lines if line.endswith(" " + BRANCH)), "")
    return ""


def cpu_s(pid: int) -> float:
    """Processor time of a process and of the programs that it ran to their end."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def costs(pid: int) -> tuple[float, int]:
    """MiB and descriptors."""
    status = Path(f"/proc/{pid}/status").read_text()
    rss_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return rss_kib / 1024, len(os.listdir(f"/proc/{pid}/fd"))
