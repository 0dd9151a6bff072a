# SPDX-License-Identifier: GPL-3.0-or-later
"""Several signers of one catalogue: who has to sign it, and what of it a signer is shown (design.md §5).

Pure functions, any thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

from gtfs.catalogue.document import digest, from_text
from gtfs.catalogue.reftree import ChunkSource
from gtfs.catalogue.statement import Statement
from gtfs.ids import Fingerprint
from gtfs.trust.refnames import encode_name
from gtfs.trust.stanza import read_stanza, write_time

_NAMED: Final = 3  # signers in one line

# What is told in other words.
_TOLD: Final = frozenset(
    {"format", "repository", "version", "previous", "date", "valid-until", "refs", "ref-chunks", "ref-torrent", "reels"}
)


class Role(NamedTuple):
    """So many of these keys have to sign, a key and its subkeys counting as one."""

    signers: tuple[Fingerprint, ...]
    threshold: int

    def lacks(self, by: Collection[Fingerprint]) -> int:
        """How many more have to sign than these."""
        return max(0, self.threshold - len(set(self.signers) & set(by)))

    def __str__(self) -> str:
        more = f" and {len(self.signers) - _NAMED} more" if len(self.signers) > _NAMED else ""
        return f"{self.threshold} of {', '.join(self.signers[:_NAMED])}{more}" if self.signers[1:] else self.signers[0]


def roles(before: Statement | None, signers: tuple[Fingerprint, ...], threshold: int) -> list[Role]:
    """Who has to sign the catalogue after ``before`` that names these for the next one: both sets, if they differ."""
    old = [] if before is None else [Role(before.signers, before.threshold)]
    return list(dict.fromkeys((*old, Role(signers, threshold))))


def choose_signers(needed: Sequence[Role], usable: Sequence[Fingerprint]) -> list[Fingerprint] | None:
    """The first of the usable keys that together are enough, each of them needed; None if all are not."""
    chosen: list[Fingerprint] = []
    # Who is in both sets counts for both.
    for key in sorted(usable, key=lambda key: -sum(key in role.signers for role in needed)):
        if any(key in role.signers and role.lacks(chosen) for role in needed):
            chosen.append(key)
    return None if any(role.lacks(chosen) for role in needed) else chosen


def describe(text: bytes, text_before: bytes | None, chunks: ChunkSource | None = None) -> Iterator[str]:
    """What a signer of a catalogue's text says, also in fields that nobody here knows: lines of printable ASCII.

    ``text_before``: the text of the catalogue that it follows. Raises `BadCatalogue`, and `ChunksMissing` where
    ``chunks`` lacks some that these name.
    """
    new, before = from_text(text, chunks), None if text_before is None else from_text(text_before, chunks)
    yield f"repository   {new.repository}"
    yield f"version      {new.version}" + (
        "" if new.previous is None else f", after the one with SHA-256 {new.previous}"
    )
    yield from (f"             and after another's with SHA-256 {raced}" for raced in new.raced)
    yield f"date         {write_time(new.date_s)}, valid until {write_time(new.valid_until_s)}"
    yield f"signers      {new.threshold} of {', '.join(new.signers)}"
    size = sum(reel.size for reel in new.reels)
    yield f"reels        {len(new.reels)} with {sum(reel.rows for reel in new.reels)} packs, {size} bytes"
    yield from (f"changed      {line}" for line in _other_changes(text, text_before))
    old = {} if before is None else before.refs
    moved = [name for name in sorted({*old, *new.refs}) if old.get(name) != new.refs.get(name)]
    yield f"refs         {len(new.refs)}, of which differ {len(moved)}:" if before else f"refs         {len(new.refs)}:"
    for name in moved:
        was, now = old.get(name), new.refs.get(name)
        if was is None or now is None:
            what = "gone, was" if now is None else "new at" if before is not None else "at"
            yield f"  {encode_name(name)} {what} {(now or was or b'').hex()}"
        else:
            yield f"  {encode_name(name)} {was.hex()} -> {now.hex()}"
    yield f"SHA-256      {digest(text)}"


def _other_changes(new: bytes, old: bytes | None) -> Iterator[str]:
    """The lines of other fields that come or go."""
    now, was = read_stanza(new), {} if old is None else read_stanza(old)
    for name in sorted({*now, *was} - _TOLD):
        lines, before = now.get(name, []), was.get(name, [])
        yield from (f"{name}: no longer {line}" for line in before if line not in lines)
        yield from (f"{name}: now {line}" for line in lines if line not in before)
