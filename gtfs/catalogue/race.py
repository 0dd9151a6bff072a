# SPDX-License-Identifier: GPL-3.0-or-later
"""Two publishers who signed at the same time, told from one who says two things (design.md §5). Any thread.

Nothing of a race is remembered as judged: who signed which text is asked of gpgv whenever it matters.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from gtfs.catalogue.accept import AlteredChain, CatalogueRefused, Equivocation, FirstTrust, Held, accept
from gtfs.catalogue.document import BadCatalogue, digest, text_alone
from gtfs.catalogue.statement import PREVIOUS
from gtfs.ids import Fingerprint
from gtfs.trust.gpgv import FoundSignature
from gtfs.trust.keyring import Keyring
from gtfs.trust.verify import BadSignature, find_detached, split_clearsigned

MOST: Final = PREVIOUS - 1  # others that the next catalogue can name beside the held one


class Race(NamedTuple):
    """A good catalogue by others than signed the held one, which it does not follow: each node keeps what it has."""

    version: int
    digest: str
    document: bytes

    def describe(self, held: Held) -> str:
        """One line for a log or a page."""
        ours = f"the held version {held.catalogue.version} ({held.digest[:16]})"
        return (
            f"version {self.version} ({self.digest[:16]}) was published beside {ours} by another signer: what is held "
            "stays, until a catalogue that names both as Previous"
        )


def found_signatures(document: bytes, keyring: Keyring, may: frozenset[Fingerprint]) -> list[FoundSignature]:
    """The signatures that fit the text by those who ``may`` sign, whatever has come of their keys since.

    Anybody can add his own to a document: it says nothing. Raises `BadSignature`, `GpgvFailed`.
    """
    text, packets = split_clearsigned(document)
    signed = text.removesuffix(b"\n")  # as `gtfs.trust.verify.read_clearsigned` does
    found = []
    for packet in packets:
        try:
            found.append(find_detached(signed, packet.raw, keyring, may, now_s=int(time.time()), sig_class="01"))
        except BadSignature:
            continue
    return found


def nobody_signed_two(documents: Sequence[bytes], keyring: Keyring) -> bool:
    """Whether different signers, of those that these catalogues name, signed them; no, where it cannot be known of one.

    Raises `GpgvFailed`.
    """
    named = frozenset(key for document in documents for key in text_alone(split_clearsigned(document)[0]).signers)
    seen: set[Fingerprint] = set()
    for document in documents:
        signers = {found.primary for found in found_signatures(document, keyring, named)}
        if not signers or signers & seen:
            return False
        seen |= signers
    return True


def race_of(error: Equivocation | AlteredChain, held: Held, kept: Iterable[Race], keyring: Keyring) -> Race | None:
    """What was refused, if it is no fault of anybody: nobody who signed it signed what it stands beside.

    That is the held catalogue, and of the races that were ``kept`` those of its version. None where it cannot be known
    who signed one of them. Raises `GpgvFailed`.
    """
    text, _ = split_clearsigned(error.other)
    new = Race(text_alone(text).version, digest(text), error.other)
    if new.version < held.catalogue.version:
        return None  # whoever holds that one has been overtaken, and takes the newer one
    beside = [race.document for race in kept if race.version == new.version and race.digest != new.digest]
    return new if nobody_signed_two((held.document, *beside, new.document), keyring) else None


def live_races(held: Held, kept: Iterable[Race], keyring: Keyring, now_s: int) -> list[Race]:
    """Those of the ``kept`` that the next catalogue has to name, by the keys of now, at most `MOST`.

    Raises `GpgvFailed`.
    """
    live: list[Race] = []
    for race in kept:
        if race.digest in (held.digest, *held.catalogue.follows) or len(live) == MOST:
            continue
        try:
            accept(race.document, held, keyring, FirstTrust(), now_s)
        except (Equivocation, AlteredChain) as error:
            if race_of(error, held, live, keyring) is not None:
                live.append(race)
        except (CatalogueRefused, BadCatalogue):
            continue
    return live
