# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of a bench: network namespaces with links of one rate to one router, and a publisher of a repository's copy.

Each host's only neighbour is the router: the kernel keeps 1,024 neighbours for all namespaces together (gc_thresh3),
and on one bridge 33 hosts have more. Needs root and iproute2; no packet leaves the namespaces.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gtfs.repo.repository import open_repository
from gtfs.state.initialise import initialise
from gtfs.state.publish import publish_now
from gtfs.state.state import State

HUB = "10.77.0.254"
UNITS = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}


def address(host: int) -> str:
    return f"10.77.0.{host + 1}"


def sh(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@dataclass
class Network:
    """Namespaces PREFIX-hub, PREFIX-0 (the publisher) and PREFIX-1 … (mirrors)."""

    prefix: str

    def run_in(self, host: int | str, *words: str) -> list[str]:
        return ["ip", "netns", "exec", f"{self.prefix}-{host}", *words]

    def sent(self) -> int:
        return int(sh(*self.run_in(0, "cat", "/sys/class/net/eth0/statistics/tx_bytes")))


@contextlib.contextmanager
def network(mirrors: int, rate: str | None) -> Iterator[Network]:
    """A publisher and so many mirrors on links of ``rate``, or as fast as the machine; gone at the end in any case."""
    net = Network(f"gtfs{os.getpid()}")
    hub = f"{net.prefix}-hub"
    made = []
    try:
        sh("ip", "netns", "add", hub)
        made.append(hub)
        inside = net.run_in("hub", "ip")
        sh(*inside, "addr", "add", f"{HUB}/32", "dev", "lo")
        sh(*inside, "link", "set", "lo", "up")
        sh(*net.run_in("hub", "sysctl", "-qw", "net.ipv4.ip_forward=1"))
        for host in range(mirrors + 1):
            name = f"{net.prefix}-{host}"
            sh("ip", "netns", "add", name)
            made.append(name)
            here, there = net.run_in(host, "ip"), f"v{host}"
            sh(*here, "link", "add", "eth0", "type", "veth", "peer", "name", there, "netns", hub)
            sh(*here, "addr", "add", f"{address(host)}/32", "dev", "eth0")
            for side in ("lo", "eth0"):
                sh(*here, "link", "set", side, "up")
            sh(*inside, "link", "set", there, "up")
            sh(*here, "route", "add", HUB, "dev", "eth0")
            sh(*here, "route", "add", "default", "via", HUB)
            sh(*inside, "route", "add", address(host), "dev", there)
            if rate is None:
                continue
            # Small packets, nearly as on a wire: 64 KiB at once would fill the queue of a slow link with four of them.
            sh(*here, "link", "set", "eth0", "gso_max_segs", "4", "gso_max_size", "5858")
            for side, device in ((host, "eth0"), ("hub", there)):
                sh(*net.run_in(side, "tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", rate),
                   "burst", "64kb", "latency", "100ms")  # fmt: skip
        yield net
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=False)


def listening(net: Network, host: int | str, port: int) -> bool:
    """Whether somebody listens there by now; waits a little."""
    for _ in range(100):
        if f":{port} " in sh(*net.run_in(host, "ss", "-tln")):
            return True
        time.sleep(0.05)
    return False


@contextlib.contextmanager
def served(net: Network, port: int, command: list[str], host: int = 0, log: Path | None = None) -> Iterator[None]:
    """``command`` runs and listens there; ``log`` gets what it says."""
    with (log or Path(os.devnull)).open("wb") as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True)
    try:
        assert listening(net, host, port), command
        yield
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def bits(rate: str) -> float:
    found = re.fullmatch(r"([\d.]+)([kmg]bit)", rate)
    if not found:
        raise SystemExit(f"--rate {rate}: not like 20mbit")
    return float(found[1]) * UNITS[found[2]]


def publish(repo: Path, work: Path) -> tuple[Path, Path, int]:
    """A published copy of the repository, its key and the bytes of its reels."""
    home = work / "g"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", ""]
    sh(*gpg, "--quick-generate-key", "Bench <bench@example.org>", "ed25519", "sign", "never")
    listing = sh(*gpg, "--with-colons", "--list-keys").splitlines()
    key = next(line.split(":")[9] for line in listing if line.startswith("fpr"))
    keyring = work / "bench.gpg"
    sh(*gpg, "--export", "--output", str(keyring), key)
    origin = work / "origin.git"
    sh("git", "clone", "-q", "--mirror", "--no-local", str(repo), str(origin))
    with State(open_repository(origin)) as state:
        initialise(state, "bench", key, str(home))
        done = publish_now(state)
    return origin, keyring, sum(reel.size for reel in done.reels)
