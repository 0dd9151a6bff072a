# SPDX-License-Identifier: GPL-3.0-or-later
"""What may exist: each fault that is looked for in objects, and what is done about it (gtfs-design(7), WHAT MAY EXIST).

The one list: `gtfs publish`, the way in (`gtfs.ingest.checkobjects`) and git's index-pack all go by it. How a fault is
found is for `headers`, `names`, `gitmodules` and `checkobjects`. Any thread.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from gtfs.ids import ObjectId


class Severity(Enum):
    """What becomes of a fault in a pack that the publisher's signed catalogue promises."""

    CARRIED = "carried"  # git clone takes it and it harms nobody: it comes in, and is counted
    LISTED = "listed"  # harms who checks it out with an old or foreign client: only if the catalogue names it
    NEVER = "never"  # git cannot read such a history either


@dataclass(frozen=True)
class Fault:
    """One row. ``git``: the ids of git-fsck(1) that mean this, none where git does not know it.

    ``from_strangers``: whether it comes in with a pack that no catalogue promises. ``is_fatal``: no setting lowers
    git's judgement, only its skip list.
    """

    name: str
    severity: Severity
    what: str
    git: tuple[str, ...] = ()
    from_strangers: bool = False
    is_fatal: bool = False


def _carried(
    name: str, what: str, *more: str, git: bool = True, from_strangers: bool = False, is_fatal: bool = False
) -> Fault:
    ids = (name, *more) if git else more
    return Fault(name, Severity.CARRIED, what, ids, from_strangers, is_fatal)


def _listed(name: str, what: str, *more: str, git: bool = True) -> Fault:
    return Fault(name, Severity.LISTED, what, (name, *more) if git else more)


def _never(name: str, what: str) -> Fault:
    return Fault(name, Severity.NEVER, what, (name,))


TABLE: Final = (
    # Commits and tags.
    _carried("nulInCommit", "NUL in a message", from_strangers=True),
    _carried("badTimezone", "an odd time zone", from_strangers=True),
    _carried("missingSpaceBeforeDate", "no space before the date", from_strangers=True),
    _carried("missingTaggerEntry", "a tag without tagger", from_strangers=True),
    _carried("badDate", "a date that is no number"),
    _carried("badDateOverflow", "a date before 1970 or beyond 2^63"),
    _carried("zeroPaddedDate", "a date that begins with 0"),
    _carried("missingEmail", "no e-mail address"),
    _carried("badEmail", "brackets in an e-mail address"),
    _carried("badName", "a bracket in a name"),
    _carried("missingNameBeforeEmail", "no name before the e-mail address"),
    _carried("missingSpaceBeforeEmail", "no space before the e-mail address"),
    _carried("missingAuthor", "no author"),
    _carried("multipleAuthors", "more than one author"),
    _carried("missingCommitter", "no committer"),
    _carried("badTagName", "a tag whose own name cannot be a ref's"),
    _carried("nulInHeader", "NUL in a header", is_fatal=True),
    _carried("unterminatedHeader", "a header that does not end", is_fatal=True),
    _carried("signatureWithoutEnd", "a signature that does not end", "badGpgsig", "badHeaderContinuation", git=False),
    # Trees.
    _carried("zeroPaddedFilemode", "a mode that begins with 0", from_strangers=True),
    _carried("badFilemode", "a mode that git does not write"),
    _carried("treeNotSorted", "a tree that is not in order"),
    _carried("nullSha1", "a submodule at the null id"),
    _carried("largePathname", "a name over 255 bytes"),
    _carried("controlCharacters", "control characters in a name", git=False, from_strangers=True),
    _carried("linkBesideDirectory", "a link that some file systems take for a directory beside it", git=False),
    _carried("annexLink", "a link into .git/annex/objects", "symlinkPointsToGitDir", "symlinkTargetLength", git=False),
    _carried("gitignoreSymlink", "a .gitignore that is a link"),
    _carried("gitattributesSymlink", "a .gitattributes that is a link"),
    _carried("mailmapSymlink", "a .mailmap that is a link"),
    _carried("gitattributesBlob", "a .gitattributes that is no file", "gitattributesMissing"),
    _carried("gitattributesLineLength", "a .gitattributes with a line of 2048 bytes or more"),
    _carried("gitattributesLarge", "a .gitattributes over 100 MiB"),
    _carried("gitmodulesParse", "a .gitmodules that cannot be read"),
    _listed("hasDot", "an entry named ."),
    _listed("hasDotdot", "an entry named .."),
    _listed("hasDotgit", "an entry that is .git to some file system"),
    _listed("fullPathname", "a name with a slash"),
    _listed("duplicateEntries", "a name that stands twice"),
    _listed("backslashDotdot", "a name that leaves its directory where a backslash separates", git=False),
    _listed("linkIntoDotgit", "a link into a .git", git=False),
    _listed("submoduleControlCharacters", "a submodule whose path has control characters", git=False),
    _listed("gitmodulesSymlink", "a .gitmodules that is a link"),
    _listed("gitmodulesBlob", "a .gitmodules that is no file", "gitmodulesMissing"),
    _listed("gitmodulesLarge", "a .gitmodules too large to be looked at"),
    _listed("gitmodulesName", "a submodule whose name leads elsewhere"),
    _listed("gitmodulesUrl", "a submodule whose URL is an option or leads elsewhere"),
    _listed("gitmodulesPath", "a submodule whose path is an option"),
    _listed("gitmodulesUpdate", "a submodule that is updated by a command"),
    # What no reader can follow.
    _never("badTree", "a tree that is not a run of whole entries"),
    _never("emptyName", "an entry without a name"),
    _never("missingTree", "a commit whose tree line cannot be read"),
    _never("badTreeSha1", "a commit whose tree line cannot be read"),
    _never("badParentSha1", "a commit whose parent lines cannot be read"),
    _never("missingObject", "a tag whose object line cannot be read"),
    _never("badObjectSha1", "a tag whose object line cannot be read"),
    _never("missingTypeEntry", "a tag whose type line cannot be read"),
    _never("badType", "a tag of an unknown kind of object"),
    _never("missingTagEntry", "a tag without its own name"),
    _never("missingTag", "a tag that ends inside its header"),
)  # fmt: skip
FAULTS: Final = {fault.name: fault for fault in TABLE}


