# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs trust``: the keys of a repository's own ring; the running node changes it, if there is one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gtfs.cli.ask import ask, by_node_or_here, foretell, place_at
from gtfs.cli.shape import Place, Verbs, takes_dry_run, takes_json
from gtfs.cli.terminal import complain, refusal_text, say, say_json
from gtfs.counted import counted

_SHOWN = 40  # keys, of a keyring that may have a thousand
_FOUND = 1  # exit code of a check that found something, as of gtfs fsck


@click.group(cls=Verbs)
@click.argument("repo", type=Place(path_type=Path))
@click.pass_context
def trust(context: click.Context, repo: Path) -> None:
    """Show and change the keys that may sign in REPO: its own small ring, frozen from the files that you give.

    REPO is a bare repository or a mounted directory. Keys come from files and from your own GnuPG alone, never from a
    key server or a peer. gtfs-trust(7) is the whole story.
    """
    if not context.resilient_parsing:
        context.obj = place_at(repo)


def _ask(place: Path, *, dry_run: bool = False, **request: Any) -> dict[str, Any]:
    if dry_run:
        return foretell(place, {"do": "trust", **request})

    def here() -> dict[str, Any]:
        from gtfs.cli.work.trust import run

        return run(place, request)

    return by_node_or_here(lambda: ask(place, {"do": "trust", **request}), here)


@trust.command()
@click.argument("files", type=Place(path_type=Path), nargs=-1, required=True, metavar="FILE...")
@click.option("--only", metavar="FPR", multiple=True, help="Take this key of the files alone; may be given again.")
@takes_dry_run
@takes_json
@click.pass_obj
def add(place: Path, files: tuple[Path, ...], only: tuple[str, ...], dry_run: bool, as_json: bool) -> int:
    """Freeze the keys in FILE into the ring, beside those that are there.

    FILE is a keyring as distributions ship it, armored or not, a keybox (.kbx), a text with key blocks, or a directory
    of such files. Of a key that is there already, what the copy has more is added: a new subkey, a later expiry, a
    revocation.
    """
    names = [str(file.absolute()) for file in files]
    return _show_added(_ask(place, dry_run=dry_run, verb="add", files=names, keys=list(only)), as_json, dry_run)


def _show_added(found: dict[str, Any], as_json: bool, dry_run: bool = False) -> int:
    if as_json:
        say_json(found)
        return 0
    for left_out in found["left_out"]:
        complain(f"left out: {left_out}")
    news = [key for key in found["taken"] if key["was"] != "here"]
    for key in news[:_SHOWN]:
        say(f"{key['was']:<8} {key['fingerprint']} {', '.join(key['user_ids'][:1])}", indent=9)
    if news[_SHOWN:]:
        say(f"and {len(news) - _SHOWN} more: gtfs trust REPO list")
    if found["first"]:
        say("this is the first keyring here: from now on commits that no catalogue vouches for need a good signature")
    here = len(found["taken"]) - len(news)
    ring = f"the ring {'would have' if dry_run else 'has'} {counted(found['keys'], 'key')}, digest {found['digest']}"
    say(f"{counted(len(news), 'key')} new or changed, {here} as they were; {ring}")
    return 0


@trust.command(name="list")
@takes_json
@click.pass_obj
def list_(place: Path, as_json: bool) -> int:
    """Show each key of the ring: whose it is, until when it counts, and what it may do."""
    found = _ask(place, verb="list")
    if as_json:
        say_json(found)
        return 0
    for key in found["keys"]:
        say(f"{key['fingerprint']}  {_expiry(key)}")
        for text in key["user_ids"]:
            say(f"    {text}", indent=8)
        for text in _rights(key):
            say(f"    - {text}", indent=8)
    _show_missing(found)
    _show_followed(found.get("follows"))
    say(f"{counted(len(found['keys']), 'key')}, digest {found['digest'] or 'none: there is no keyring'}")
    return 0


