# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of mirrors as the list that they are followed by changes: the guard of design.md §5. Any thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from gtfs.collection.document import Signing
from gtfs.collection.wanted import check_name, place_of
from gtfs.ids import parse_fingerprint

ABSENT_S: Final = 30 * 24 * 3600  # before a mirror goes
AT_ONCE: Final = 10  # absent ones of which nobody has to be asked,
PERCENT: Final = 5  # or so many of all, if that is more; but never more than half
COMPARED: Final = 1 << 20  # lines of one id, old with new: a thousand of a thousand forks
SUFFIX: Final = ".git"


@dataclass(frozen=True)
class ListedRepository:
    """A repository as a list has it; a list that nobody signed has neither id, nor keys, nor a reel."""

    name: str
    feeds: tuple[str, ...]
    repository: str | None = None
    signing: Signing | None = None
    reel: str | None = None


@dataclass(frozen=True)
class Mirror:
    """One that is followed: as it was listed last, and ``absent_s`` since when it is listed no more."""

    listed: ListedRepository
    directory: Path
    absent_s: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        listed = self.listed
        return {
            "name": listed.name,
            "feeds": list(listed.feeds),
            "repository": listed.repository,
            "keys": None if listed.signing is None else list(listed.signing.keys),
            "threshold": None if listed.signing is None else listed.signing.threshold,
            "reel": listed.reel,
            "directory": str(self.directory),
            "absent_since": self.absent_s,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Mirror:
        """Raises ValueError, KeyError, TypeError, or a `GtfsError` for what `to_json` did not make."""
        keys = found["keys"]
        signing = None if keys is None else Signing(tuple(map(parse_fingerprint, keys)), int(found["threshold"]))
        listed = ListedRepository(
            check_name(found["name"]), tuple(found["feeds"]), found["repository"], signing, found["reel"]
        )
        absent_s = found["absent_since"]
        return cls(listed, Path(found["directory"]), None if absent_s is None else int(absent_s))


@dataclass
class Change:
    """What a list made of the mirrors before."""

    mirrors: dict[str, Mirror]
    added: list[str] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)  # names that are listed, and why they are not followed


def follow_list(
    before: Mapping[str, Mirror],
    listed: Iterable[ListedRepository],
    mirrors: Path,
    now_s: int,
    taken: Collection[Path] = (),
) -> Change:
    """The mirrors once a list was read; new ones lie below ``mirrors``, none in a directory that is ``taken``."""
    now = {each.name: each for each in listed}
    change = Change({})
    for name, mirror in before.items():
        if name not in now:
            change.mirrors[name] = replace(mirror, absent_s=mirror.absent_s if mirror.absent_s is not None else now_s)
        elif _is_another(mirror.listed, now[name]):
            change.mirrors[name] = mirror
            change.others[name] = f"it is {now[name].repository} now, and the mirror here is of another repository"
        else:
            change.mirrors[name] = Mirror(now[name], mirror.directory)
            change.returned += [name] if mirror.absent_s is not None else []
    new = {name: each for name, each in now.items() if name not in before}
    for old, name in _renames([m for m in change.mirrors.values() if m.absent_s is not None], new.values()):
        change.mirrors[name] = Mirror(new.pop(name), change.mirrors.pop(old).directory)
        change.renamed.append((old, name))
    change.absent = [
        name for name, m in change.mirrors.items() if m.absent_s is not None and before[name].absent_s is None
    ]
    _add(change, new.values(), mirrors, {*taken, *(m.directory for m in change.mirrors.values())})
    return change


def _is_another(before: ListedRepository, now: ListedRepository) -> bool:
    return before.repository != now.repository and None not in (before.repository, now.repository)


def _add(change: Change, new: Iterable[ListedRepository], mirrors: Path, taken: set[Path]) -> None:
    """Give new ones a directory: no two that are one on some disk, and none within another."""
    places = {place_of(str(path.relative_to(mirrors))) for path in taken if path.is_relative_to(mirrors)}
    above = {place[:n] for place in places for n in range(1, len(place))}
    for each in new:
        directory, place = _free(mirrors, each.name, places)
        if place in above or any(place[:n] in places for n in range(1, len(place))):
            change.others[each.name] = f"{directory} lies within the directory of a mirror, or has one within it"
            continue
        places.add(place)
        above |= {place[:n] for n in range(1, len(place))}
        change.mirrors[each.name] = Mirror(each, directory)
        change.added.append(each.name)


def _free(mirrors: Path, name: str, places: Collection[tuple[str, ...]]) -> tuple[Path, tuple[str, ...]]:
    """A directory for a name; another one where it is that of a mirror which has another name now."""
    stem = name.removesuffix(SUFFIX)
    number = 1
    while place_of(word := stem if number == 1 else f"{stem}-{number}") in places:
        number += 1
    return Path(mirrors, word + SUFFIX), place_of(word)


def _renames(absent: Iterable[Mirror], new: Iterable[ListedRepository]) -> list[tuple[str, str]]:
    """Who has another name now: one id, signed by a key of before, and the first reel or a feed is the same.

    Where two could be meant, none is; nor where more of one id went and came than can be compared.
    """
    by_id: dict[str, list[Mirror]] = {}
    for mirror in absent:
        if mirror.listed.repository is not None:
            by_id.setdefault(mirror.listed.repository, []).append(mirror)
    pairs: list[tuple[str, str]] = []
    left = COMPARED
    for each in new:
        known = by_id.get(each.repository or "", ())
        left -= len(known)
        if left < 0:
            return []
        pairs += [(mirror.listed.name, each.name) for mirror in known if _is_the_same(mirror.listed, each)]
    olds, names = Counter(old for old, _ in pairs), Counter(name for _, name in pairs)
    return [(old, name) for old, name in pairs if olds[old] == 1 and names[name] == 1]


def _is_the_same(old: ListedRepository, new: ListedRepository) -> bool:
    if old.signing is None or new.signing is None or not set(old.signing.keys) & set(new.signing.keys):
        return False
    return (old.reel is not None and old.reel == new.reel) or bool(set(old.feeds) & set(new.feeds))


def most_absent(count: int) -> int:
    """Of so many mirrors, how many may be absent before a person has to say that they may go."""
    return min(max(AT_ONCE, count * PERCENT // 100), count // 2)


@dataclass(frozen=True)
class Removals:
    """``due`` ones go now; ``next_s`` is when time alone makes more due; ``held`` wait for a person's yes."""

    due: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    next_s: int | None = None


def removals(mirrors: Mapping[str, Mirror], approved: Collection[str], said_s: int, now_s: int) -> Removals:
    """Which absent mirrors go: those a person ``approved``, and those that are absent for long, unless too many are.

    ``said_s``: the date of the list, which must say for so long that they are gone.
    """
    absent = {name: mirror.absent_s for name, mirror in mirrors.items() if mirror.absent_s is not None}
    due = [name for name in absent if name in approved]
    waiting = {name: since_s for name, since_s in absent.items() if name not in approved}
    if len(waiting) > most_absent(len(mirrors)):
        return Removals(tuple(sorted(due)), tuple(sorted(waiting)))
    ends = {name: since_s + ABSENT_S for name, since_s in waiting.items()}
    due += [name for name, end_s in ends.items() if end_s <= min(now_s, said_s)]
    later = [end_s for end_s in ends.values() if end_s > now_s]
    return Removals(tuple(sorted(due)), next_s=min(later, default=None))
