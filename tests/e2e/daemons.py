# SPDX-License-Identifier: GPL-3.0-or-later
"""A daemon, ``gtfs seed``, with a gtfs.conf, a state and a socket of its own."""

from __future__ import annotations

import re
import signal
from typing import Any

from house import Done, House
from waiting import wait_for

_PORT = re.compile(r"on port (\d+)")


class Daemon:
    """Its files lie in a directory ``name`` of the house; ``options`` are more words of -o."""

    def __init__(self, house: House, name: str, *options: str) -> None:
        self.house = house
        self.place = house.root / name
        self.place.mkdir()
        self.config = self.place / "gtfs.conf"
        self.config.touch()
        places = (("CONFIGURATION", self.place), ("STATE", self.place / "data"), ("RUNTIME", self.place / "run"))
        self.env = {f"{word}_DIRECTORY": str(path) for word, path in places}
        self.options = ",".join(("listen=127.0.0.1:0,nodht,nolsd", *options))
        self.log = self.place / "daemon.log"

    def start(self) -> None:
        with self.log.open("ab") as out:
            command = ["gtfs", "-v", "seed", "-o", self.options]
            self.process = self.house.start(command, env=self.env, out=out)
        wait_for(
            lambda: self.house.run(["gtfs", "seed", "list"], env=self.env, code=None).code == 0, self.log.read_text
        )

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait() == 0

    def gtfs(self, *words: Any, code: int = 0, env: dict[str, str] | None = None) -> Done:
        """A command of the user whose daemon it is."""
        return self.house.run(["gtfs", *words], env={**self.env, **(env or {})}, code=code)

    def collection(self, *words: Any, code: int = 0) -> Done:
        return self.gtfs("collection", *words, code=code)

    def members(self) -> dict[str, str]:
        return {item["name"]: item["directory"] for item in self.gtfs("seed", "list", "--json").json()["repositories"]}

    def port(self) -> int:
        """The port that peers reach it on, once it seeds."""
        found = wait_for(lambda: _PORT.search(self.log.read_text()), self.log.read_text)
        assert found is not None
        return int(found[1])
