# SPDX-License-Identifier: GPL-3.0-or-later
"""A tracker that counts announces and knows nobody: in a thread, or as a program that keeps the count in a file.

python3 contrib/bench/tracker.py ADDRESS PORT FILE
"""

from __future__ import annotations

import http.server
import sys
from pathlib import Path


class Tracker(http.server.ThreadingHTTPServer):
    """Counts announces, and knows nobody."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0, file: Path | None = None) -> None:
        self.announces = 0
        self.file = file
        super().__init__((address, port), _Answer)

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]}:{self.server_port}/announce"

    def count(self) -> None:
        self.announces += 1
        if self.file is not None:
            self.file.write_text(str(self.announces))


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Tracker

    def do_GET(self) -> None:
        self.server.count()
        body = b"d8:intervali1800e5:peers0:e"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    Tracker(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])).serve_forever()
