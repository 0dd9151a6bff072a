# SPDX-License-Identifier: GPL-3.0-or-later
"""How commands are found, what their --help shows, and completion of ``-o``: click's classes with what gtfs adds."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

EXIT_STATUS = {
    0: "it was done",
    1: "it failed, or gtfs fsck or gtfs trust check found something",
    2: "the command line or a setting is wrong",
    3: "the SOURCE or the repository cannot be used",
    4: "refused: a signature, a pack or a catalogue does not hold",
    5: "the network: no peer, no feed, too late",
    6: "busy: another process has the repository",
    7: "the system: disk, permission, FUSE",
    130: "interrupted",
}


def write_exit_status(formatter: click.HelpFormatter) -> None:
    """All exit codes and what they mean."""
    with formatter.section("Exit status"):
        formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_STATUS.items()])


class Command(click.Command):
    """A command; its help ends with the words of ``-o``, if it has any, and the exit codes."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Both lists, which wrap to the terminal."""
        if any(p.name == "options" for p in self.params):
            from gtfs.cli.nodeoptions import option_rows

            with formatter.section("Words of -o, see mount.fuse.gtfs(8)"):
                formatter.write_dl(option_rows(), col_max=24)
        write_exit_status(formatter)


class Group(click.Group):
    """gtfs itself. ``SOURCE DIRECTORY -o OPTIONS`` without a command is what mount(8) runs, and means mount."""

    command_class = Command

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The exit codes."""
        write_exit_status(formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant; for none, what it may have been."""
        word = args[0]
        if word in self.commands:
            return super().resolve_command(ctx, args)
        if len(args) > 1 and looks_like_source(word):
            return "mount", self.commands["mount"], args
        near = difflib.get_close_matches(word, self.commands, 1)
        hint = f"did you mean gtfs {near[0]}?" if near else f"the commands are {', '.join(self.commands)}."
        raise click.UsageError(f"{word!r} is neither a command nor a SOURCE to mount; {hint}", ctx)


class Place(click.Path):
    """A path; the empty word, which means the current directory to Python, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click does."""
        if value == "":
            self.fail("a path cannot be empty", param, ctx)
        return super().convert(value, param, ctx)


def looks_like_source(text: str) -> bool:
    """Whether a word can only be a SOURCE or a path, found or not."""
    return ":" in text or "/" in text or Path(text).exists()


class OptionsParameter(click.Option):
    """``-o``; completes the word after the last comma."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Options that begin so, as they are typed."""
        from click.shell_completion import CompletionItem

        from gtfs.cli.nodeoptions import option_rows

        before, comma, word = incomplete.rpartition(",")
        typed = (re.sub(r"=.*", "=", row) for row, _ in option_rows())
        return [CompletionItem(before + comma + name) for name in typed if name.startswith(word)]


def takes_options(command: Any) -> Any:
    """The decorator that gives a command its ``-o``."""
    return click.option(
        "-o", "options", cls=OptionsParameter, multiple=True, metavar="OPT,OPT=VALUE,...",
        help="Options, see below and mount.fuse.gtfs(8).",
    )(command)  # fmt: skip
