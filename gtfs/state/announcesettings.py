# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a publisher's announcements go: the settings ``announce``, ``announcemail`` and ``sendmail``. Any thread."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gtfs.repo.appendmail import open_mailbox
from gtfs.repo.repository import Repository
from gtfs.state.announcement import check_address
from gtfs.state.config import BadConfig, Config
from gtfs.state.newtags import begin, forget

_SENDMAIL: Final = "/usr/sbin/sendmail"


@dataclass(frozen=True)
class Settings:
    """``box`` is a repository of mails, ``address`` None where they are not mailed."""

    box: Path
    address: str | None
    sendmail: str  # the program


def announce_settings(config: Config) -> Settings | None:
    """Where announcements go, None for nowhere."""
    box = config.get("announce")
    return None if box is None else Settings(Path(box), config.get("announcemail"), config.get("sendmail") or _SENDMAIL)


def check_announcing(repository: Repository, box: str | None, address: str | None, sendmail: str | None) -> None:
    """Whether announcements can go there; None stays as it was, and "" for ``box`` is nowhere.

    Raises `BadConfig`, `BadMailbox`, `BadRepository`, `BadMailAddress`.
    """
    now = announce_settings(Config(repository))
    if (address is not None or sendmail is not None) and (box == "" or (box is None and now is None)):
        raise BadConfig("what is mailed is kept in a repository, too: give --announce REPO")
    if address is not None:
        check_address(address)
    program = sendmail or (now.sendmail if now is not None else _SENDMAIL)
    if (address is not None or sendmail is not None) and not os.access(program, os.X_OK):
        raise BadConfig(f"{program} cannot be run; install a mail server, or give its program with --sendmail")
    if not box:
        return
    found = open_mailbox(Path(box)).repository
    if Config(found).get("signkey") is None and found.layout.latest.exists():
        raise BadConfig(f"--announce {box}: it is a mirror; give the repository of who publishes that")
    if found.path == repository.path:
        raise BadConfig(f"--announce {box}: announcements go into another repository than the one that they announce")


def set_announcing(
    repository: Repository, config: Config, box: str | None, address: str | None, sendmail: str | None
) -> None:
    """Write what `check_announcing` found good. Tags that are there before it begins are no news.

    Raises `GitFailed`, OSError.
    """
    if box == "":
        for key in ("announce", "announcemail", "sendmail"):
            config.set(key)
        forget(repository.layout)
        return
    if box is not None and config.get("announce") is None:
        begin(repository)
    for key, value in (("announce", box), ("announcemail", address), ("sendmail", sendmail)):
        if value is not None:
            config.set(key, value)
