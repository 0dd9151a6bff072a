# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs seed``: nodes without a mount in one process with one port, and what they are told while they run."""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any

import click

from gtfs.cli.loading import loading
from gtfs.cli.shape import Command, Place, looks_like_source, takes_options, write_exit_status
from gtfs.cli.terminal import complain, say
from gtfs.daemon.asking import ask_daemon, places_to_ask
from gtfs.daemon.places import Places, find_places

_JSON = click.option("--json", "as_json", is_flag=True, help="Say it as JSON; gtfs(1) describes it.")
_RUN = "run"  # what is meant where no command is named


class _Seed(click.Group):
    """``gtfs seed REPO...`` and ``gtfs seed`` run repositories; its commands speak to the daemon that does."""

    command_class = Command
    default_command = _RUN

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, with the command that is not typed."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            word = args[0] if args else ""
            near = [name for name in difflib.get_close_matches(word, self.commands, 1) if name != _RUN]
            if near and not looks_like_source(word):
                raise click.UsageError(f"there is no {word} to seed; did you mean gtfs seed {near[0]}?", ctx)
            args = [_RUN, *args]
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Every way to say it."""
        formatter.write_usage(ctx.command_path, "[-o OPT,OPT=VALUE,...] REPO...")
        formatter.write_usage(ctx.command_path, "[--config FILE] [-o OPT,OPT=VALUE,...]")
        formatter.write_usage(ctx.command_path, "add SOURCE | list | remove NAME")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Those of the command that is not typed, and the others."""
        run = self.commands[_RUN]
        with formatter.section("Options"):
            formatter.write_dl([record for p in run.get_params(ctx) if (record := p.get_help_record(ctx)) is not None])
        self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The words of -o, and the exit codes."""
        from gtfs.cli.nodeoptions import option_rows

        with formatter.section("Words of -o, see mount.fuse.gtfs(8)"):
            formatter.write_dl(option_rows(), col_max=24)
        write_exit_status(formatter)


@click.group(cls=_Seed, short_help="Seed and follow repositories, without a mount.")
def seed() -> None:
    """Seed each REPO, and follow its feeds, from one process and one port until Ctrl-C or SIGTERM.

    REPO is the bare repository of a publisher or mirror, or any other SOURCE.
    Without one, the repositories are those of gtfs.conf(5) and those that were added.
    """


def takes_config(command: Any) -> Any:
    """The decorator that gives a command its ``--config``."""
    return click.option(
        "--config", type=Place(path_type=Path), help="Instead of the user's, or for root the system's, gtfs.conf."
    )(command)


@seed.command(_RUN, hidden=True)
@click.argument("repos", metavar="[REPO...]", nargs=-1, type=Place())
@takes_config
@takes_options
def run(repos: tuple[str, ...], config: Path | None, options: tuple[str, ...]) -> int:
    """Seed each REPO, without one what gtfs.conf(5) says."""
    with loading():
        from gtfs.cli.work.seed import run_configured, run_named

    if repos and config is not None:
        raise click.UsageError("--config is for gtfs seed without REPO")
    if repos:
        return run_named(repos, options)
    return run_configured(_places(config), options, is_needed=config is not None)


@seed.command()
@click.argument("source", type=Place())
@click.option("--name", help="What to call it (default: from SOURCE).")
@_JSON
@takes_options
def add(source: str, name: str | None, as_json: bool, options: tuple[str, ...]) -> int:
    """Have the running daemon seed SOURCE too, from now on and after each start.

    SOURCE is a repository on this machine, or what a mirror shall be made of.
    """
    if os.path.lexists(source):
        source = os.path.abspath(source)  # noqa: PTH100  a link stays one
    done = _ask({"do": "add", "source": source, "name": name, "options": list(options)})
    if as_json:
        _echo(done)
    elif done["trouble"] is None:
        say(f"{done['name']} is seeded from {done['directory']}")
    else:
        complain(f"{done['name']} was added, and is tried again: {done['trouble']}")
    return 0


@seed.command()
@click.argument("name")
@_JSON
def remove(name: str, as_json: bool) -> int:
    """End seeding what was added as NAME; its repository stays on disk."""
    done = _ask({"do": "remove", "name": name})
    if as_json:
        _echo(done)
        return 0
    say(f"{name} is not seeded any more; {done['directory']} stays as it is")
    return 0


@seed.command("list")
@_JSON
def list_(as_json: bool) -> int:
    """Show the repositories of the running daemon, and what hinders one of them."""
    done = _ask({"do": "list"})
    if as_json:
        _echo(done)
        return 0
    for item in done["repositories"]:
        say(
            f"{item['stage']:<8} {item['name']}  {item['directory']}"
            + (f": {item['trouble']}" if item["trouble"] else "")
        )
    for item in done["collections"]:
        what = "publishes" if item.get("kind") == "published" else "follows "
        say(f"{what} {item['name']}  {item['source']}" + (f": {item['trouble']}" if item["trouble"] else ""))
    for trouble in done["troubles"]:
        complain(trouble)
    return 0


def _places(config: Path | None) -> Places:
    return find_places(os.environ, is_root=os.geteuid() == 0, config=config)


def _echo(done: dict[str, Any]) -> None:
    click.echo(json.dumps(done, indent=2, sort_keys=True))


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    return ask_daemon(places_to_ask(os.environ, is_root=os.geteuid() == 0), request)
