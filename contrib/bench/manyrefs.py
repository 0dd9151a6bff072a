# SPDX-License-Identifier: GPL-3.0-or-later
"""What a publish of one commit costs with N refs: bytes that travel, and CPU of publisher and mirror. For bench/refs.

Whole programs: a publisher in one directory, a mirror in another, between them a web server on loopback that counts.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from measure import table

_COMMITS = 200


class Cost(NamedTuple):
    """Of one commit: bytes of catalogue and chunks, of reels, requests; user and system seconds of all processes."""

    catalogue: int
    reels: int
    requests: int
    publish_s: float
    mirror_s: float


class Server:
    """The state directory of a publisher over HTTP, with ranges; ``sent`` are bodies by the directory asked for."""

    def __init__(self, root: Path) -> None:
        self.sent: dict[str, int] = {}
        self.requests = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                file = root / self.path.lstrip("/")
                data = file.read_bytes() if file.is_file() else b""
                status, wanted = (200 if file.is_file() else 404), self.headers.get("Range")
                if wanted and data:
                    first, _, last = wanted.removeprefix("bytes=").partition("-")
                    size, end = len(data), int(last) + 1 if last else len(data)
                    data, status = data[int(first) : end], 206
                self.send_response(status)
                if status == 206:
                    self.send_header("Content-Range", f"bytes {first}-{int(first) + len(data) - 1}/{size}")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                top = self.path.lstrip("/").partition("/")[0]
                server.sent[top] = server.sent.get(top, 0) + len(data)
                server.requests += top == "catalogue"

            def log_message(self, *_: object) -> None:
                pass

        self._httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._httpd.server_address[1]}"
        threading.Thread(target=self._httpd.serve_forever, daemon=True).start()

    def take(self) -> tuple[int, int, int]:
        """Bytes of catalogues and of reels, and requests for catalogues, since the last time."""
        found = (self.sent.get("catalogue", 0), self.sent.get("reels", 0), self.requests)
        self.sent, self.requests = {}, 0
        return found

    def close(self) -> None:
        self._httpd.shutdown()
        self._httpd.server_close()


def compare(counts: Sequence[int], formats: Sequence[str], runs: int) -> None:
    """Print a table of the best of ``runs``, each against the fewest refs."""
    found: dict[tuple[str, int], Cost] = {}
    for which in formats:
        for count in counts:
            with tempfile.TemporaryDirectory(prefix="gtfs-b", dir="/tmp") as into:
                costs = list(_costs(Path(into), count, which, runs))
            found[which, count] = Cost(*(min(values) for values in zip(*costs, strict=True)))
    rows = []
    for (which, count), cost in found.items():
        least = found[which, counts[0]]
        more = [cost.catalogue / least.catalogue, cost.publish_s / least.publish_s, cost.mirror_s / least.mirror_s]
        row = [which, f"{count:,}", f"{cost.catalogue:,}", str(cost.requests), f"{cost.reels:,}"]
        row += [f"{cost.publish_s:.2f}", f"{cost.mirror_s:.2f}", *(f"{times:.1f}" for times in more)]
        rows.append(row)
    head = ["format", "refs", "catalogue bytes", "requests", "reel bytes", "publish CPU s", "mirror CPU s"]
    table([*head, f"bytes ÷ {counts[0]}", "publish ÷", "mirror ÷"], rows)


def _costs(into: Path, count: int, which: str, runs: int) -> Iterator[Cost]:
    environment = {**os.environ, "GNUPGHOME": str(into / "g"), "HOME": str(into), "XDG_DATA_HOME": str(into / "data")}
    publisher, mirror = into / "p.git", into / "m.git"
    with _key(into / "g", environment) as key:
        _make(publisher, count)
        server = Server(publisher / "gtfs")
        try:
            seeds = f"{server.url}/reels/"
            _run(environment, "init", str(publisher), "--name", "bench", "--sign-key", key, "--web-seed", seeds)
            _git(publisher, "config", "--file", str(publisher / "gtfs/config"), "gtfs.catalogueformat", which)
            _run(environment, "publish", str(publisher))
            ring = into / "ring.gpg"
            ring.write_bytes(
                subprocess.run(["gpg", "--export"], env=environment, capture_output=True, check=True).stdout
            )
            options = "listen=127.0.0.1:0,nolsd,nodht"
            feed = f"{server.url}/catalogue/latest.asc"
            _run(environment, "sync", "--into", str(mirror), "-o", f"keyring={ring},{options}", feed)
            for run in range(runs):
                _commit(publisher, run)
                publish_s = _run(environment, "publish", str(publisher))
                server.take()
                mirror_s = _run(environment, "sync", "-o", options, str(mirror))
                main = [_git(path, "rev-parse", "refs/heads/main") for path in (publisher, mirror)]
                assert main[0] == main[1], "the mirror did not follow"
                yield Cost(*server.take(), publish_s, mirror_s)
        finally:
            server.close()


@contextmanager
def _key(home: Path, environment: dict[str, str]) -> Iterator[str]:
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    subprocess.run([*gpg, "--quick-gen-key", "b@example.org", "ed25519", "sign"], env=environment, check=True)
    listed = subprocess.run(["gpg", "--list-keys", "--with-colons"], env=environment, capture_output=True, check=True)
    try:
        yield next(line.split(":")[9] for line in listed.stdout.decode().splitlines() if line.startswith("fpr"))
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False)


def _make(path: Path, count: int) -> None:
    """A history, and ``count`` refs in packed-refs that name its commits."""
    subprocess.run(["git", "init", "--quiet", "--bare", "-b", "main", str(path)], check=True)
    who = b"committer A <a@example.org> %d +0000\ndata 2\nc\n\n"
    text = b"".join(b"commit refs/heads/main\n" + who % (1_700_000_000 + n) for n in range(_COMMITS))
    subprocess.run(["git", f"--git-dir={path}", "fast-import", "--quiet"], input=text, check=True)
    oids = _git(path, "rev-list", "refs/heads/main").split()
    named = {f"refs/heads/users/u{n % 997:03}/change-{n:06}": oids[n % len(oids)] for n in range(count - 1)}
    lines = [f"{oid} {name}\n" for name, oid in sorted({**named, "refs/heads/main": oids[0]}.items())]
    (path / "packed-refs").write_text("# pack-refs with: peeled fully-peeled sorted \n" + "".join(lines))
    (path / "refs/heads/main").unlink(missing_ok=True)


def _commit(path: Path, number: int) -> None:
    tree = _git(path, "rev-parse", "refs/heads/main^{tree}")
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    commit = _git(path, *who, "commit-tree", "-m", f"one more, {number}", "-p", "refs/heads/main", tree)
    _git(path, "update-ref", "refs/heads/main", commit)


def _git(path: Path, *arguments: str) -> str:
    command = ["git", f"--git-dir={path}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _run(environment: dict[str, str], *arguments: str) -> float:
    """The CPU seconds of a gtfs with all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [shutil.which("gtfs", path=str(Path(sys.executable).parent)) or "gtfs", *arguments]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
