# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys in whatever files people and distributions keep them in, and what could not be read of these. Any thread.

Armored or not, one key or a whole ring, text between the blocks, keyboxes, directories of all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from gtfs.ids import Fingerprint
from gtfs.trust.gnupghome import GnupgUnusable
from gtfs.trust.keyring import BadKeyring, Keys, MissingKeyring, files_at, merge_keys, parse_keys, read_file
from gtfs.trust.publicgpg import GnupgNotRun, export_keybox
from gtfs.trust.publickey import PublicKey


class KeyFiles(NamedTuple):
    """The keys that were found, and what was left out, in words that begin with the file's name."""

    keys: Keys
    left_out: list[str]


def read_key_files(paths: Sequence[Path]) -> KeyFiles:
    """All keys of these files and directories. A file without any is left out, and named; so is a part of one.

    Raises `BadKeyring` where there is not one key in all of them, `GnupgNotRun`.
    """
    found = KeyFiles({}, [])
    refused: BadKeyring | None = None
    for path in paths:
        try:
            files = files_at(path)
        except BadKeyring as error:
            files, refused = [], error
            found.left_out.append(f"{path}: {error.reason}")
        for file in files:
            try:
                merge_keys(found.keys, read_key_data(read_file(file), str(file), found.left_out))
            except BadKeyring as error:
                refused = error
                found.left_out.append(f"{file}: {error.reason}")
    if refused is not None and not found.keys:
        raise refused
    return found


def pick(keys: Keys, wanted: Collection[Fingerprint]) -> Keys:
    """Those of a primary key or subkey that is wanted; raises `MissingKeyring` for what is not there."""
    chosen: dict[Fingerprint, PublicKey] = {}
    for fingerprint in wanted:
        here = {f: key for f, key in keys.items() if key.has(fingerprint)}
        if not here:
            raise MissingKeyring("(all files)", f"there is no key {fingerprint} in them")
        chosen |= here
    return chosen


def read_key_data(data: bytes, name: str, left_out: list[str]) -> Keys:
    """The keys in a file's bytes, a keybox too; raises `BadKeyring`, `GnupgNotRun`."""
    if data[8:12] == b"KBXf":
        try:
            data = export_keybox(data)
        except GnupgNotRun:  # which says nothing of the file
            raise
        except GnupgUnusable as error:
            raise BadKeyring(name, str(error)) from None
    return parse_keys(data, name, lambda what: left_out.append(f"{name}: {what}"))
