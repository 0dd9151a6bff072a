# SPDX-License-Identifier: GPL-3.0-or-later
"""How commands are found, what their --help shows, and whose repository they mean: click's classes, and more."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click

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

REPOSITORY = "GTFS_REPO"  # of the environment: the REPO, TARGET or SOURCE of a command that is given none
_REPOSITORIES = ("repo", "target", "targets", "source")
_WHOLE = 1000  # characters: a summary is never cut


def write_exit_status(formatter: click.HelpFormatter) -> None:
    """All exit codes and what they mean."""
    with formatter.section("Exit status"):
        formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_STATUS.items()])


class Command(click.Command):
    """A command; its help ends with the words of ``-o``, if it has any, and the exit codes.

    Given fewer words than it needs, or none, its repository is that of the environment.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does."""
        arguments = [p for p in self.params if isinstance(p, click.Argument)]
        here = os.environ.get(REPOSITORY)
        if here and arguments and arguments[0].name in _REPOSITORIES and not ctx.resilient_parsing:
            needed = sum(p.required for p in arguments)
            if len(self._words(ctx, args)) < max(1, needed):
                args = [here, *args]
        return super().parse_args(ctx, args)

    def _words(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Those of ``args`` that are no options."""
        parser = type(self.make_parser(ctx))(ctx)
        for param in self.get_params(ctx):
            if isinstance(param, click.Option):
                param.add_to_parser(parser, ctx)
        return parser.parse_args(list(args))[1]

    def get_short_help_str(self, limit: int = _WHOLE) -> str:
        """The first sentence, whole."""
        return super().get_short_help_str(_WHOLE)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Both lists, which wrap to the terminal."""
        if any(p.name == "options" for p in self.params):
            from gtfs.cli.nodeoptions import option_rows

            with formatter.section("Words of -o, see mount.fuse.gtfs(8)"):
                formatter.write_dl(option_rows(), col_max=24)
        write_exit_status(formatter)


class Verbs(click.Group):
    """Commands about one thing, which may be a REPO that is said once, before them."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; where the REPO belongs and a verb stands, the repository is that of the environment."""
        here = os.environ.get(REPOSITORY)
        arguments = [p for p in self.params if isinstance(p, click.Argument)]
        if here and arguments and args and args[0] in self.commands and not ctx.resilient_parsing:
            args = [here, *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that is meant; for none, what it may have been."""
        if args[0] not in self.commands:
            hint = meant(args[0], self.commands, ctx.command_path.partition(" ")[2])
            raise click.UsageError(f"{args[0]!r} is no command of {ctx.command_path}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def get_short_help_str(self, limit: int = _WHOLE) -> str:
        """The first sentence, whole."""
        return super().get_short_help_str(_WHOLE)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The exit codes."""
        write_exit_status(formatter)


def meant(word: str, known: Mapping[str, object], above: str = "") -> str:
    """What somebody may have meant who wrote ``word``, or all there is."""
    near = difflib.get_close_matches(word, known, 1)
    return (
        f"did you mean gtfs {above}{' ' * bool(above)}{near[0]}?" if near else f"the commands are {', '.join(known)}."
    )


class CommandsByName(MutableMapping[str, click.Command]):
    """Commands by name; each is imported when it is asked for, as that of this name in its module of ``gtfs.cli``."""

    def __init__(self, names: Iterable[str]) -> None:
        self._commands: dict[str, click.Command | None] = dict.fromkeys(names)

    def __getitem__(self, name: str) -> click.Command:
        command = self._commands[name]
        if command is None:
            command = getattr(import_module(f"gtfs.cli.{name}"), name)
            self[name] = command
        return command

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._commands[name] = command

    def __delitem__(self, name: str) -> None:
        del self._commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)


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
        hint = meant(word, self.commands)
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


def takes_json(command: Any) -> Any:
    """The decorator that gives a command its ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Say it as JSON; gtfs(1) describes it.")(command)


def takes_dry_run(command: Any) -> Any:
    """The decorator that gives a command its ``--dry-run``."""
    return click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")(command)


def takes_options(command: Any) -> Any:
    """The decorator that gives a command its ``-o``."""
    return click.option(
        "-o", "options", multiple=True, metavar="OPT,OPT=VALUE,...",
        help="Options, see below and mount.fuse.gtfs(8).",
    )(command)  # fmt: skip
