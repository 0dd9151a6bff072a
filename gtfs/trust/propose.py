# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a user could trust: the web of trust that begins at the user's own keys, as the user's GnuPG has it.

gpg's own validity is told beside the paths of certifications, which are looked at anew (`certifications`). It proposes
only: what the user accepts is frozen, and nothing of this is asked again. Blocking; any thread.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint
from gtfs.trust.certifications import Certifications
from gtfs.trust.gnupghome import open_gnupg
from gtfs.trust.keyfacts import printable
from gtfs.trust.keyring import KEYRING_BYTES
from gtfs.trust.weboftrust import verified_paths

if TYPE_CHECKING:
    import gnupg

VALIDITY: Final = {"u": "ultimate", "f": "full", "m": "marginal", "-": "unknown", "q": "unknown", "o": "unknown"}
_VALID: Final = frozenset({"u", "f", "m"})
_ORDER: Final = ("ultimate", "full", "marginal", "unknown")


class NothingToPropose(GtfsError):
    """The user's GnuPG has no web of trust; the text says what to do."""

    fault = Blame.USAGE


class Proposed(NamedTuple):
    """A key, what gpg thinks of it, and the disjoint paths of certifications from the user's own keys to it."""

    fingerprint: Fingerprint
    user_ids: list[str]
    validity: str
    paths: list[tuple[Fingerprint, ...]]

    def describe(self) -> dict[str, Any]:
        """As JSON shows it."""
        return self._asdict()


def propose(home: Path | None, *, every: bool = False) -> list[Proposed]:
    """The keys that gpg calls valid, best first; with ``every`` also each that has a path.

    ``home`` None: gpg's default one. Raises `NothingToPropose`, `GnupgUnusable`, `BadPackets`, OSError.
    """
    gpg = open_gnupg(home)
    listed = [key for key in gpg.list_keys() if key["trust"] not in ("r", "e", "i", "n", "d")]
    own = frozenset(Fingerprint(key["fingerprint"]) for key in listed if key["ownertrust"] == "u")
    if not own:
        raise NothingToPropose(
            "no key in your GnuPG is your own, so no web of trust begins there; gpg --edit-key KEY trust says that one "
            "is (5, ultimate)"
        )
    known = {Fingerprint(key["fingerprint"]): key for key in listed}
    targets = [f for f, key in known.items() if f not in own and (every or key["trust"] in _VALID)]
    certifications = Certifications(_export(gpg, known))
    now_s = time.time()
    paths = verified_paths(certifications.claimed(), own, targets, certifications.verify)
    found = [
        Proposed(f, [printable(text) for text in known[f]["uids"]], VALIDITY.get(known[f]["trust"], "unknown"), its)
        for f in targets
        if ((its := paths.get(f, [])) or not every or known[f]["trust"] in _VALID)
        and not (known[f]["expires"].isdigit() and int(known[f]["expires"]) <= now_s)
    ]
    return sorted(found, key=lambda p: (_ORDER.index(p.validity), -len(p.paths), p.fingerprint))


def export(home: Path | None, fingerprints: Collection[Fingerprint]) -> bytes:
    """These keys of the user's GnuPG, as packets; raises `GnupgUnusable`, `NothingToPropose`."""
    return _export(open_gnupg(home), fingerprints)


def _export(gpg: gnupg.GPG, fingerprints: Collection[Fingerprint]) -> bytes:
    data = gpg.export_keys(sorted(fingerprints), armor=False)
    data = data if isinstance(data, bytes) else data.encode("latin-1")
    if len(data) > KEYRING_BYTES:
        raise NothingToPropose(f"over the limit keyring: the keys have more than {KEYRING_BYTES} bytes")
    return data
