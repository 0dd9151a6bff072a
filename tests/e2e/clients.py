# SPDX-License-Identifier: GPL-3.0-or-later
"""Torrent clients from Debian and our own libtorrent, each put on one torrent and one directory.

Everything on 127.0.0.1 and on ports of the test; no DHT, LSD, PEX, UPnP or µTP. The house ends them.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from house import House
from ports import free_port
from waiting import WAIT_S, wait_for

PEER = Path(__file__).with_name("torrent_peer.py")


@dataclass
class Running:
    """A client at work; it listens on ``port``."""

    process: subprocess.Popen[bytes]
    port: int
    said: Path

    def end(self, number: int = signal.SIGTERM) -> None:
        """As its user ends it, and wait until it is gone: it may still write."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(timeout=WAIT_S)

    def text(self) -> str:
        return self.said.read_text(errors="replace")


def _start(house: House, name: str, port: int, command: list[object]) -> Running:
    said = house.root / f"{name}-{port}.out"
    with said.open("wb") as out:
        process = house.start(command, out=out, uses_mount=True)
    return Running(process, port, said)


def _copy(terminal: int, said: Path) -> None:
    with said.open("wb", buffering=0) as out:
        try:
            while data := os.read(terminal, 65536):
                out.write(data)
        except OSError:  # the other side is gone
            pass
        finally:
            os.close(terminal)


def libtorrent(
    house: House, torrent: Path, directory: Path, peer: int | None = None, address: str = "127.0.0.1"
) -> Running:
    """Our own libtorrent; ``peer`` is the port of one to connect to."""
    port = free_port()
    return _start(
        house,
        "libtorrent",
        port,
        [sys.executable, PEER, torrent, directory, f"{address}:{port}", *([peer] if peer else [])],
    )


def aria2(house: House, torrent: Path, directory: Path, allocation: str = "prealloc") -> Running:
    """``aria2c``; it truncates what is there unless it is the whole file."""
    port = free_port()
    options = (
        f"--no-conf --dir={directory} --listen-port={port} --interface=127.0.0.1 --file-allocation={allocation} "
        "--enable-dht=false --enable-dht6=false --bt-enable-lpd=false --enable-peer-exchange=false --seed-ratio=0.0 "
        "--check-integrity=true --allow-overwrite=true --summary-interval=0 --disable-ipv6=true --async-dns=false "
        "--auto-save-interval=1"
    )
    return _start(house, "aria2", port, ["aria2c", *options.split(), torrent])


def transmission(house: House, torrent: Path, directory: Path, preallocation: int = 1) -> Running:
    """``transmission-daemon``; ``preallocation`` 1 is sparse, 2 full."""
    port, rpc = free_port(), free_port()
    home = house.root / f"transmission-{port}"
    home.mkdir()
    parts = ("dht", "lpd", "pex", "utp", "port-forwarding", "rpc-authentication", "rpc-whitelist", "rpc-host-whitelist")
    off = {f"{part}-{'required' if part.endswith('ation') else 'enabled'}": False for part in parts}
    settings = off | {
        "bind-address-ipv4": "127.0.0.1",
        "bind-address-ipv6": "::1",
        "rpc-bind-address": "127.0.0.1",
        "rpc-port": rpc,
        "peer-port": port,
        "download-dir": str(directory),
        "incomplete-dir-enabled": False,
        "rename-partial-files": True,
        "preallocation": preallocation,
    }
    (home / "settings.json").write_text(json.dumps(settings))
    running = _start(house, "transmission", port, ["transmission-daemon", "--foreground", "--config-dir", home])
    remote = ["transmission-remote", f"127.0.0.1:{rpc}"]
    wait_for(lambda: house.run([*remote, "--session-info"], code=None).code == 0, "transmission answers")
    house.run([*remote, "--add", torrent, "--download-dir", directory])
    return running


def rtorrent(house: House, torrent: Path, directory: Path) -> Running:
    """``rtorrent``, at a terminal of its own.

    With its DHT disabled, rather than off, it refuses a torrent that names no tracker.
    """
    port = free_port()
    home = house.root / f"rtorrent-{port}"
    home.mkdir()
    (home / "rc").write_text(
        f"""network.port_range.set = {port}-{port}
network.port_random.set = no
network.bind_address.set = 127.0.0.1
dht.mode.set = disable
protocol.pex.set = no
trackers.use_udp.set = no
system.file.allocate.set = 1
directory.default.set = "{directory}"
"""
    )
    ours, theirs = pty.openpty()
    process = house.start(
        ["rtorrent", "-n", "-o", f"import={home / 'rc'}", torrent],
        env={"TERM": "xterm", "HOME": str(home), "LINES": "40", "COLUMNS": "120"},
        terminal=theirs,
        uses_mount=True,
    )
    os.close(theirs)
    said = home / "out"
    said.touch()
    # Somebody must read the terminal, or rtorrent stops when it is full.
    threading.Thread(target=_copy, args=(ours, said), daemon=True).start()
    return Running(process, port, said)


def qbittorrent(house: House, torrent: Path, directory: Path) -> Running:
    """``qbittorrent-nox``; incomplete files have the suffix ``.!qB``."""
    port, web = free_port(), free_port()
    profile = house.root / f"qbittorrent-{port}"
    config = profile / "qBittorrent" / "config"
    config.mkdir(parents=True)
    (config / "qBittorrent.conf").write_text(
        rf"""[LegalNotice]
Accepted=true
[BitTorrent]
Session\Port={port}
Session\Interface=lo
Session\InterfaceName=lo
Session\InterfaceAddress=127.0.0.1
Session\DHTEnabled=false
Session\LSDEnabled=false
Session\PeXEnabled=false
Session\BTProtocol=TCP
Session\MultiConnectionsPerIp=true
Session\Preallocation=true
Session\AddExtensionToIncompleteFiles=true
[Network]
PortForwardingEnabled=false
[Preferences]
WebUI\Address=127.0.0.1
WebUI\Port={web}
WebUI\LocalHostAuth=false
WebUI\UseUPnP=false
"""
    )
    command = ["qbittorrent-nox", f"--profile={profile}", f"--webui-port={web}", f"--save-path={directory}"]
    return _start(house, "qbittorrent", port, [*command, "--skip-dialog=true", "--add-paused=false", torrent])


CLIENTS: dict[str, Callable[[House, Path, Path], Running]] = {
    "transmission": transmission,
    "aria2": aria2,
    "rtorrent": rtorrent,
    "qbittorrent": qbittorrent,
    "libtorrent": libtorrent,
}
