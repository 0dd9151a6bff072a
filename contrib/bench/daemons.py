# SPDX-License-Identifier: GPL-3.0-or-later
"""Small repositories for a bench of many, and what a daemon that has them costs."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
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


@dataclass
class Threads:
    """Processor seconds of a process by what its threads are for, and how often they woke up.

    ``workers`` are those of trio's pool and of the disk, which come and go; ``children`` are programs that have ended.
    """

    main_s: float
    libtorrent_s: float
    workers_s: float
    children_s: float
    main_wakes: int
    libtorrent_wakes: int

    def __sub__(self, other: Threads) -> Threads:
        return Threads(*(now - was for now, was in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def all_s(self) -> float:
        return self.main_s + self.libtorrent_s + self.workers_s + self.children_s


def threads(pid: int) -> Threads:
    """As of now. Wake-ups are voluntary switches. libtorrent's threads are named after what made the session."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own_s, children_s = (sum(map(int, fields[at : at + 2])) / os.sysconf("SC_CLK_TCK") for at in (11, 13))
    tasks = {int(task.name): task for task in Path(f"/proc/{pid}/task").iterdir()}
    named = sorted(tid for tid, task in tasks.items() if tid != pid and _name(task).startswith("make_session"))
    used, wakes = zip(*(_costs_of(tasks[tid]) for tid in (pid, *named)), strict=True)
    workers_s = max(0.0, own_s - sum(used))
    # The first is the one of the network; those of the disk come and go.
    return Threads(used[0], sum(used[1:]), workers_s, children_s, wakes[0], sum(wakes[1:2]))


def _name(task: Path) -> str:
    with contextlib.suppress(OSError):  # it has ended
        return (task / "comm").read_text()
    return ""


def _costs_of(task: Path) -> tuple[float, int]:
    """Processor seconds and voluntary switches."""
    with contextlib.suppress(OSError):
        used_s = int((task / "schedstat").read_text().split()[0]) / 1e9
        lines = (task / "status").read_text().splitlines()
        return used_s, next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))
    return 0.0, 0