def _show_followed(follows: dict[str, Any] | None) -> None:
    if not follows:
        return
    say(f"follows {', '.join(follows['paths'])} of {follows['ref']} in {follows['repository']}: {follows['commit']}")
    for left_out in follows["left_out"]:
        complain(f"left out: {left_out}")
    if follows["trouble"]:
        complain(f"the ring stays as it is: {follows['trouble']}")


def _expiry(key: dict[str, Any]) -> str:
    day = datetime.fromtimestamp(key["expires"], UTC).strftime("%Y-%m-%d") if key["expires"] else None
    return (f"until {day}" if day else "does not expire") + (f" ({key['trouble']})" if key["trouble"] else "")


def _rights(key: dict[str, Any]) -> list[str]:
    rights = ["signs the catalogues"] if key["catalogues"] else []
    rights += [f"named by: {line}" for line in key["policies"]]
    return rights + (["signs commits and tags where nobody is named"] if key["anything"] else [])


def _show_missing(found: dict[str, Any]) -> None:
    for key in found["missing"]:
        lines = "; ".join(key["policies"]) or "the catalogue"
        complain(f"{key['fingerprint']} is not in the ring, and is named by: {lines}; gtfs trust REPO add FILE")


@trust.command()
@takes_json
@click.pass_obj
def check(place: Path, as_json: bool) -> int:
    """Say which keys expire within 60 days, have expired, or are revoked.

    Exit code 1 if one of them signs the catalogues or is named by a line of policy, if such a key is not in the ring,
    or if a ring is followed and cannot be.
    """
    found = _ask(place, verb="list")
    trouble = [key for key in found["keys"] if key["trouble"]]
    named = [key for key in trouble if key["named"]]
    follows = found.get("follows")  # not from an older node
    code = _FOUND if named or found["missing"] or (follows and follows["trouble"]) else 0
    if as_json:
        say_json({"digest": found["digest"], "keys": trouble, "missing": found["missing"], "follows": follows})
        return code
    if follows and follows["trouble"]:
        _show_followed(follows)
    for key in sorted(trouble, key=lambda k: (not k["named"], k["expires"] or 0)):
        whose = f" {key['user_ids'][0]}" if key["user_ids"] else ""
        matters = "; ".join(_rights(key)) if key["named"] else "nothing names it"
        say(f"{key['fingerprint']}{whose}: {key['trouble']}; {matters}", indent=4)
    _show_missing(found)
    keys = counted(len(found["keys"]), "key")
    say(f"{len(trouble)} of {keys} soon sign no more, or do not now; {len(named)} of them named")
    return code


@trust.command()
@click.argument("keys", nargs=-1, required=True, metavar="FPR...")
@click.option("--force", is_flag=True, help="Also the last key that signs the catalogues.")
@takes_dry_run
@takes_json
@click.pass_obj
def remove(place: Path, keys: tuple[str, ...], force: bool, dry_run: bool, as_json: bool) -> int:
    """Take keys out of the ring: what they signed counts no more, also what came in before.

    Where a line of policy names one, that is said, and so is which refs are held back from now on: they stay where they
    are.
    """
    found = _ask(place, dry_run=dry_run, verb="remove", keys=list(keys), force=force)
    if as_json:
        say_json(found)
        return 0
    for key in found["removed"]:
        say(
            f"{'would be removed' if dry_run else 'removed'} {key['fingerprint']} {', '.join(key['user_ids'][:1])}",
            indent=8,
        )
        for line in key["policies"]:
            complain(f"note: it is named by the policy {line!r}: what only it signed moves no ref there any more")
    say(f"the ring {'would have' if dry_run else 'has'} {counted(found['keys'], 'key')}, digest {found['digest']}")
    reasons: dict[str, list[str]] = {}
    refs = found.get("refs_held_back", {})  # not from an older node
    for ref, why in refs.items():
        reasons.setdefault(why["text"], []).append(ref)
    for text, names in reasons.items():
        whose = f"{len(names)} refs, {names[0]} first, are" if names[1:] else f"{names[0]} is"
        when = "then" if dry_run else "from now on"
        complain(f"note: {whose} held back {when}: {refusal_text(text, refs[names[0]])}")
    return 0


