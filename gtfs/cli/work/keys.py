# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs keys --sign-off``: the public key that checks a node's own sign-offs."""

from __future__ import annotations

from gtfs.durable import make_directory
from gtfs.repo.repository import Repository
from gtfs.state.private import make_private
from gtfs.trust.nodekey import make_node_key, read_node_key


def sign_off_key(repository: Repository) -> str:
    """The armored key; made now if the node has none yet. Raises `SigningFailed`, `NotPrivate`, OSError."""
    make_private(repository.layout.root, writers_modes=(repository.layout.incoming.name, repository.layout.reels.name))
    make_directory(repository.layout.keys)
    make_node_key(repository.layout.node_key)
    return read_node_key(repository.layout.node_key).public_key().decode("ascii")
