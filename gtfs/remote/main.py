# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry of ``git-remote-gtfs``: what must be so before anything else is imported, then `helper`."""

from __future__ import annotations

import sys

from gtfs.cli.main import end_at_once_when_interrupted, open_standard_files


def main() -> None:
    """The console script; git runs it with the name of a remote and an address."""
    end_at_once_when_interrupted(at_once=True)
    open_standard_files()
    from gtfs.remote.helper import run

    end_at_once_when_interrupted(at_once=False)
    code = run(sys.argv)
    end_at_once_when_interrupted(at_once=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
