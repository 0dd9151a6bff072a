# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs publish``: encode, seal and sign what the refs say now; by the running node if there is one.

The signature is always made here, where the user's agent and terminal are.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from gtfs.cli.ask import ask, by_node_or_here, place_at
from gtfs.cli.loading import loading
from gtfs.cli.shape import Command, Place, takes_json
from gtfs.cli.terminal import INTERRUPTED, bar, complain, note_faults, say, say_json, size_text
from gtfs.counted import counted
from gtfs.durable import replace_file
from gtfs.errors import Blame
from gtfs.feed import CHUNKS
from gtfs.state.control import NodeFailed

BEFORE_SUFFIX = ".before"  # after the name of a proposal: the catalogue that it follows
_NAMES_CHUNKS = b"\nFormat: gtfs-catalogue-2\n"  # in the signed text
_NAMED = 20  # refs in one line, or lines of refs
_PRUNE_GIT = "git reflog expire --expire-unreachable=now --all && git gc --prune=now"


@click.command(cls=Command)
@click.argument("repo", type=Place(path_type=Path))
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Sign a new catalogue though nothing has changed.")
@click.option("--prune", is_flag=True, help="Withdraw what no published ref reaches: mirrors let go of it, too.")
@click.option("--jobs", type=click.IntRange(1, 1024), help="Processes that encode (default: one for each core).")
@click.option("-v", "--verbose", is_flag=True, help="Name all reels, and the SOURCE strings that others can use.")
@click.option("--dry-run", is_flag=True, help="Tell what would be published, and do nothing.")
@click.option("--pushed", is_flag=True, help="For hooks: publish only as init --publish says, and never fail.")
@click.option("--propose", is_flag=True, help="Write the next catalogue's text to FILE, for gtfs sign, and stop there.")
@click.option("--complete", is_flag=True, help="Publish what was proposed, with the signatures in each FILE.")
@click.option(
    "--feed-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Then write all that mirrors need into DIR, for a web server (init --feed-dir: always).",
)
@takes_json
def publish(
    repo: Path,
    files: tuple[Path, ...],
    force: bool,
    prune: bool,
    jobs: int | None,
    verbose: bool,
    dry_run: bool,
    pushed: bool,
    propose: bool,
    complete: bool,
    feed_dir: Path | None,
    as_json: bool,
) -> int:
    """Publish what the refs of REPO say now, signed by the GnuPG of whoever types this.

    An attester's REPO publishes instead what it verified of the catalogue that it follows.
    A running node of REPO does the work, and seeds the new reels at once. By itself it publishes
    only as gtfs init --publish says.
    """
    if pushed and (force or prune or dry_run or as_json):
        raise click.UsageError("beside --pushed there may be no --force, --prune, --dry-run or --json")
    if feed_dir is not None and (pushed or dry_run or propose):
        raise click.UsageError("beside --feed-dir there may be neither --pushed nor --dry-run nor --propose")
    _check_files(files, propose, complete, force or prune or dry_run or pushed)
    if pushed:
        from gtfs.cli.work.publish import run_pushed

        run_pushed(repo, jobs)
        return 0
    place = place_at(repo)
    if dry_run:
        found = _foretell(place, prune)
        say_json(found) if as_json else _show_foretold(found, verbose)
        return 0

    def by_node() -> tuple[dict[str, Any] | None, bool] | None:
        done = _complete_by_node(place, files) if complete else publish_by_node(place, force, jobs, propose, prune)
        return None if done is None else (done, True)

    def here() -> tuple[dict[str, Any] | None, bool]:
        with loading():
            from gtfs.cli.work.publish import run, run_complete

        with bar("encoding") as show:
            show(0, 0, "")
            if complete:
                return run_complete(place, files), False
            return run(place, force, jobs, lambda p: _tell(show, p), to_propose=propose, prune=prune), False

    done, has_node = by_node_or_here(by_node, here)
    if done is None:
        complain("interrupted; what was encoded is kept, and gtfs publish goes on from there")
        return INTERRUPTED
    if feed_dir is not None:
        from gtfs.cli.work.publish import write_feed_at

        write_feed_at(place, feed_dir)
    if as_json:
        return _tell_json(done, place, files, propose)
    if "refs" in done:  # an attester's
        new = "" if done["new"] else " (nothing had changed)"
        say(f"attested {counted(done['refs'], 'ref')} of version {done['version']} of {done['repository']}{new}")
        for source in done["sources"]:
            say(f"attester {source}")
        return 0
    if propose:
        _write(done, files[0] if files else None, repo, verbose)
        return Blame.SOURCE.exit_code if done["refs_held_back"] else 0
    _show(done, verbose)
    if done.get("announcements"):  # not from an older node
        from gtfs.cli.work.announce import run_announce

        run_announce(place)
    if not has_node:
        say(f"note: no node of {repo} runs, so nothing of it is seeded from here: gtfs seed {repo}, or gtfs mount")
    return Blame.SOURCE.exit_code if done["refs_held_back"] else 0


