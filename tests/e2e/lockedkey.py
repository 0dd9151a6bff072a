# SPDX-License-Identifier: GPL-3.0-or-later
"""A key whose passphrase is given only to who comes with a terminal."""

from __future__ import annotations

import subprocess
from pathlib import Path

from waiting import WAIT_S

PINENTRY = """#!/bin/sh
# Gives the passphrase to who comes with a terminal, and to nobody else.
echo "OK"
terminal=
while read -r word rest; do
    case "$word $rest" in
    "OPTION ttyname="*) terminal=yes; echo OK ;;
    GETPIN*) if [ "$terminal" ]; then echo "D secret"; echo OK; else echo "ERR 83886179 cancelled"; fi ;;
    BYE*) echo OK; exit 0 ;;
    *) echo OK ;;
    esac
done
"""
AT_TERMINAL = {"GPG_TTY": "/dev/tty"}


class LockedKey:
    """A key with a passphrase that its agent asks for each time, and gets only for somebody at a terminal."""

    def __init__(self, directory: Path) -> None:
        self.home = directory
        self.home.mkdir(mode=0o700)
        self.gpg("--quick-gen-key", "locked <locked@example.org>", "ed25519", "sign", "never")
        listing = self.gpg("--list-keys", "--with-colons").decode().splitlines()
        self.fingerprint = next(line.split(":")[9] for line in listing if line.startswith("fpr:"))
        self.public = directory / "public.gpg"
        self.public.write_bytes(self.gpg("--export", self.fingerprint))
        pinentry = directory / "pinentry"
        pinentry.write_text(PINENTRY)
        pinentry.chmod(0o755)
        conf = f"pinentry-program {pinentry}\ndefault-cache-ttl 0\nmax-cache-ttl 0\n"
        (directory / "gpg-agent.conf").write_text(conf)
        self.close()

    def gpg(self, *words: str) -> bytes:
        command = ["gpg", "--homedir", self.home, "--batch", "--no-tty", "--pinentry-mode", "loopback"]
        command += ["--passphrase", "secret", *words]
        return subprocess.run(command, check=True, capture_output=True, timeout=WAIT_S).stdout

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "all"], check=False)
