# SPDX-License-Identifier: GPL-3.0-or-later
"""What brings peers together in tests: Debian's opentracker, nginx, a network namespace. Each ends with its block."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from house import House
from ports import free_port
from waiting import WAIT_S, wait_for


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(WAIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with closing(socket.socket()) as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def opentracker(house: House, port: int, infohashes: list[str]) -> Iterator[None]:
    """Debian's opentracker, which serves only the torrents of its whitelist, on loopback by http and udp."""
    program = shutil.which("opentracker")
    assert program, "tests/e2e needs opentracker (contrib/check installs it)"
    directory = Path("/tmp") / f"gtfs-tracker-{port}"  # it becomes another user, who must get there
    directory.mkdir(mode=0o755)
    whitelist = directory / "whitelist"
    whitelist.write_text("".join(f"{infohash}\n" for infohash in infohashes))
    command = [program, "-i", "127.0.0.1", "-p", str(port), "-P", str(port), "-d", str(directory), "-w", "whitelist"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory)
    try:
        wait_for(lambda: _answers(port), "opentracker answers")
        yield
    finally:
        _end(process)
        shutil.rmtree(directory)


def for_web_server(house: House, repository: Path) -> Path:
    """A copy of the reels and the catalogue that everybody can read, made as gtfs(1) says."""
    directory = house.root / f"www-{repository.name}"
    options = ["--chmod=D755,F644", "--exclude=.*", "--include=*.reel", "--include=*.torrent", "--exclude=*"]
    house.run(["rsync", "-a", *options, f"{repository}/gtfs/reels/", f"{directory}/"])
    house.run(["install", "-m", "644", repository / "gtfs" / "catalogue" / "latest.asc", directory])
    for path in (directory, *directory.iterdir()):
        assert path.stat().st_mode & 0o777 == (0o755 if path == directory else 0o644), path
    return directory


@contextmanager
def nginx(house: House, directory: Path, more: str = "") -> Iterator[str]:
    """The URL under which nginx has a directory; ``more`` are further lines for that place."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    port = free_port()
    root = house.root / f"nginx-{port}"
    root.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""
    (root / "conf").write_text(f"""
        {user} daemon off; pid {root}/pid; error_log {root}/error.log; worker_processes 1;
        events {{ worker_connections 256; }}
        http {{
            access_log {root}/access.log;
            client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;
            uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
            server {{ listen 127.0.0.1:{port}; location /reels/ {{ alias {directory}/; {more} }} }}
        }}""")
    process = subprocess.Popen([program, "-e", f"{root}/error.log", "-c", f"{root}/conf", "-p", str(root)])
    try:
        wait_for(lambda: _answers(port), "nginx answers")
        yield f"http://127.0.0.1:{port}/reels"
    finally:
        _end(process)


@contextmanager
def own_network(name: str) -> Iterator[str]:
    """A network namespace with nothing but a loopback; gives the path that nsenter(1) takes.

    Not by `ip netns exec`: that makes a mount namespace too, and mounts made there are seen nowhere else.
    """
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield f"/run/netns/{name}"
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
