# SPDX-License-Identifier: GPL-3.0-or-later
"""A publisher signs while nobody is there: by a subkey in ``keys/signing`` (design.md §7). Any thread."""

from __future__ import annotations

import dataclasses

from gtfs.durable import make_directory, replace_file
from gtfs.ids import parse_fingerprint
from gtfs.repo.repository import Repository
from gtfs.state.config import BadConfig, Config
from gtfs.state.initialise import Wanted
from gtfs.state.private import make_private
from gtfs.trust.subkey import make_subkey


def make_signing_subkey(repository: Repository, wanted: Wanted) -> Wanted:
    """Make the subkey, by the GnuPG of whoever calls; gives the settings with it as the one that signs.

    Raises `BadConfig`, `BadId`, `SigningFailed`, `GnupgUnusable`, OSError.
    """
    layout, config = repository.layout, Config(repository)
    text = wanted.sign_key or config.sign_key()
    if text is None:
        raise BadConfig(f"{repository.path} is no publisher's yet: give --sign-key FPR")
    key = parse_fingerprint(text)
    home = wanted.gnupg_home or config.gnupg_home()
    if home == layout.signing_home:  # made before: the primary key is not there
        home = None
    make_private(layout.root, writers_modes=(layout.incoming.name, layout.reels.name))
    make_directory(layout.keys)
    replace_file(layout.signing_key, make_subkey(key, home, layout.signing_home))
    return dataclasses.replace(wanted, sign_key=key, gnupg_home=layout.signing_home)
