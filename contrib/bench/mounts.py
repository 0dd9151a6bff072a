# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bench of the mount needs around it: repositories and their packs as files, file systems mounted for a while,
a second host, and a tracker.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from measure import GTFS, MB, emptied, peer_environment
from synthetic import make_history

from gtfs.bencode import encode
from gtfs.reel.index import Index
from gtfs.reel.openreel import ReelReader

LARGE_BYTES = 32 << 20  # each of the blobs of the large pack
LARGE_BLOBS = 4
WAIT_S = 60.0
SEEDER, FETCHER = "10.78.0.1", "10.78.0.2"


class House:
    """Where everything lies; made once in ``root`` and found again by the next run."""

    def __init__(self, root: Path, commits: int) -> None:
        self.root = root
        self.commits = commits
        self.home = root / "gnupg"
        self.many = root / f"many-{commits}.git"
        self.large = root / "large.git"
        self.files = root / f"files-{commits}"
        self.large_files = root / "files-large"
        self.logs = root / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)

    def prepare(self) -> None:
        if not self.home.exists():
            self.home.mkdir(mode=0o700)
            self.gpg("--quick-gen-key", "bench <bench@example.org>", "ed25519", "sign", "never")
        self._publish(self.many, lambda path: make_history(path, self.commits))
        self._publish(self.large, make_large)
        for repository, files in ((self.many, self.files), (self.large, self.large_files)):
            if not files.exists():
                part = files.with_suffix(".part")
                write_packs(repository, emptied(part))
                part.rename(files)

    def gpg(self, *words: str) -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--pinentry-mode", "loopback", "--passphrase", ""]
        return subprocess.run([*command, *words], check=True, capture_output=True).stdout

    def _publish(self, path: Path, make: Callable[[Path], None]) -> None:
        if path.exists():
            return
        part = path.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        say(f"making {path.name}")
        make(part)
        listing = self.gpg("--list-keys", "--with-colons").decode()
        key = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))
        run(*GTFS, "init", part, "--name", path.stem, "--sign-key", key, "--gnupg-home", self.home)
        say(f"publishing {path.name}")
        run(*GTFS, "publish", part)
        part.rename(path)


