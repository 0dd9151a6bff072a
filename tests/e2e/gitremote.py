# SPDX-License-Identifier: GPL-3.0-or-later
"""git by ``gtfs::`` for a test: a mounted publisher, the settings of who follows it, and what a clone must be."""

from __future__ import annotations

import shutil
from pathlib import Path

from house import Done, House


class Clones:
    """git with the settings of a user who follows a mounted publisher."""

    def __init__(self, house: House, publisher: Path) -> None:
        self.house = house
        self.publisher = publisher
        self.catalogue = house.root / "web" / "latest.asc"
        self.catalogue.parent.mkdir()
        self.show()
        self.seed = house.mount(publisher, "seed")
        self.say("gtfs.keyring", house.key.public)
        self.say("gtfs.option", f"nodht,nolsd,listen=127.0.0.1:0,peer=127.0.0.1:{self.seed.port}")

    @property
    def url(self) -> str:
        return f"gtfs::{self.catalogue}"

    def say(self, name: str, value: object) -> None:
        self.house.run(["git", "config", "--global", name, value])

    def clone(self, *words: object, name: str = "clone", code: int = 0, url: str | None = None) -> Path:
        self.run("clone", "--quiet", *words, url or self.url, self.house.root / name, code=code)
        return self.house.root / name

    def run(self, *words: object, code: int | None = 0, env: dict[str, str] | None = None) -> Done:
        return self.house.run(["git", *words], code=code, env=env)

    def publish(self) -> None:
        self.house.gtfs("publish", self.publisher)
        self.show()

    def show(self) -> None:
        """The catalogue alone, so that reels come from the swarm."""
        made = self.publisher / "gtfs" / "catalogue"
        if (made / "chunks").is_dir():  # of many refs; they come before what names them
            shutil.copytree(made / "chunks", self.catalogue.parent / "chunks", dirs_exist_ok=True)
        self.catalogue.write_bytes((made / "latest.asc").read_bytes())

    def check(self, clone: Path) -> None:
        """It is sound by git's word and by ours, and none of our refs are in it."""
        assert self.house.git(clone, "fsck", "--strict", "--no-dangling") == ""
        assert self.house.git(clone, "for-each-ref", "refs/gtfs") == ""
        assert list((git_dir(clone) / "objects" / "pack").glob("*.keep")) == []
        assert self.house.gtfs("fsck", clone).err == ""


def git_dir(clone: Path) -> Path:
    return clone / ".git" if (clone / ".git").exists() else clone


def reels(clone: Path) -> list[str]:
    return sorted(path.name for path in (git_dir(clone) / "gtfs" / "reels").glob("*.reel"))


def in_repository(publisher: Path) -> str:
    """The address of the catalogue where its publisher has it, beside the reels."""
    return f"gtfs::{publisher}/gtfs/catalogue"
