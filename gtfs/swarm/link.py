# SPDX-License-Identifier: GPL-3.0-or-later
"""The line to one libtorrent torrent: calls that never block, and questions whose answers come as alerts.

Trio loop only. Which calls block under load is in facts.md; none of those is ever made through a link.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio

from gtfs.errors import GtfsError
from gtfs.swarm.pieces import SwarmTimeout

ANSWER_S = 30.0  # libtorrent answers in milliseconds, under the worst load in seconds


def drop(libtorrent: Any, handle: Any, *options: Any) -> bool:
    """Have libtorrent's session take a torrent out; an alert says when it is gone. False: it was before."""
    try:
        libtorrent.remove_torrent(handle, *options)
    except RuntimeError:  # "invalid torrent handle"
        return False
    return True


class _Question:
    """One question, the event of its answer, and how to ask it again."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self.ask = ask
        self.answered = trio.Event()
        self.value: Any = None


class Link:
    """Calls on the handle of the torrent called ``name``; before `connect` and after `fail` they do nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.handle: Any = None  # a weak reference; None until `connect`
        self._questions: dict[str, _Question] = {}
        self._turns: dict[str, trio.Lock] = {}
        self._failure: GtfsError | None = None

    def connect(self, handle: Any) -> None:
        """libtorrent has the torrent now."""
        self.handle = handle

    def call(self, method: str, *arguments: Any) -> None:
        """Call one of the handle's methods that return at once."""
        if self.handle is None or self._failure is not None:
            return
        try:
            getattr(self.handle, method)(*arguments)
        except RuntimeError:
            # "invalid torrent handle": libtorrent dropped it, the alert that says so is on its way.
            pass

    async def ask(self, what: str, method: str, *arguments: Any, within_s: float = ANSWER_S) -> Any:
        """Call a method and return what `answer` is given for ``what``; one such question at a time."""
        turn = self._turns.setdefault(what, trio.Lock())
        try:
            with trio.move_on_after(within_s):
                async with turn:
                    with self.expecting(what, lambda: self.call(method, *arguments)) as question:
                        self.call(method, *arguments)
                        await question.answered.wait()
                    self._check()
                    return question.value
        finally:
            if not turn.statistics().tasks_waiting and not turn.locked():
                self._turns.pop(what, None)
        raise SwarmTimeout(f"{self.name}: libtorrent did not answer ({what}) within {within_s:g} s")

    @contextmanager
    def expecting(self, what: str, ask: Callable[[], None] = lambda: None) -> Iterator[_Question]:
        """Notice the answer for ``what`` as long as the block runs, asked for or not."""
        self._check()
        question = self._questions[what] = _Question(ask)
        try:
            yield question
        finally:
            del self._questions[what]

    def is_asked(self, what: str) -> bool:
        """Whether somebody waits for this answer."""
        return what in self._questions

    def answer(self, what: str, value: Any = None) -> None:
        """Give an answer; nobody may have asked."""
        question = self._questions.get(what)
        if question is not None and not question.answered.is_set():
            question.value = value
            question.answered.set()

    def ask_again(self) -> None:
        """Answers may have been lost: put every open question once more."""
        for question in list(self._questions.values()):
            question.ask()

    def fail(self, reason: GtfsError) -> None:
        """End every question with ``reason``, now and later."""
        if self._failure is None:
            self._failure = reason
            for question in self._questions.values():
                question.answered.set()

    def _check(self) -> None:
        if self._failure is not None:
            raise copy.copy(self._failure)
