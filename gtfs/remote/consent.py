# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose catalogue is believed first: asked once at the terminal, or refused with what to configure. Main thread.

Standard input is git's; the question goes to the terminal itself, as those of git and ssh do.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from gtfs.catalogue.accept import WrongSigner
from gtfs.catalogue.statement import Statement
from gtfs.cli.work.running import read_answer
from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint
from gtfs.state.firsttrust import NotFollowing

Signers = Sequence[tuple[Fingerprint, Sequence[str]]]


class NotConsented(GtfsError):
    """Nobody has said yet that these keys may sign the first catalogue; the text has the lines that would say so."""

    fault = Blame.TRUST

    def __init__(self, about: str, signers: Sequence[str]) -> None:
        config = "    git config --global --add"
        lines = [about, "If you know that key, say so with these lines, and try again:"]
        lines += [f"{config} gtfs.signer {signer}" for signer in signers or ("FINGERPRINT",)]
        lines += [f"{config} gtfs.keyring FILE    (with the key itself, unless your GnuPG has it)"]
        super().__init__("\n".join(lines))


class Consent:
    """Asks, and remembers about whom."""

    def __init__(self) -> None:
        self._asked: tuple[str, Signers] | None = None

    @property
    def has_asked(self) -> bool:
        """Whether anybody's word was wanted."""
        return self._asked is not None

    def confirm(self, catalogue: Statement, signers: Signers) -> bool:
        """See `firsttrust.Confirm`."""
        self._asked = (catalogue.repository, signers)
        if os.environ.get("GIT_TERMINAL_PROMPT") == "0":
            return False
        try:
            terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return False
        with os.fdopen(terminal, "r+b", buffering=0) as tty:
            lines = [f"The catalogue of {catalogue.repository} is signed by"]
            for primary, user_ids in signers:
                lines += [f"    {primary}", *(f"        {user_id}" for user_id in user_ids)]
            question = "Shall this key say what the repository holds, from now on? Type yes: "
            tty.write("\n".join((*lines, question)).encode("utf-8", "replace"))
            return read_answer(tty.fileno()) == b"yes"

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Within, a refusal for want of anybody's word is raised as `NotConsented`."""
        try:
            yield
        except WrongSigner:
            if self._asked is None:
                raise
            repository, signers = self._asked
            who = "; ".join(f"{fpr} {', '.join(user_ids)}".strip() for fpr, user_ids in signers)
            about = f"the catalogue of {repository} is signed by {who}, and nobody has said that this key may"
            raise NotConsented(about, [fpr for fpr, _ in signers]) from None
        except NotFollowing as e:
            raise NotConsented(str(e).partition(";")[0], ()) from None
