# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom the user trusts, as the options say it (design.md §5). Pure; any thread. `firsttrust` acts on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gtfs.ids import Fingerprint

if TYPE_CHECKING:
    from gtfs.catalogue.statement import Statement  # takes longer to load than all of --help

Confirm = Callable[["Statement", Sequence[tuple[Fingerprint, Sequence[str]]]], bool]
"""Asked with a catalogue and, for each good signature, the primary key and its user ids."""


@dataclass(frozen=True)
class TrustGiven:
    """Keyring files, fingerprints, a home of GnuPG, somebody to ask (None: nobody is there), and what is expected."""

    keyrings: Sequence[Path] = ()
    signers: Sequence[Fingerprint] = ()
    gnupg_home: Path | None = None
    confirm: Confirm | None = None
    threshold: int = 1  # of these signers
    repository: str | None = None  # the id that the first catalogue has to have, where it is known