@trust.command()
@click.argument("keyrings", type=Place(path_type=Path), required=False, metavar="KEYRINGS")
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option("--ref", metavar="REF", help="The ref of KEYRINGS; by default the branch that its HEAD names.")
@click.option("--stop", is_flag=True, help="Follow no ring any more; the keys that are here stay.")
@takes_dry_run
@takes_json
@click.pass_obj
def follow(
    place: Path,
    keyrings: Path | None,
    paths: tuple[str, ...],
    ref: str | None,
    stop: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Keep the ring as a signed repository has it: freeze the keys of its tree, now and whenever its ref moves.

    KEYRINGS is the mirror's repository on this machine, whose own node moves its refs by its own policy; only what
    that node holds counts. PATH is a file in its tree, or a directory with files of keys. What leaves the tree leaves
    the ring; keys that you added stay. A tree that cannot be used changes nothing, and gtfs status says so.
    """
    if stop == bool(keyrings and paths) or (stop and (keyrings or ref or dry_run)):
        raise click.UsageError("give KEYRINGS and PATH..., or --stop alone")
    if stop:
        found = _ask(place, verb="unfollow")
    else:
        assert keyrings is not None
        there = str(place_at(keyrings).absolute())
        found = _ask(place, dry_run=dry_run, verb="follow", repository=there, ref=ref, paths=list(paths))
    if as_json:
        say_json(found)
        return 0
    if stop:
        say(f"{found['repository']} is followed no more; what it brought stays: {counted(found['keys'], 'key')}")
        return 0
    if dry_run:
        say(f"{counted(found['keys'], 'key')} would be in the ring by it, from commit {found['commit']}")
        return 0
    _show_followed(found)
    say(f"{counted(found['keys'], 'key')} in the ring by it" + ("" if found["changed"] else "; the ring is as it was"))
    return 0


@trust.command()
@click.option("--accept", metavar="FPR", multiple=True, help="Freeze this proposed key; may be given again.")
@click.option("--all", "every", is_flag=True, help="Also keys that gpg does not call valid but to which a path leads.")
@click.option("--gnupg-home", type=Place(path_type=Path), metavar="PATH", help="Your GnuPG; gpg's own by default.")
@takes_dry_run
@takes_json
@click.pass_obj
def propose(
    place: Path, accept: tuple[str, ...], every: bool, gnupg_home: Path | None, dry_run: bool, as_json: bool
) -> int:
    """Propose keys by the web of trust that begins at your own key, and freeze those that you accept.

    For each key: what your GnuPG thinks of it, how many disjoint paths of good certifications lead to it, and the
    shortest of them, at most 5 steps long. At a terminal you are asked; elsewhere --accept names what to freeze.
    """
    from gtfs.cli.work.trust import accepted_file, find_proposed

    found = find_proposed(gnupg_home, accept, every)
    wanted = list(accept)
    if as_json:
        say_json([p.describe() for p in found])
    else:
        for p in found:
            count = f"{len(p.paths)} disjoint paths" if len(p.paths) != 1 else "1 path"
            say(f"{p.fingerprint}  {p.validity:<9} {count}  {', '.join(p.user_ids[:1])}", indent=4)
            if p.paths:
                say("    " + " > ".join(p.paths[0]), indent=8)
        if not found:
            say("nobody: no key in your GnuPG is valid by your own; --all shows where paths of certifications lead")
    if not wanted and not as_json:
        wanted = _ask_whom([p.fingerprint for p in found])
    if not wanted:
        return 0
    with accepted_file(gnupg_home, wanted) as file:
        added = _ask(place, dry_run=dry_run, verb="add", files=[str(file)], keys=wanted)
    return _show_added(added, as_json, dry_run) if not as_json else 0


def _ask_whom(proposed: list[str]) -> list[str]:
    import sys

    if not proposed or not sys.stdin.isatty():
        return []
    answer = input("Whom shall this repository trust? Fingerprints, or nothing: ").split()
    unknown = [word for word in answer if word not in proposed]
    if unknown:
        raise click.UsageError(f"{unknown[0]} is not among those proposed; nothing was frozen")
    return answer
