# SPDX-License-Identifier: GPL-3.0-or-later
"""A swarm without sockets or a clock: hosts on links of a rate fetch one reel, and who asks whom is gtfs's own rule.

`gtfs.swarm.shares.Fetch` grades the pieces of each mirror as it does in a session. What libtorrent does with grades is
modelled as its source has it (piece_picker.hpp, request_blocks.cpp, peer_connection.cpp): of what a peer has, the
pieces with the least availability × (8 − priority) come first, queues hold a second and grow by one a block at first, a
connection with nothing to do asks for blocks that are on their way when all wanted pieces are. Uplinks give whoever
asks its turn, by weights that make some connections faster than others, as TCP does; a mirror that is not complete
sends to few at a time (`gtfs.swarm.slots`), chosen each second as libtorrent's choker does. Payload only, no headers.
The same seed gives the same run.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gtfs.swarm.peers import Company
from gtfs.swarm.pieces import Board, Window
from gtfs.swarm.shares import LOOK_S, MEET_S, Fetch

BLOCK = 16 << 10
PRIORITIES = 8
FREE, ASKED, HERE = 0, 1, 2
BACKLOG_S = 0.1  # of a downlink, at which its senders are held back
MEETING_S = (0.05, 0.8)  # from a host's coming to each of its connections
DIAL_S = (1.0, 2.5)  # until a seed that is needed again is connected
REST_S = (30.0, 60.0)  # and one that was hung up on, otherwise
FIRST_ROOM = 4  # requests, before anything came
CHOOSE_S = 1.0  # between two times that a host says who may ask
RAMP = 5000  # bytes a second more than in the second before, or a queue grows no longer
UNEVEN = 0.4  # sigma of the logarithm of a connection's weight


@dataclass
class Setting:
    """One run: hosts beside the publisher, the reel, links in bytes a second, and who leaves and comes."""

    mirrors: int
    pieces: int = 200
    piece_length: int = 64 << 10
    rate: float = 20e6 / 8
    latency_s: float = 0.01
    churn: float = 0.0  # of the mirrors leave in the first 1 / rate, and as many come
    seed: int = 1
    queue_s: float = 1.0  # what a connection asks for at once, once it has found its rate
    slots: int = 0  # how many a mirror sends to at a time as long as it is not complete; 0 for as many as ask

    @property
    def size(self) -> int:
        return self.pieces * self.piece_length

    @property
    def limit_s(self) -> float:
        return self.size / self.rate

    @property
    def floor(self) -> float:
        """The least time of any rule over the limit, as a piece is passed on when it is whole.

        M + ⌊log₂ N⌋ pieces' time where all uplinks are alike: Mundinger, Weber, Weiss, "Optimal scheduling of
        peer-to-peer file dissemination", 2008.
        """
        return 1 + (self.mirrors.bit_length() - 1) / self.pieces


@dataclass
class Outcome:
    """Bytes by where they went, and for each mirror that stayed the seconds from its coming to its last piece."""

    published: int = 0
    sent: int = 0
    useful: int = 0
    twice: int = 0
    lost: int = 0  # to whoever had left
    first_s: float = 0.0  # when a mirror had the first piece
    published_s: float = 0.0  # when the publisher had nothing to send any more
    spread_s: float = 0.0  # when the last piece had reached its first mirror
    seconds: list[float] = field(default_factory=list)


class Connection:
    """One mirror's requests to one other host."""

    def __init__(self, mine: Host, theirs: Host, weight: float) -> None:
        self.mine, self.theirs, self.weight = mine, theirs, weight
        self.asked: set[tuple[int, int]] = set()
        self.to_send: deque[tuple[int, int]] = deque()  # of these, what the other side has not begun to send
        self.room = FIRST_ROOM
        self.is_choked = False
        self.unchoked_s = -1.0
        self.is_ramping = True
        self.is_ending = False
        self.got, self.got_before = 0, 0

    @property
    def wants(self) -> bool:
        return bool(self.mine.wanted & self.theirs.held)