def _tell_json(done: dict[str, Any], place: Path, files: tuple[Path, ...], propose: bool) -> int:
    """The same as JSON; what else came of it is on stderr."""
    if done.get("proposal") is not None:
        done["proposal"]["file"] = str(_place_proposal(done["proposal"], files[0] if files else None))
    say_json(done)
    if done.get("announcements") and not propose:
        from gtfs.cli.work.announce import run_announce

        run_announce(place, complain)
    return Blame.SOURCE.exit_code if done.get("refs_held_back") else 0


def _tell(show: Any, p: dict[str, Any]) -> None:
    if "phase" in p:
        show(0, 0, "", p["phase"])
    else:
        show(p["packs"], p["of"], f"{p['packs']} of {p['of']} packs, {size_text(p['bytes'])}")


def _check_files(files: tuple[Path, ...], propose: bool, complete: bool, has_others: bool) -> None:
    if complete and (propose or has_others):
        raise click.UsageError("beside --complete there may only be files")
    if len(files) > propose and not complete:
        raise click.UsageError("there may be one FILE with --propose, and more with --complete only")
    if complete and not files:
        raise click.UsageError("--complete needs the files that gtfs sign made")
    lacking = [file for file in files if complete and not file.exists()]
    if lacking:
        raise click.UsageError(f"{lacking[0]} does not exist: gtfs sign makes such files, where each key is")


def _complete_by_node(place: Path, files: tuple[Path, ...]) -> dict[str, Any] | None:
    done = ask(place, {"do": "complete", "files": [str(file.absolute()) for file in files]})
    return None if done is None else done["published"]


def _write(done: dict[str, Any], file: Path | None, repo: Path, verbose: bool) -> None:
    """Put the proposal where it was wanted, and beside it what it follows, for signers to see what changes."""
    proposal = done["proposal"]
    if proposal is None:
        _show(done, verbose)
        return
    path = _place_proposal(proposal, file)
    if proposal["replaced"]:
        complain("another proposal waited for signatures, and this one takes its place: those over it count no more")
    _show(done, verbose, "proposed " if proposal["new"] else "proposed before, so that signatures over it count: ")
    # Two where who signs changes: those who sign now, and those whom this catalogue names.
    who = (", who may sign now", ", who may sign the next one") if proposal["needs"][1:] else ("",)
    for role, words in zip(proposal["needs"], who, strict=True):
        say(f"needs {role}{words}")
    say(f"file {path}")
    say(f"next: gtfs sign {path}, where each key is; then gtfs publish --complete {repo} {path}.*.asc")


def _place_proposal(proposal: dict[str, Any], file: Path | None) -> Path:
    """Put the text into ``file``, and beside it what it follows; gives where."""
    path = Path(proposal["name"]) if file is None else file
    replace_file(path, Path(proposal["file"]).read_bytes(), 0o644)
    if proposal["before"] is not None:
        before = Path(proposal["before"])
        document = before.read_bytes()
        replace_file(path.with_name(path.name + BEFORE_SUFFIX), document, 0o644)
        if _NAMES_CHUNKS in document:
            there = path.parent / CHUNKS
            shutil.copytree(before.with_name(CHUNKS), there, copy_function=shutil.copyfile, dirs_exist_ok=True)
    return path


def publish_by_node(
    place: Path, force: bool, jobs: int | None, propose: bool, prune: bool = False
) -> dict[str, Any] | None:
    """What the running node published, None if none runs: it draws, we sign, it places what holds."""
    while True:
        with bar("encoding") as show:
            asked: dict[str, object] = {"do": "draft", "force": force, "jobs": jobs}
            asked |= {name: True for name, wanted in (("propose", propose), ("prune", prune)) if wanted}
            drawn = ask(place, asked, lambda p: _tell(show, p), lambda: show(0, 0, ""))
        if drawn is None or "published" in drawn:
            return None if drawn is None else drawn["published"]
        from gtfs.cli.work.drawn import sign_drawn

        # The progress bar is gone: the agent may want the terminal for itself.
        placed = ask(place, {"do": "place", "draft": drawn["draft"], "document": sign_drawn(drawn)})
        if placed is None:
            raise NodeFailed("the node ended before it published; publish again", Blame.OTHER.exit_code)
        if placed["published"] is not None:
            done: dict[str, Any] = placed["published"]
            return done