def make_large(path: Path) -> None:
    """One commit with blobs that do not compress."""
    subprocess.run(["git", "init", "--quiet", "--bare", "-b", "main", path], env=peer_environment(), check=True)
    chance = random.Random(1)
    command = ["git", "-C", path, "-c", "core.bigFileThreshold=1m", "fast-import", "--quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=peer_environment()) as process:
        assert process.stdin is not None
        process.stdin.write(b"commit refs/heads/main\ncommitter B <b@example.org> 1000000000 +0000\ndata 5\nlarge\n")
        for number in range(LARGE_BLOBS):
            process.stdin.write(b"M 100644 inline f%d\ndata %d\n" % (number, LARGE_BYTES))
            process.stdin.write(chance.randbytes(LARGE_BYTES) + b"\n")
        process.stdin.close()
    if process.returncode:
        raise SystemExit("mount: git fast-import failed")


def write_packs(repository: Path, into: Path) -> None:
    """The repository's packs as plain files, from its reels."""
    say(f"writing packs of {repository.name} as files")
    state = repository / "gtfs"
    with Index(state / "node.db", read_only=True) as index, contextlib.ExitStack() as stack:
        readers = {
            reel.id: stack.enter_context(ReelReader(state / "reels" / f"{reel.name}.reel"))
            for reel in index.reels.all()
        }
        row = 0
        while packs := index.packs.rows_after(row, 1000):
            for pack in packs:
                assert pack.reel is not None and pack.offset is not None
                (into / f"{pack.oid.hex()}.pack").write_bytes(readers[pack.reel].read(pack.offset, pack.size))
            row = packs[-1].row


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(*words: object) -> str:
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"mount: {' '.join(map(str, words))} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


# -- file systems, mounted for a while ----------------------------------------------------------------------------


class Mounted:
    """A node's mount."""

    def __init__(self, directory: Path, state: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.pid = int((state / "lock").read_text().split()[0])

    def memory(self, key: str) -> float:
        """MB of VmRSS or VmHWM."""
        found = re.search(rf"{key}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024 / MB


@contextmanager
def mounted(
    house: House,
    source: Path,
    *options: str,
    repository: Path | None = None,
    host: str = "127.0.0.1",
    inside: Sequence[str] = (),
) -> Iterator[Mounted]:
    directory, port = Path(tempfile.mkdtemp(prefix="mount-", dir=house.root)), free_port()
    state = (repository or source) / "gtfs"
    words = [f"listen={host}:{port}", f"logfile={house.logs / 'gtfs.log'}", *options]
    run(*inside, *GTFS, "mount", source, directory, "-o", ",".join(words))
    mount = Mounted(directory, state, port)
    try:
        yield mount
    finally:
        # By its id and not by gtfs umount: another mount namespace may hold a copy of the mount, and keep it alive.
        end(mount.pid)
        if is_mounted(directory):
            run("fusermount3", "-uz", directory)  # its process was killed
        directory.rmdir()


def end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    until(lambda: not Path(f"/proc/{pid}").exists() or is_zombie(pid), f"process {pid} ended")


def is_zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def until(condition: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > give_up:
            raise SystemExit(f"mount: this did not happen: {what}")
        time.sleep(0.002)


def is_mounted(directory: Path) -> bool:
    return f" {directory} " in Path("/proc/self/mountinfo").read_text()


@contextmanager
def foreground(house: House, directory: Path, *command: object) -> Iterator[None]:
    """A file system whose process stays with us."""
    with (house.logs / "peers.log").open("ab") as log:
        # In a session of its own, as our daemon is: Linux shares processors out among sessions.
        process = subprocess.Popen([str(w) for w in command], stdout=log, stderr=log, start_new_session=True)
        try:
            until(lambda: is_mounted(directory) or process.poll() is not None, f"{directory} is mounted")
            if process.poll() is not None:
                raise SystemExit(f"mount: {command[0]} ended with {process.returncode}; see {log.name}")
            watchdog = threading.Timer(WAIT_S, process.kill)  # a reader of a file system that hangs cannot be helped
            watchdog.start()
            yield
            watchdog.cancel()
        finally:
            if is_mounted(directory):
                subprocess.run(["umount", "-l", directory], check=False)
            if process.poll() is None:
                process.terminate()
            process.wait(WAIT_S)


@contextmanager
def passed_through(house: House, files: Path) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="passthrough-", dir=house.root))
    script = Path(__file__).with_name("passthrough.py")
    with foreground(house, directory, sys.executable, script, files, directory):
        yield directory
    directory.rmdir()


@contextmanager
def other_host() -> Iterator[list[str]]:
    """A network namespace for those who fetch, linked to ours; gives what runs a command there, mounts left alone.

    On one address btfs binds to every interface but the one that leads to the seeder.
    """
    name = f"gtfs-bench-{os.getpid()}"
    link, inner = f"gb{os.getpid()}", f"gc{os.getpid()}"
    run("ip", "netns", "add", name)
    inside = ["nsenter", f"--net=/run/netns/{name}"]
    try:
        run("ip", "link", "add", link, "type", "veth", "peer", "name", inner, "netns", name)
        run("ip", "address", "add", f"{SEEDER}/30", "dev", link)
        run("ip", "link", "set", link, "up")
        run(*inside, "ip", "address", "add", f"{FETCHER}/30", "dev", inner)
        run(*inside, "ip", "link", "set", inner, "up")
        yield inside
    finally:
        run("ip", "netns", "delete", name)


class Tracker(http.server.ThreadingHTTPServer):
    """Tells everybody of one peer."""

    def __init__(self, port: int) -> None:
        self.peer = socket.inet_aton(SEEDER) + port.to_bytes(2, "big")
        super().__init__((SEEDER, 0), Answer)


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Tracker)
        body = encode({b"interval": 60, b"complete": 1, b"peers": self.server.peer})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
