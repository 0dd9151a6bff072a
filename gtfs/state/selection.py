# SPDX-License-Identifier: GPL-3.0-or-later
"""Which refs a publisher publishes, and of all others why not (gtfs(1) under publish). Any thread.

A pattern is a ref's name or the beginning of one up to a slash, as for git's ``transfer.hideRefs``; one with a star is
a pattern as in a policy line.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from gtfs.catalogue.accept import Held
from gtfs.repo.history import OWN_REFS, Block, Ref, read_head_commit, read_refs
from gtfs.repo.reffiles import passed_over
from gtfs.repo.repository import Repository, may_say
from gtfs.state.config import BadConfig, Config
from gtfs.trust.policy import Policy

DEFAULT_REFS: Final = (b"refs/heads", b"refs/tags", b"refs/notes")
NOT_CHOSEN: Final = "no pattern of gtfs.refs has it"


class LeftOut(NamedTuple):
    """A ref that is not published; ``reason`` is the same text for all refs that are left out for one thing."""

    name: bytes
    reason: str


class Selection(NamedTuple):
    """``chosen`` name a commit or tag, or what is lost; ``left_out`` are the others, without the node's own.

    ``broken``: those of the held catalogue that would be chosen and that git cannot read, with the reason: that they
    are not listed is no deletion.
    """

    chosen: list[Ref]
    left_out: list[LeftOut]
    broken: dict[bytes, str]


def select_refs(
    repository: Repository, config: Config, held: Held | None, refs: Sequence[Ref] | None = None
) -> Selection:
    """Of all ``refs`` (None: as they stand) those of a publisher; of a repository that does not publish, all with a
    commit or tag, and the node's own.

    Until ``gtfs.refs`` is set, what the held catalogue lists beside `DEFAULT_REFS` stays chosen: mirrors have it.
    Raises `GitFailed`, `BadConfig`.
    """
    refs = read_refs(repository, _known(held)) if refs is None else refs
    if config.sign_key() is None:
        head = read_head_commit(repository, refs)
        chosen = [ref for ref in refs if ref.kind in (b"commit", b"tag")]
        return Selection(chosen + ([Ref(b"HEAD", head, b"commit")] if head is not None else []), [], {})
    objection = _objections(repository, config, held)
    chosen, left_out = [], []
    for ref in refs:
        name, _, kind = ref
        if name.startswith(OWN_REFS):
            continue
        reason = objection(name)
        if reason is None and kind in (b"tree", b"blob"):
            reason = f"it names a {kind.decode()}"
        if reason is None:
            chosen.append(ref)
        else:
            left_out.append(LeftOut(name, reason))
    gone = () if held is None else held.catalogue.refs.keys() - {ref.name for ref in refs}
    broken = passed_over(repository, [name for name in sorted(gone) if objection(name) is None]) if gone else {}
    return Selection(chosen, left_out, broken)


def _known(held: Held | None) -> list[Block]:
    """The refs that the held catalogue lists, in the lines of its chunks."""
    tree = None if held is None else held.catalogue.tree
    return [] if tree is None else [(tree.data[leaf.chunk.digest], leaf.refs) for leaf in tree.leaves]


def unreached_head(repository: Repository, branch: bytes | None, chosen: Sequence[Ref]) -> LeftOut | None:
    """A detached HEAD (``branch``: what it names) whose commit no chosen ref reaches: no mirror gets it.

    Raises `GitFailed`.
    """
    head = read_head_commit(repository) if branch is None else None
    if head is None:
        return None
    tips = b"".join(b"^%s\n" % oid.hex().encode() for oid in {ref.oid for ref in chosen})
    asked = head.hex().encode() + b"\n" + tips
    if not repository.git("rev-list", "--max-count=1", "--stdin", stdin=asked).strip():
        return None
    return LeftOut(b"HEAD", f"it is detached at {head.hex()}, which no published ref reaches; give it a branch")


def parse_pattern(text: str) -> bytes:
    """A pattern as `select_refs` reads it from the config; raises `BadConfig`."""
    if not text.startswith(("refs/", "**")) or text.count("*") > 8:
        raise BadConfig(
            f"{text} is no pattern of refs: it begins with refs/, as refs/heads/ does, and has 8 stars at most"
        )
    return text.encode("utf-8", "surrogateescape")


def describe_left_out(left_out: Sequence[LeftOut], held: Held | None) -> list[dict[str, Any]]:
    """One entry for each reason and place, the most first; ``dropped`` were in the held catalogue."""
    listed = {} if held is None else held.catalogue.refs
    groups: dict[tuple[bytes, str], list[bytes]] = {}
    for name, reason in left_out:
        groups.setdefault((place_of(name), reason), []).append(name)
    return [
        {
            "below": place.decode("utf-8", "replace"),
            "reason": reason,
            "count": len(names),
            "first": names[0].decode("utf-8", "replace"),
            "dropped": sum(name in listed for name in names),
        }
        for (place, reason), names in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]


def place_of(name: bytes) -> bytes:
    """``refs/pull`` of refs/pull/1/head."""
    return b"/".join(name.split(b"/")[:2])


def places_of(names: Sequence[bytes]) -> set[bytes]:
    """The places of names that are sorted, without a look at each."""
    places = set()
    at = 0
    while at < len(names):
        place = place_of(names[at])
        places.add(place)
        at = bisect_left(names, place + b"0", at + 1) if names[at].startswith(place + b"/") else at + 1  # 0 follows /
    return places


def _objections(repository: Repository, config: Config, held: Held | None) -> Callable[[bytes], str | None]:
    """A function that says what stands against a name."""
    patterns = [parse_pattern(text) for text in config.get_all("refs")]
    if not patterns:
        listed = () if held is None else places_of(list(held.catalogue.refs))
        patterns = list(dict.fromkeys([*DEFAULT_REFS, *sorted(listed)]))
    chosen = _Patterns(patterns)
    hidden = [(pattern, _Patterns([pattern])) for text in config.get_all("hide") for pattern in [parse_pattern(text)]]
    git_hides = [(key, pattern, shows, _Patterns([pattern])) for key, pattern, shows in _git_hides(repository)]

    def objection(name: bytes) -> str | None:
        if not chosen.have(name):
            return NOT_CHOSEN
        for pattern, having in hidden:
            if having.have(name):
                return f"hidden by gtfs.hide={pattern.decode('utf-8', 'replace')}"
        for key, pattern, shows, having in reversed(git_hides):  # the last that has it decides
            if having.have(name):
                return None if shows else f"hidden by {key}={pattern.decode('utf-8', 'replace')}"
        return None

    return objection


def _git_hides(repository: Repository) -> list[tuple[str, bytes, bool]]:
    """What git-upload-pack hides: the key, the pattern, and whether it shows again what one before it hid."""
    if not may_say(repository, b"hiderefs"):
        return []
    out = repository.git("config", "--get-regexp", "-z", r"^(transfer|uploadpack)\.hiderefs$", check=False)
    found = []
    for item in out.split(b"\0"):
        key, _, pattern = item.partition(b"\n")
        if pattern:
            shows = pattern.startswith(b"!")
            found.append((key.decode(), pattern.removeprefix(b"!").removeprefix(b"^").rstrip(b"/"), shows))
    return found


class _Patterns:
    """Asked of each of perhaps a million names."""

    def __init__(self, patterns: Sequence[bytes]) -> None:
        plain = [pattern.rstrip(b"/") for pattern in patterns if b"*" not in pattern]
        self._names = frozenset(plain)
        self._places = tuple(name + b"/" for name in plain)
        self._starred = [Policy(pattern, "catalogue") for pattern in patterns if b"*" in pattern]

    def have(self, name: bytes) -> bool:
        return name.startswith(self._places) or name in self._names or any(p.matches(name) for p in self._starred)
