# SPDX-License-Identifier: GPL-3.0-or-later
"""The bell of a collection, which its publisher's daemon rings and those of its mirrors hear (design.md §11)."""

from __future__ import annotations

from collections.abc import Callable

from gtfs.collection.document import Collection
from gtfs.layout import Layout
from gtfs.node.bell import BellTold


class ListBell:
    """Whose it is, as `gtfs.node.bell.BellOwner` wants to know; ``held`` gives the version that is held."""

    def __init__(self, layout: Layout, held: Callable[[], Collection | None], *, is_publisher: bool) -> None:
        self._layout = layout
        self._held = held
        self._is_publisher = is_publisher

    @property
    def layout(self) -> Layout:
        """See `BellOwner`."""
        return self._layout

    def told(self) -> BellTold | None:
        """See `BellOwner`."""
        held = self._held()
        return None if held is None or held.bell is None else BellTold(held.repository, held.version, held.bell)

    def is_publisher(self) -> bool:
        """See `BellOwner`."""
        return self._is_publisher
