# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user may choose about the overview of running nodes. Pure, and without trio; any thread."""

from __future__ import annotations

from dataclasses import dataclass

from gtfs.overview.readers import StatusPlace


@dataclass(frozen=True)
class OverviewOptions:
    """``place`` None: it is not served. ``users``: uids that are let in besides, None lets in all."""

    place: StatusPlace | None = None
    users: tuple[int | None, ...] = ()

    @property
    def let_in(self) -> tuple[int, ...] | None:
        """The uids; None lets in everybody."""
        return None if None in self.users else tuple(uid for uid in self.users if uid is not None)