def _foretell(place: Path, prune: bool) -> dict[str, Any]:
    def here() -> dict[str, Any]:
        from gtfs.cli.work.publish import run_foretell

        return run_foretell(place, prune=prune)

    return by_node_or_here(lambda: ask(place, {"do": "foretell", "prune": prune}), here)


def _show_foretold(found: dict[str, Any], verbose: bool) -> None:
    refs = found["refs"]
    if not refs:
        say(f"nothing would be published: no published ref has moved since version {found['version'] - 1}")
    else:
        packs = counted(found["new_packs"], "new pack")
        say(f"version {found['version']} would have {packs}, {counted(len(refs), 'ref')} moved, by {found['signer']}")
    for ref in refs if verbose else refs[:_NAMED]:
        if ref["to"] is None:
            say(f"gone {ref['ref']} {ref['from'][:12]}")
        elif ref["from"] is None:
            say(f"new {ref['ref']} {ref['to'][:12]}")
        else:
            back = " (goes back: mirrors hold it back)" if ref["back"] else ""
            say(f"move {ref['ref']} {ref['from'][:12]}..{ref['to'][:12]}{back}")
    if len(refs) > _NAMED and not verbose:
        say(f"and {len(refs) - _NAMED} more: -v shows all")
    if found.get("withdrawn"):
        say(_withdrawn(found["withdrawn"]))
        _note_kept(found["withdrawn"])
    for announced in found.get("announcements", ()):  # not from an older node
        say(f"announce {announced['tag']}: {announced['subject']}")
    for left in found["refs_left_out"]:
        complain(_left_out(left))


def _withdrawn(found: dict[str, Any]) -> str:
    if not found["packs"]:
        return "nothing would be withdrawn: published refs reach all that is listed"
    new, size = counted(found["new_reels"], "reel"), size_text(found["new_reel_bytes"])
    packs, reels = counted(found["packs"], "pack"), counted(found["reels"], "reel")
    made = f"mirrors make {new} of {size} from what they have"
    tables = f"fetch at most {size_text(found['table_bytes'])} of tables for it"
    return f"withdraw {packs}, {size_text(found['bytes'])}, of {reels}; {made}, and {tables}"


def _note_kept(found: dict[str, Any]) -> None:
    names = found.get("kept_refs") or []  # not from an older node
    if names:
        more = f" and {len(names) - 1} more" if names[1:] else ""
        complain(
            f"mirrors keep what {names[0]}{more} had, as no policy line says non-fast-forward there: "
            "gtfs init --policy, then publish once more"
        )


def _show(done: dict[str, Any], verbose: bool, how: str = "") -> None:
    what = "nothing had changed"
    if done["new"]:
        moved = counted(done["refs_moved"], "ref") + " moved" if done["refs_moved"] else "signed anew"
        what = f"{counted(done['new_packs'], 'new pack')}, {size_text(done['new_bytes'])}; {moved}"
    say(f"{how}version {done['version']}" + (f": {what}" if done["new"] else f" ({what})"))
    if done.get("withdrawn"):
        say(f"withdrawn {counted(done['withdrawn'], 'pack')}; their objects in git: {_PRUNE_GIT}")
        _note_kept(done)
    if verbose:
        total = size_text(sum(reel["size"] for reel in done["reels"]))
        say(f"{counted(done['packs'], 'commit pack')} in {counted(len(done['reels']), 'reel')}, {total}")
        for reel in done["reels"]:
            say(f"reel {reel['name']} infohash {reel['infohash']} {reel['size']} bytes {reel['packs']} packs")
        for source in done["sources"]:
            say(f"source {source}")
    note_faults(done["faults"])
    for left in done["refs_left_out"]:
        complain(_left_out(left))
    for line in held_back_lines(done["refs_held_back"]):
        complain(line)


def held_back_lines(refs: dict[str, str]) -> list[str]:
    """One line for each reason why refs were not published."""
    held_back: dict[str, list[str]] = {}
    for name, reason in refs.items():
        held_back.setdefault(reason, []).append(name)
    lines = []
    for reason, names in held_back.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        lines.append(f"not published: {', '.join(names[:_NAMED])}{more}: {reason}")
    return lines


def _left_out(left: dict[str, Any]) -> str:
    what = (
        left["first"] if left["count"] == 1 else f"{left['count']} refs below {left['below']}/, {left['first']} first"
    )
    dropped = f"; mirrors will DROP {left['dropped']} that the catalogue had so far" if left["dropped"] else ""
    return f"left out: {what}: {left['reason']}{dropped}"
