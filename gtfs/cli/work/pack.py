# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs pack``: commit packs of any bare repository, without a node."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click

from gtfs.cli.ask import repository_of_mount
from gtfs.cli.terminal import INTERRUPTED, bar, complain, say_json, size_text, stop_on_interrupt
from gtfs.errors import Blame
from gtfs.ids import ObjectId, pack_name
from gtfs.pack.encode import Encoder
from gtfs.pack.trees import Unencodable
from gtfs.repo.catfile import CatFile
from gtfs.repo.encoding import Run, encode_many
from gtfs.repo.history import history
from gtfs.repo.repository import BadRepository, GitFailed, Repository, open_repository
from gtfs.repo.work import Work
from gtfs.state.config import Config


def run(
    repo: Path, oid: str | None, every: bool, output: Path | None, jobs: int | None, *, as_json: bool = False
) -> int:
    """Write one pack, or all."""
    repository = open_repository(repository_of_mount(repo) or repo)
    if every == (oid is not None):
        raise click.UsageError("give either OID or --all")
    if every:
        if output is None:
            raise click.UsageError("--all needs -o DIR")
        return _write_all(repository, output, jobs, as_json)
    assert oid is not None
    name = _find(repository, oid)
    if output is None and sys.stdout.isatty():
        raise click.UsageError("a pack is binary: redirect it, or give -o FILE")
    if output is None and as_json:
        raise click.UsageError("--json needs -o: without, standard output is for the pack")
    with CatFile(repository) as reader:
        encoder = Encoder(reader, repository.fmt, Config(repository).limits())
        try:
            if output is None:
                # A pack that cannot be made must not leave half of itself in the pipe.
                with tempfile.TemporaryFile() as made:
                    encoder.encode(name, made.write)
                    made.seek(0)
                    shutil.copyfileobj(made, sys.stdout.buffer)
            else:
                with _whole_file(output) as made:
                    encoder.encode(name, made.write)
        except Unencodable as e:
            cut = " (shallow or partial clone)" if repository.is_shallow() or repository.is_partial() else ""
            raise BadRepository(f"the pack of {name.hex()} cannot be made: {e}{cut}") from None
    if as_json and output is not None:
        say_json({"output": str(output), "packs": 1, "bytes": output.stat().st_size, "unmade": {}})
    return 0


def _find(repository: Repository, name: str) -> ObjectId:
    try:
        out = repository.git("rev-parse", "--verify", "--quiet", "--end-of-options", name)
    except GitFailed:
        raise BadRepository(f"{repository.path} has no object called {name}") from None
    return ObjectId(bytes.fromhex(out.strip().decode()))


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name only when everything is in it."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_all(repository: Repository, directory: Path, jobs: int | None, as_json: bool) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    limits = Config(repository).limits()
    oids = [oid for oid in history(repository) if not (directory / pack_name(oid)).exists()]
    done = size = 0
    unmade: dict[str, str] = {}
    # Spools lie beside the packs, so that the repository may be somebody else's and read-only.
    with (
        tempfile.TemporaryDirectory(dir=directory, prefix=".gtfs-") as spools,
        bar("encoding") as show,
        stop_on_interrupt() as stop,
    ):
        for run in encode_many(repository, oids, Path(spools), limits, Work(jobs, stop)):
            size += _split(run, directory)
            done += len(run.made)
            for item in run.unmade:
                unmade[item.oid.hex()] = item.reason
                complain(f"{item.oid.hex()}: {item.reason}")
            show(done + len(unmade), len(oids), size_text(size))
        if stop():
            complain(f"interrupted after {done} packs; run it again for the rest")
            return INTERRUPTED
    if as_json:
        say_json({"output": str(directory), "packs": done, "bytes": size, "unmade": unmade})
        return Blame.SOURCE.exit_code if unmade else 0
    click.echo(f"{done} commit packs, {size} bytes, in {directory}", err=True)
    return Blame.SOURCE.exit_code if unmade else 0


def _split(run: Run, directory: Path) -> int:
    size = 0
    with run.spool.open("rb") as spool:
        for stamp, offset in run.made:
            spool.seek(offset)
            with _whole_file(directory / pack_name(stamp.oid)) as out:
                left = stamp.length
                while left:
                    piece = spool.read(min(left, 1 << 20))
                    out.write(piece)
                    left -= len(piece)
            size += stamp.length
    run.spool.unlink()
    return size
