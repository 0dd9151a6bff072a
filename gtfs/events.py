# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node says by default, one line each: mounted, catalogue accepted, refs moved, published, trouble, ended.

Beside its warnings; what else happens is said with ``-v``. Any thread.
"""

from __future__ import annotations

import logging
from typing import Final

EVENTS: Final = "gtfs.events"

events: Final = logging.getLogger(EVENTS)  # `gtfs.cli.work.logs` turns them on where there is a log
