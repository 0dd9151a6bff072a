# SPDX-License-Identifier: GPL-3.0-or-later
"""The bar that `terminal.bar` shows at a terminal. Main thread."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

from gtfs.cli.terminal import Show

_ROOMY = 72  # columns: with fewer a bar leaves no room for words


@contextlib.contextmanager
def draw(what: str) -> Iterator[Show]:
    """A bar that is there until the end, with this word before it."""
    console = Console(stderr=True)
    cut = Column(no_wrap=True, overflow="ellipsis")
    columns: list[ProgressColumn] = [TextColumn("{task.description}"), TaskProgressColumn()]
    columns.append(TextColumn("{task.fields[words]}", table_column=cut))
    if console.width >= _ROOMY:
        columns.insert(1, BarColumn())
        columns.append(TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=False, disable=not console.is_terminal
    ) as progress:
        tasks = {what: progress.add_task(what, total=None, words="")}

        def show(done: float, total: float, words: str, now: str = what) -> None:
            if now not in tasks:  # a task that had a total would keep it
                progress.remove_task(tasks.popitem()[1])
                tasks[now] = progress.add_task(now, total=None, words="")
            progress.update(tasks[now], completed=done, total=total or None, words=words)

        yield show
