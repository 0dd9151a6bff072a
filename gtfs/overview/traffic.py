# SPDX-License-Identifier: GPL-3.0-or-later
"""How many bytes came and went in each five minutes of the last day. In memory, and bounded; one thread."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

SPAN_S: Final = 300
SPANS: Final = 288  # a day


@dataclass
class SpanMoved:
    """What was moved from ``start_s`` on, for `SPAN_S`."""

    start_s: int
    received: int = 0
    sent: int = 0


class Traffic:
    """Counters that only grow go in; when they are smaller than before, they began anew."""

    def __init__(self) -> None:
        self._spans: deque[SpanMoved] = deque(maxlen=SPANS)
        self._received = 0
        self._sent = 0

    def note(self, now_s: float, received: int, sent: int) -> None:
        """The counters at this moment; what they grew by counts for the span of this moment."""
        start_s = int(now_s) // SPAN_S * SPAN_S
        if not self._spans or start_s > self._spans[-1].start_s:
            self._spans.append(SpanMoved(start_s))
        span = self._spans[-1]  # also for a clock that was set back
        span.received += received - self._received if received >= self._received else received
        span.sent += sent - self._sent if sent >= self._sent else sent
        self._received, self._sent = received, sent

    def last_day(self, now_s: float) -> list[SpanMoved]:
        """A day's spans up to now without a gap; where nothing is known nothing was moved."""
        last_s = int(now_s) // SPAN_S * SPAN_S
        known = {span.start_s: span for span in self._spans}
        starts = range(last_s - (SPANS - 1) * SPAN_S, last_s + SPAN_S, SPAN_S)
        return [known.get(start_s, SpanMoved(start_s)) for start_s in starts]
