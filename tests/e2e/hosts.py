# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of a small network for a test: namespaces on one bridge, whose users type commands that are written down.

They share this machine's files, and reach each other by the network alone. No packet leaves it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from finders import own_network
from house import Done, House
from waiting import wait_for

NETWORK = "10.78.0"


class Transcript:
    """What users typed, and what they read; printed as it happens (pytest -s)."""

    def __init__(self, house: House) -> None:
        self._house = house

    def say(self, text: str) -> None:
        short = text.replace(f"{self._house.root}/", "~/").replace(str(self._house.root), "~")
        print(short.rstrip("\n"), flush=True)


class Host:
    """One of them; ``enter`` is what runs a command there."""

    def __init__(self, house: House, name: str, address: str, namespace: str, transcript: Transcript) -> None:
        self.house = house
        self.name = name
        self.address = address
        self.enter = ["nsenter", f"--net={namespace}"]
        self.typed = 0  # commands
        self.transcript = transcript

    def type(
        self, *command: Any, code: int | None = 0, env: dict[str, str] | None = None, before: Sequence[Any] = ()
    ) -> Done:
        """A command that its user types, by way of ``before``, which he does not."""
        self.typed += 1
        words = [str(word) for word in command]
        self.transcript.say(f"{self.name}$ {shlex.join(words)}")
        done = self.house.run([*self.enter, *before, *words], code=None, env=env)
        for text in (done.out, done.err.replace("\r", "\n")):
            if text:
                self.transcript.say(text)
        assert code is None or done.code == code, f"{words} ended with {done.code}:\n{done.out}{done.err}"
        return done

    def say(self, text: str) -> None:
        """A line of the transcript that nobody typed."""
        self.transcript.say(text)

    def run(self, *command: Any, code: int | None = 0) -> Done:
        """A command that is no part of the day's work."""
        return self.house.run([*self.enter, *command], code=code)

    def serve(self, port: int, *command: Any) -> None:
        """A server for as long as the test lasts."""
        log = self.house.root / f"{self.name}-{port}.log"
        with log.open("wb") as out:
            self.house.start([*self.enter, *command], out=out)

        def answers() -> bool:
            return f":{port} " in self.run("ss", "-tln").out

        wait_for(answers, lambda: f"{command[0]} listens: {log.read_text()}")

    @contextmanager
    def gtfs_here(self) -> Iterator[None]:
        """Within, every gtfs of the house runs here."""
        before, self.house.enter = self.house.enter, self.enter
        try:
            yield
        finally:
            self.house.enter = before


@contextmanager
def hosts(house: House, *names: str) -> Iterator[list[Host]]:
    """So many hosts, each with an address; the first namespace has the bridge."""
    transcript = Transcript(house)
    with ExitStack() as stack:
        hub = f"gtfs{os.getpid()}-hub"
        stack.enter_context(own_network(hub))
        _ip(hub, "link", "add", "br0", "type", "bridge")
        _ip(hub, "link", "set", "br0", "up")
        made = []
        for number, name in enumerate(names, 1):
            space = f"gtfs{os.getpid()}-{name}"
            path = stack.enter_context(own_network(space))
            _ip(space, "link", "add", "eth0", "type", "veth", "peer", "name", f"v{number}", "netns", hub)
            _ip(hub, "link", "set", f"v{number}", "master", "br0", "up")
            address = f"{NETWORK}.{number}"
            _ip(space, "address", "add", f"{address}/24", "dev", "eth0")
            _ip(space, "link", "set", "eth0", "up")
            made.append(Host(house, name, address, path, transcript))
        yield made


def _ip(namespace: str, *words: str) -> None:
    subprocess.run(["ip", "-n", namespace, *words], check=True)
