# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry of ``git-remote-gtfs``: what must be so before anything else is imported, then `helper`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gtfs.cli.main import run_program


def _helper() -> Callable[[Sequence[str]], int]:
    from gtfs.remote.helper import run

    return run


def main() -> None:
    """The console script; git runs it with the name of a remote and an address."""
    run_program(_helper)


if __name__ == "__main__":
    main()