class Finding(NamedTuple):
    """A fault in an object; ``text`` begins with the fault's name."""

    oid: ObjectId
    text: str

    @property
    def fault(self) -> Fault:
        """The row."""
        return FAULTS[self.text.partition(":")[0]]

    @property
    def needs_skipping(self) -> bool:
        """Whether git takes the object only if its skip list names it."""
        return self.fault.is_fatal or self.fault.severity is Severity.LISTED


class _Everything:
    def __contains__(self, _: object) -> bool:
        return True


@dataclass(frozen=True)
class Leniency:
    """Which faults a pack may have: what nobody promised fewer than what a signed catalogue names.

    ``accepted``: the objects that the catalogue's Accepted-Faults names.
    """

    promised: bool = False
    accepted: Container[ObjectId] = frozenset()

    def allows(self, finding: Finding) -> bool:
        """Whether the object may come in in spite of it."""
        fault = finding.fault
        if not self.promised:
            return fault.from_strangers
        return fault.severity is Severity.CARRIED or (
            fault.severity is Severity.LISTED and finding.oid in self.accepted
        )


STRANGERS: Final = Leniency()
EVERYTHING: Final = Leniency(True, _Everything())  # for the publisher, who is told of each


def git_levels(promised: bool, known: Collection[str]) -> str:
    """What `git index-pack --strict=` must hear to judge like `Leniency`, as far as this git knows the ids.

    What it cannot be told so is on the skip list, see `Finding.needs_skipping`.
    """
    levels = []
    for fault in TABLE:
        allowed = fault.from_strangers or (promised and fault.severity is Severity.CARRIED)
        if not fault.is_fatal:
            levels += [f"{id_}={'ignore' if allowed else 'error'}" for id_ in fault.git if id_ in known]
    return ",".join(levels)


@dataclass
class FaultCounts:
    """How many objects have which fault, and the first of them."""

    kinds: dict[str, tuple[int, ObjectId]] = field(default_factory=dict)

    def add(self, findings: Iterable[Finding]) -> None:
        """Count more findings."""
        for finding in findings:
            count, first = self.kinds.get(finding.fault.name, (0, finding.oid))
            self.kinds[finding.fault.name] = (count + 1, first)

    def merge(self, other: FaultCounts) -> None:
        """Count what another counted."""
        for name, (more, oid) in other.kinds.items():
            count, first = self.kinds.get(name, (0, oid))
            self.kinds[name] = (count + more, first)

    def describe(self) -> dict[str, dict[str, object]]:
        """For JSON: by the fault's name."""
        return {
            name: {"objects": count, "first": first.hex(), "what": FAULTS[name].what}
            for name, (count, first) in sorted(self.kinds.items())
        }