class Host:
    """The publisher, which has everything, or a mirror."""

    def __init__(self, swarm: Swarm, name: bytes, *, is_seed: bool = False) -> None:
        setting = swarm.setting
        self.name, self.is_seed = name, is_seed
        self.came_s = swarm.now_s
        self.is_here = True
        self.unchoked = 0
        self.connections: dict[bytes, Connection] = {}
        self.is_sending = False
        self.senders: dict[bytes, Connection] = {}  # connections of others with requests to us
        self.down_free_s = 0.0
        self.dials_s = 0.0
        self.held = (1 << setting.pieces) - 1 if is_seed else 0
        self.bytes = 0
        if is_seed:
            return
        self.priorities = [0] * setting.pieces
        self.is_raised = False
        self.board = Board(setting.pieces, self._set_priority)
        self.window = Window(self.board, max(8, (32 << 20) // setting.piece_length))
        self.fetch = Fetch(name, self.board)
        self.blocks = [bytearray(setting.piece_length // BLOCK) for _ in range(setting.pieces)]
        self.free = (1 << setting.pieces) - 1  # pieces of which a block is free
        self.wanted = 0
        self.partly: set[int] = set()
        self.asked_of: dict[tuple[int, int], list[Connection]] = {}
        self.order: list[int] = []
        self.lots = [swarm.random.random() for _ in range(setting.pieces)]

    def _set_priority(self, piece: int, priority: int) -> None:
        if priority and not self.priorities[piece]:
            self.is_raised = True
        self.priorities[piece] = priority
        bit = 1 << piece
        self.wanted = self.wanted | bit if priority else self.wanted & ~bit


class Swarm:
    """All of them, and what happens next."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.random = random.Random(setting.seed)
        self.now_s = 0.0
        self.outcome = Outcome()
        self.first_s: list[float | None] = [None] * setting.pieces  # when a mirror that is here had it first
        self.copies = [0] * setting.pieces
        self.names = 0
        self.flying = 0  # blocks that were sent and have not come
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._turn = 0
        self.publisher = Host(self, b"publisher", is_seed=True)
        self.mirrors: dict[bytes, Host] = {}
        self.unfinished = 0

    def at(self, time_s: float, what: Callable[..., None], *arguments: Any) -> None:
        self._turn += 1
        heapq.heappush(self._events, (time_s, self._turn, what, arguments))

    def run(self, longest: float = 40.0) -> Outcome:
        """Until all who stay have everything; raises RuntimeError after so many times the limit."""
        setting = self.setting
        for _ in range(setting.mirrors):
            self.at(self.random.uniform(0, 0.3), self.come)
        for _ in range(round(setting.churn * setting.mirrors)):
            self.at(self.random.uniform(0.1, 1) * setting.limit_s, self.leave)
            self.at(self.random.uniform(0.1, 1) * setting.limit_s, self.come)
        self.unfinished = setting.mirrors
        last_s = (0.1 + 1) * setting.limit_s if setting.churn else 1.0
        while self._events and (self.unfinished or self.now_s < last_s):
            self.now_s, _, what, arguments = heapq.heappop(self._events)
            if self.now_s > longest * setting.limit_s:
                raise RuntimeError(f"{self.unfinished} mirrors are not complete after {longest} × the limit")
            what(*arguments)
        self.outcome.published = self.publisher.bytes
        return self.outcome

    # Coming and going

    def come(self) -> None:
        self.names += 1
        if self.names > self.setting.mirrors:
            self.unfinished += 1
        mirror = Host(self, b"-gt0000-%012d" % self.random.randrange(10**12))
        others = [self.publisher, *self.mirrors.values()]
        self.mirrors[mirror.name] = mirror
        for other in others:
            self.at(self.now_s + self.random.uniform(*MEETING_S), self.meet, mirror, other)
        self.look(mirror)
        self.at(self.now_s + 1, self.second, mirror)
        if self.setting.slots:
            self.at(self.now_s + self.random.uniform(0, CHOOSE_S), self.choose, mirror)

    def meet(self, one: Host, other: Host) -> None:
        if one.is_here and other.is_here and other.name not in one.connections:
            for mine, theirs in ((one, other), (other, one)):
                if not mine.is_seed:
                    weight = self.random.lognormvariate(0, UNEVEN)
                    connection = mine.connections[theirs.name] = Connection(mine, theirs, weight)
                    connection.is_choked = self.slots(theirs) is not None
                    theirs.unchoked += not connection.is_choked
                    self.try_unchoke(connection)
                    self.ask(connection)

    # Who may ask whom, where hosts send to few at a time

    def slots(self, host: Host) -> int | None:
        return None if not self.setting.slots or host.is_seed or host.board.is_full() else self.setting.slots

    def try_unchoke(self, connection: Connection) -> None:
        """While there is a place."""
        if connection.is_choked and connection.wants:
            slots = self.slots(connection.theirs)
            if slots is None or connection.theirs.unchoked < slots:
                self.unchoke(connection)

    def unchoke(self, connection: Connection) -> None:
        connection.is_choked = False
        connection.unchoked_s = self.now_s
        connection.theirs.unchoked += 1
        self.at(self.now_s + self.setting.latency_s, self.ask, connection)

    def choke(self, connection: Connection) -> None:
        connection.is_choked = True
        connection.theirs.unchoked -= 1
        for block in list(connection.to_send):
            self.take_back(connection, block)
            self.give_back(connection.mine, *block)
        self.ask_all(connection.mine)

    def choose(self, host: Host) -> None:
        """Those who gave most, then those who are served, then those who waited longest, as libtorrent has it."""
        if not host.is_here:
            return
        takers = [c for c in (other.connections.get(host.name) for other in self.mirrors.values()) if c is not None]

        def rank(c: Connection) -> tuple[int, bool, float]:
            back = host.connections.get(c.mine.name)
            return -back.got_before if back is not None else 0, c.is_choked, c.unchoked_s

        slots = self.slots(host)
        chosen = takers if slots is None else sorted((c for c in takers if c.wants), key=rank)[:slots]
        for c in takers:
            if not c.is_choked and c not in chosen:
                self.choke(c)
        for c in chosen:
            if c.is_choked:
                self.unchoke(c)
        if slots is not None:
            self.at(self.now_s + CHOOSE_S, self.choose, host)

    def leave(self) -> None:
        """Somebody who is not complete goes for good."""
        leaving = [mirror for mirror in self.mirrors.values() if not mirror.board.is_full()]
        if not leaving:
            return
        gone = self.random.choice(leaving)
        gone.is_here = False
        self.unfinished -= 1
        del self.mirrors[gone.name]
        for c in gone.connections.values():
            c.theirs.unchoked -= not c.is_choked
        for piece in range(self.setting.pieces):
            if gone.board.is_here(piece):
                self.copies[piece] -= 1
                if not self.copies[piece]:
                    self.first_s[piece] = None
        for other in [self.publisher, *self.mirrors.values()]:
            other.senders.pop(gone.name, None)
            broken = other.connections.pop(gone.name, None)
            if broken is not None:
                self.forget(broken)
                self.ask_all(other)

    def hang_up(self, mirror: Host) -> None:
        """On the publisher; it is dialled again, as libtorrent does."""
        self.publisher.senders.pop(mirror.name, None)
        self.forget(mirror.connections.pop(self.publisher.name))
        self.dial(mirror, REST_S)
        self.ask_all(mirror)

    def dial(self, mirror: Host, wait_s: tuple[float, float]) -> None:
        mirror.dials_s = self.now_s + self.random.uniform(*wait_s)
        self.at(mirror.dials_s, self.meet, mirror, self.publisher)

    # Who asks whom

    def look(self, mirror: Host) -> None:
        if not mirror.is_here or mirror.board.is_full():
            return
        mirror.window.slide()
        known = [theirs for theirs in (c.theirs for c in mirror.connections.values()) if not theirs.is_seed]
        mirrors = {other.name: other.board.count_here() for other in known if not other.board.is_full()}
        coming = len(self.mirrors) - 1 - len(known)
        late_s = self.now_s - self.setting.latency_s
        spread = [first is not None and first <= late_s for first in self.first_s]
        company = Company({}, mirrors, spread, coming)
        if (deal := mirror.fetch.due_deal(company, self.now_s)) is not None:
            mirror.fetch.take_deal(deal())
        mirror.board.grade(mirror.fetch.grades(company, mirror.bytes, self.now_s))
        self.sort(mirror)
        if self.publisher.name in mirror.connections:
            if not mirror.fetch.needs_seeds:
                self.hang_up(mirror)
        elif mirror.fetch.needs_seeds and mirror.dials_s > self.now_s + DIAL_S[1]:
            self.dial(mirror, DIAL_S)
        if mirror.is_raised:
            mirror.is_raised = False
            self.ask_all(mirror)
        self.at(self.now_s + (MEET_S if mirror.fetch.is_new(self.now_s) else LOOK_S), self.look, mirror)

    def sort(self, mirror: Host) -> None:
        def rank(piece: int) -> tuple[int, float]:
            first = 3 * (self.copies[piece] + 1) * (PRIORITIES - mirror.priorities[piece])
            return first - (3 if piece in mirror.partly else 2), mirror.lots[piece]

        wanted = (p for p in range(self.setting.pieces) if mirror.priorities[p] and not mirror.board.is_here(p))
        mirror.order = sorted(wanted, key=rank)

    def second(self, mirror: Host) -> None:
        if not mirror.is_here or mirror.board.is_full():
            return
        for c in mirror.connections.values():
            if c.is_ramping and c.got_before and c.got <= c.got_before + RAMP:
                c.is_ramping = False
            if not c.is_ramping:
                c.room = max(2, int(self.setting.queue_s * c.got) // BLOCK)
            c.got_before, c.got = c.got, 0
        self.at(self.now_s + 1, self.second, mirror)

    def ask_all(self, mirror: Host) -> None:
        if not mirror.is_seed:
            for connection in mirror.connections.values():
                self.ask(connection)

    def ask(self, connection: Connection) -> None:
        mirror, theirs = connection.mine, connection.theirs
        room = (1 if connection.is_ending else connection.room) - len(connection.asked)
        if room <= 0 or connection.is_choked:
            return
        before = len(connection.asked)
        while mirror.wanted & mirror.free & theirs.held and room > 0:
            usable = mirror.wanted & mirror.free & theirs.held
            piece = next((p for p in mirror.order if usable >> p & 1), None)
            if piece is None:
                self.sort(mirror)
                continue
            blocks = mirror.blocks[piece]
            block = blocks.index(FREE)
            blocks[block] = ASKED
            if FREE not in blocks:
                mirror.free &= ~(1 << piece)
            mirror.partly.add(piece)
            self.request(connection, (piece, block))
            room -= 1
        connection.is_ending = room > 0  # libtorrent's m_endgame_mode
        if not connection.asked:
            self.ask_for_busy(connection)
        if len(connection.asked) > before:
            self.at(self.now_s + self.setting.latency_s, self.hear, theirs, connection)

    def ask_for_busy(self, connection: Connection) -> None:
        mirror = connection.mine
        left = mirror.wanted.bit_count()
        if len(mirror.partly) < left:
            return
        usable = mirror.wanted & connection.theirs.held
        piece = next((p for p in mirror.order if usable >> p & 1 and not mirror.board.is_here(p)), None)
        if piece is not None and ASKED in mirror.blocks[piece]:
            self.request(connection, (piece, mirror.blocks[piece].index(ASKED)))

    def request(self, connection: Connection, block: tuple[int, int]) -> None:
        connection.asked.add(block)
        connection.to_send.append(block)
        connection.mine.asked_of.setdefault(block, []).append(connection)

    def forget(self, connection: Connection) -> None:
        """It is broken: others are asked."""
        connection.theirs.unchoked -= not connection.is_choked
        for block in sorted(connection.asked):
            connection.mine.asked_of[block].remove(connection)
            self.give_back(connection.mine, *block)

    def give_back(self, mirror: Host, piece: int, block: int) -> None:
        if mirror.blocks[piece][block] == ASKED and not mirror.asked_of[piece, block]:
            mirror.blocks[piece][block] = FREE
            mirror.free |= 1 << piece

    # Blocks on their way

    def hear(self, host: Host, connection: Connection) -> None:
        if connection.mine.is_here and host.is_here and connection.to_send:
            host.senders[connection.mine.name] = connection
            self.send(host)

    def send(self, host: Host) -> None:
        if host.is_sending or not host.is_here:
            return
        latest_s = self.now_s + BACKLOG_S
        ready = [c for c in host.senders.values() if c.mine.down_free_s <= latest_s]
        if not ready:
            if host.senders:
                host.is_sending = True
                self.at(self.now_s + BACKLOG_S / 4, self.try_again, host)
            return
        (connection,) = self.random.choices(ready, [c.weight for c in ready])
        block = connection.to_send.popleft()
        if not connection.to_send:
            del host.senders[connection.mine.name]
        host.is_sending = True
        sent_s = self.now_s + BLOCK / self.setting.rate
        mirror = connection.mine
        mirror.down_free_s = max(sent_s + self.setting.latency_s, mirror.down_free_s) + BLOCK / self.setting.rate
        self.at(sent_s, self.try_again, host)
        self.at(mirror.down_free_s, self.arrive, connection, block)
        if host.is_seed:
            host.bytes += BLOCK
            self.outcome.published_s = sent_s
        self.outcome.sent += BLOCK
        self.flying += 1

    def try_again(self, host: Host) -> None:
        host.is_sending = False
        self.send(host)

    def arrive(self, connection: Connection, block: tuple[int, int]) -> None:
        self.flying -= 1
        mirror, (piece, number) = connection.mine, block
        if not mirror.is_here or mirror.connections.get(connection.theirs.name) is not connection:
            self.outcome.lost += BLOCK
            return
        mirror.bytes += BLOCK
        connection.got += BLOCK
        connection.room += connection.is_ramping
        if block in connection.asked:
            connection.asked.remove(block)
            mirror.asked_of[block].remove(connection)
        if mirror.blocks[piece][number] == HERE:
            self.outcome.twice += BLOCK
        else:
            self.outcome.useful += BLOCK
            mirror.blocks[piece][number] = HERE
            if FREE not in mirror.blocks[piece]:
                mirror.free &= ~(1 << piece)
            self.cancel(mirror, piece, number)
            if mirror.blocks[piece].count(HERE) == len(mirror.blocks[piece]):
                self.finish(mirror, piece)
        if not mirror.board.is_full():
            self.ask(connection)

    def cancel(self, mirror: Host, piece: int, number: int) -> None:
        """Whoever else was asked for it, and has not begun, need not send it."""
        for c in list(mirror.asked_of.get((piece, number), ())):
            if (piece, number) in c.to_send:
                self.take_back(c, (piece, number))

    def take_back(self, connection: Connection, block: tuple[int, int]) -> None:
        """What was asked for and is not on its way."""
        mirror = connection.mine
        connection.asked.remove(block)
        mirror.asked_of[block].remove(connection)
        connection.to_send.remove(block)
        if not connection.to_send:
            connection.theirs.senders.pop(mirror.name, None)

    def finish(self, mirror: Host, piece: int) -> None:
        bit = 1 << piece
        mirror.held |= bit
        mirror.free &= ~bit
        mirror.wanted &= ~bit
        mirror.partly.discard(piece)
        mirror.board.finish(piece)
        self.copies[piece] += 1
        first_s = self.first_s[piece]
        self.first_s[piece] = self.now_s if first_s is None else first_s
        self.outcome.first_s = self.outcome.first_s or self.now_s
        self.outcome.spread_s = self.now_s if first_s is None else self.outcome.spread_s
        for other in self.mirrors.values():  # a have makes whoever had nothing to ask for ask
            connection = other.connections.get(mirror.name)
            if connection is not None:
                self.try_unchoke(connection)
            if connection is not None and not connection.asked and other.wanted & other.free & bit:
                self.at(self.now_s + self.setting.latency_s, self.ask, connection)
        if mirror.board.is_full():
            self.unfinished -= 1
            self.outcome.seconds.append(self.now_s - mirror.came_s)
