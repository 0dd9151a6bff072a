# SPDX-License-Identifier: GPL-3.0-or-later
"""A publish that failed and is to be tried again: ``$GIT_DIR/gtfs/outstanding``, JSON, there until one succeeds.

Only where the repository publishes by itself: else whoever typed ``gtfs publish`` has heard of it. Any thread.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from gtfs.durable import replace_file
from gtfs.layout import Layout
from gtfs.repo.repository import Repository
from gtfs.state.config import Config
from gtfs.state.control import read_object

log = logging.getLogger(__name__)

_FIRST_S: Final = 30  # from the first failure to the next try of a node; then twice as long each time
_MOST_S: Final = 3600


@dataclass(frozen=True)
class Outstanding:
    """``since_s`` when it failed first, ``tried_s`` when last, ``reason`` the last error."""

    since_s: int
    tried_s: int
    tries: int
    reason: str

    @property
    def rest_s(self) -> int:
        """How long a node waits after the last try."""
        return min(_FIRST_S << min(self.tries - 1, 20), _MOST_S)

    def describe(self) -> dict[str, Any]:
        """As gtfs(1) has it under JSON."""
        return {
            "since": self.since_s,
            "tried": self.tried_s,
            "again": self.tried_s + self.rest_s,
            "tries": self.tries,
            "reason": self.reason,
        }


def is_by_itself(config: Config) -> bool:
    """Whether this repository publishes by itself; raises `BadConfig`."""
    return config.get("signkey") is not None and config.publish_mode() != "manual"


def read_outstanding(layout: Layout) -> Outstanding | None:
    """The publish that is to be tried again; None for nothing, and for what nobody can read. Raises OSError."""
    return read_failure(layout.outstanding)


def read_failure(path: Path) -> Outstanding | None:
    """The same of another file of the kind."""
    try:
        found = read_object(path.read_bytes())
    except FileNotFoundError:
        return None
    try:
        since_s, tried_s, tries = (int((found or {})[key]) for key in ("since_s", "tried_s", "tries"))
        return Outstanding(since_s, tried_s, max(tries, 1), str((found or {})["reason"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        log.warning("%s cannot be read, and counts for nothing", path)
        return None


def why_unpublished(repository: Repository) -> str:
    """What a repository waits for that has published nothing yet; raises `BadConfig`, OSError."""
    config, path = Config(repository), repository.path
    if config.get("signkey") is None:
        return f"it has published nothing; gtfs init {path} --sign-key FINGERPRINT, then gtfs publish {path}"
    if not is_by_itself(config):
        return f"it has published nothing yet; run gtfs publish {path}"
    failed = read_outstanding(repository.layout)
    if failed is not None:
        return f"it has published nothing yet: it publishes by itself, and that failed: {failed.reason}"
    first = "tag" if config.publish_mode() == "tags" else "branch or tag"
    return f"it has published nothing yet: it does so by itself, once it has a {first} and a node or a hook runs"


def note_failure(layout: Layout, error: Exception) -> Outstanding:
    """Remember one more publish that failed; raises OSError."""
    return write_failure(layout.outstanding, error)


def write_failure(path: Path, error: Exception) -> Outstanding:
    """The same in another file."""
    before, now_s = read_failure(path), int(time.time())
    since_s, tries = (now_s, 0) if before is None else (before.since_s, before.tries)
    found = Outstanding(since_s, now_s, tries + 1, str(error))
    replace_file(path, json.dumps(asdict(found)).encode() + b"\n")
    return found


def settle(layout: Layout) -> None:
    """All that there is has been published; raises OSError."""
    layout.outstanding.unlink(missing_ok=True)
