# SPDX-License-Identifier: GPL-3.0-or-later
"""A tree that is a delta of one that passed is looked at in part, and what is found is what the whole look finds."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import pytest
from dulwich.pack import apply_delta
from hypothesis import given, settings
from hypothesis import strategies as st

from gtfs.ids import SHA1, SHA256, ObjectId
from gtfs.ingest.checkobjects import BadObject, check_pack
from gtfs.ingest.examine import Examiner
from gtfs.ingest.faults import EVERYTHING, FAULTS, STRANGERS, Finding, Leniency
from gtfs.ingest.gate import PolicyGate
from gtfs.ingest.inside import Read
from gtfs.ingest.passedtrees import MAX_BYTES, PassedTree, PassedTrees, TreeEntry
from gtfs.pack import compiled
from gtfs.pack.decode import Decoded
from gtfs.pack.delta import make_delta, tree_tokens
from gtfs.pack.format import BLOB, COMMIT, HEADER, KIND_NAMES, MAGIC, REF_DELTA, TAG, TREE, VERSION, entry_header
from gtfs.pack.limits import Limits
from gtfs.pack.scan import Entry
from gtfs.pack.trees import RawObject

pytestmark = pytest.mark.usefixtures("in_python")
IN_C = compiled._inner  # before that

LIMITS = Limits()
PROMISED = Leniency(promised=True)
PERSON = b"A U Thor <author@example.org> 1700000000 +0100\n"
FAR = ObjectId(b"\xfa" * 20)
AT = 12  # where an entry of a pack stands that its delta is sought by


def serial(n: int) -> ObjectId:
    return ObjectId(SHA1.new(b"%d" % n).digest())


def key(entry: TreeEntry) -> bytes:
    return entry[1] + b"/" if entry[0] == b"40000" else entry[1]


def wide(count: int = 60) -> list[TreeEntry]:
    """A good tree: files, programs, directories and submodules."""
    modes = (b"100644", b"40000", b"100755", b"100644", b"160000")
    return sorted(((modes[i % 5], b"n%03d" % (i * 4), serial(i)) for i in range(count)), key=key)


def joined(entries: Iterable[TreeEntry]) -> bytes:
    return b"".join(b"%s %s\0%s" % entry for entry in entries)


def item(kind: int, data: bytes, base: ObjectId | None = None) -> Decoded:
    entry = Entry(AT if base else 0, kind if base is None else REF_DELTA, 0, base, None, 13, 30, len(data))
    return Decoded(SHA1.hash_object(KIND_NAMES[kind], data), kind, len(data), data, entry)


def commit(root: ObjectId, parent: ObjectId | None = None) -> Decoded:
    line = b"parent %s\n" % parent.hex().encode() if parent else b""
    return item(COMMIT, b"tree %s\n%sauthor %scommitter %s\nm\n" % (root.hex().encode(), line, PERSON, PERSON))


class Watched(PassedTrees):
    """Counts the trees that a short look was enough for."""

    def __init__(self, limits: Limits = LIMITS, max_bytes: int = MAX_BYTES, min_tree_bytes: int = 0) -> None:
        super().__init__(SHA1, limits, max_bytes, min_tree_bytes)
        self.short = 0

    def look(
        self, raw: bytes, base: ObjectId, delta: bytes, sought: Collection[ObjectId]
    ) -> tuple[list[TreeEntry], PassedTree] | None:
        found = super().look(raw, base, delta, sought)
        self.short += found is not None
        return found


def giving(objects: dict[ObjectId, bytes], kind: int = BLOB) -> Read:
    """What reads these."""

    def read(oid: ObjectId, _most: int) -> RawObject | None:
        data = objects.get(oid)
        return None if data is None else RawObject(kind, len(data), data)

    return read


Said = tuple[str, list[Finding]]


def said_of(items: Sequence[Decoded], leniency: Leniency, limits: Limits, read: object, **short: object) -> Said:
    findings: list[Finding] = []
    try:
        check_pack(None, items, SHA1, limits, leniency=leniency, findings=findings, read=read, **short)  # type: ignore[arg-type]
    except BadObject as why:
        return f"{why.oid.hex()} {why.offset} {why}", findings
    return "", findings


def judge(
    base: bytes,
    raw: bytes,
    delta: bytes | None = None,
    *others: Decoded,
    leniency: Leniency = STRANGERS,
    limits: Limits = LIMITS,
    read: Read | None = None,
) -> tuple[Said, bool]:
    """What is said of a tree beside ``others`` after its base's pack came in, and whether a short look said it."""
    passed = Watched(limits)
    first = item(TREE, base)
    said_of([commit(first.oid), first], leniency, limits, read, passed=passed)
    if delta is None:
        delta = make_delta(base, raw, tree_tokens(20))
        assert b"".join(apply_delta(base, delta)) == raw
    second = item(TREE, raw, first.oid)
    items = [commit(second.oid), second, *others]
    whole = said_of(items, leniency, limits, read)
    short = said_of(items, leniency, limits, read, passed=passed, deltas={AT: delta})
    assert short == whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "_inner", IN_C)
        assert said_of(items, leniency, limits, read, passed=passed, deltas={AT: delta}) == whole
    if passed.short:
        assert second.oid not in passed or passed._trees[second.oid] == passed.whole(raw, _entries(raw))
    return whole, passed.short > 0


def _entries(raw: bytes) -> list[TreeEntry]:
    found = []
    while raw:
        head, _, rest = raw.partition(b"\0")
        mode, _, name = head.partition(b" ")
        found.append((mode, name, ObjectId(rest[:20])))
        raw = rest[20:]
    return found


def copy(offset: int, size: int) -> bytes:
    return b"\xff" + offset.to_bytes(4, "little") + size.to_bytes(3, "little")


def delta_of(base: bytes, raw: bytes, *steps: bytes) -> bytes:
    sizes = [n.to_bytes(3, "big") for n in (len(base), len(raw))]
    return b"".join(bytes((n[2] & 0x7F | 0x80, (n[1] << 1 | n[2] >> 7) & 0x7F | 0x80, n[1] >> 6)) for n in sizes) + (
        b"".join(steps)
    )


def pieces(base: bytes, *parts: bytes | tuple[int, int]) -> tuple[bytes, bytes]:
    """What a delta of inserts and of copies (from, to) makes, and the delta."""
    raw, steps = b"", []
    for part in parts:
        if isinstance(part, bytes):
            raw += part
            steps += [bytes((len(part[at : at + 127]),)) + part[at : at + 127] for at in range(0, len(part), 127)]
        elif part[0] < part[1]:
            raw += base[slice(*part)]
            steps.append(copy(part[0], part[1] - part[0]))
    return raw, delta_of(base, raw, *steps)


def packed(*entries: tuple[int, bytes, ObjectId | None]) -> bytes:
    """A pack; a delta is given with the id of its base."""
    body = HEADER.pack(MAGIC, VERSION, len(entries))
    for kind, data, base in entries:
        body += entry_header(kind, len(data)) + (base or b"") + zlib.compress(data)
    return body + SHA1.new(body).digest()


def kinds(said: Said) -> list[str]:
    return [f.fault.name for f in said[1]]


BASE = wide()
RAW = joined(BASE)
PLACES = {"start": 0, "middle": 31, "end": 60}


@pytest.mark.parametrize("at", PLACES.values(), ids=PLACES)
def test_a_short_look_is_enough_for_entries_that_change_come_and_go(at: int) -> None:
    changed = [*BASE]
    mode, name, _ = changed[min(at, 59)]
    changed[min(at, 59)] = (mode, name, FAR)
    after = BASE[at - 1][1] if at else b"m"
    come = sorted([*BASE, (b"100644", after + b"0", FAR), (b"40000", after + b"1", FAR)], key=key)
    gone = BASE[:at] + BASE[at + 2 :]
    for entries in (changed, come, gone, BASE):
        assert judge(RAW, joined(entries)) == (("", []), True)


def test_a_file_in_the_place_of_a_directory_is_good_where_the_directory_is_gone() -> None:
    entries = sorted([(b"100644", n, o) if m == b"40000" else (m, n, o) for m, n, o in BASE[:9]] + BASE[9:], key=key)
    assert judge(RAW, joined(entries)) == (("", []), True)


LINK, ANNEX, MODULES = (
    b"../.git/hooks/x",
    b".git/annex/objects/a",
    b'[submodule "x"]\n\turl = -u./payload\n\tpath = x\n',
)
UNREADABLE, LONG = b"<<<<<<< HEAD\n", b"a" * 2048 + b" text\n"
MADE_UP = {SHA1.hash_object(b"blob", data): data for data in (LINK, ANNEX, MODULES, UNREADABLE, LONG)}


def blob_id(data: bytes) -> ObjectId:
    return SHA1.hash_object(b"blob", data)


OTHER_NAMES = [b"..", b".git", b".GIT", b"git~1", b".g\xe2\x80\x8cit", b".git ", b".git::$INDEX_ALLOCATION", b"a\\.git"]
HOSTILE: list[tuple[str, list[TreeEntry]]] = [
    ("zeroPaddedFilemode", [(b"040000", b"x", FAR)]),
    ("zeroPaddedFilemode", [(b"0100644", b"x", FAR)]),
    ("zeroPaddedFilemode", [(b"0120000", b"x", FAR)]),
    *[("badFilemode", [(m, b"x", FAR)]) for m in (b"100664", b"40755", b"0160000", b"00100644", b"0", b"7" * 99)],
    ("treeNotSorted", [(b"100644", b"b", FAR), (b"100644", b"a", FAR)]),
    ("treeNotSorted", [(b"40000", b"a", FAR), (b"100644", b"a-", FAR)]),
    ("duplicateEntries", [(b"100644", b"a", FAR), (b"100644", b"a", serial(1))]),
    ("duplicateEntries", [(b"100644", b"a", FAR), (b"100644", b"a-", FAR), (b"40000", b"a", FAR)]),
    *[("duplicateEntries", [BASE[i]]) for i in (0, 1, 30, 59)],
    *[("duplicateEntries", [(b"40000", BASE[i][1], FAR)]) for i in (0, 2, 30)],
    *[("duplicateEntries", [(b"100755", BASE[i][1], FAR)]) for i in (1, 31)],
    ("nullSha1", [(b"160000", b"x", ObjectId(bytes(20)))]),
    ("", [(b"100644", b"x", ObjectId(bytes(20)))]),
    ("largePathname", [(b"100644", b"x" * 256, FAR)]),
    ("controlCharacters", [(b"100644", b"Icon\r", FAR)]),
    ("submoduleControlCharacters", [(b"160000", b"Icon\r", FAR)]),
    ("linkBesideDirectory", [(b"120000", b"N" + BASE[1][1][1:], serial(3))]),
    ("linkBesideDirectory", [(b"120000", b"A", serial(3)), (b"40000", b"a", FAR)]),
    ("hasDot", [(b"100644", b".", FAR)]),
    *[("hasDotdot" if n == b".." else "hasDotgit", [(m, n, FAR)]) for n in OTHER_NAMES for m in (b"100644", b"40000")],
    ("fullPathname", [(b"100644", b"a/b", FAR)]),
    ("backslashDotdot", [(b"40000", b"x\\..\\y", FAR)]),
    *[(f"{n}Symlink", [(b"120000", b"." + n.encode(), FAR)]) for n in ("gitmodules", "gitattributes", "gitignore")],
    ("mailmapSymlink", [(b"120000", b".mailmap", FAR)]),
    ("gitattributesBlob", [(b"40000", b".gitattributes", FAR)]),
    ("gitmodulesBlob", [(b"40000", b".gitmodules", FAR)]),
    ("linkIntoDotgit", [(b"120000", b"x", blob_id(LINK))]),
    ("annexLink", [(b"120000", b"x", blob_id(ANNEX))]),
    ("gitmodulesUrl", [(b"100644", b"GI7EBA~1", blob_id(MODULES))]),
    ("gitmodulesParse", [(b"100644", b".gitmodules", blob_id(UNREADABLE))]),
    ("gitattributesLineLength", [(b"100644", b".gitattributes", blob_id(LONG))]),
]  # fmt: skip


@pytest.mark.parametrize("at", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize(("fault", "bad"), HOSTILE, ids=[f"{n or 'never'}-{i}" for i, (n, _) in enumerate(HOSTILE)])
def test_a_bad_entry_in_a_delta_of_a_good_tree_is_found(fault: str, bad: list[TreeEntry], at: int) -> None:
    in_pack = [item(BLOB, MADE_UP[e[2]]) for e in bad if e[2] in MADE_UP]
    assert fault == "" or fault in FAULTS
    sorted_in = sorted([*BASE, *bad], key=key)
    for entries in (BASE[:at] + bad + BASE[at:], BASE[: max(at - 1, 0)] + bad + BASE[at:], sorted_in):
        raw = joined(entries)
        offset = len(joined(BASE[:at]))
        cut = pieces(RAW, (0, offset - 7), RAW[offset - 7 : offset] + joined(bad), (offset, len(RAW))) if at else None
        for delta in (None, cut[1] if cut and cut[0] == raw else None):
            for leniency in (STRANGERS, PROMISED, EVERYTHING):
                for others in ((), in_pack):
                    judge(RAW, raw, delta, *others, leniency=leniency, read=giving(MADE_UP))
    said, is_short = judge(RAW, joined(BASE[:at] + bad + BASE[at:]), None, *in_pack, leniency=EVERYTHING)
    # Of two entries of one name the order may be the first thing wrong.
    assert not is_short
    assert fault in kinds(said) or (not fault and "nullSha1" in said[0])


def test_every_fault_that_a_tree_can_have_is_among_them() -> None:
    of_others = {"gitattributesLarge", "gitmodulesLarge", "gitmodulesName", "gitmodulesPath", "gitmodulesUpdate"}
    names = list(FAULTS)
    of_trees = set(names[names.index("zeroPaddedFilemode") : names.index("badTree")])
    assert of_trees - of_others <= {fault for fault, _ in HOSTILE}


def test_copies_that_cut_an_entry_anywhere_are_found_out() -> None:
    start, end = len(joined(BASE[:30])), len(joined(BASE[:31]))
    for cut in range(start, end + 1):
        for size in (0, 1, 5):
            for inserted in (RAW[cut : cut + size], b"\xff" * size, b"", b"\0 /"):
                for gap in (0, size):
                    judge(RAW, *pieces(RAW, (0, cut), inserted, (cut + gap, len(RAW))), leniency=EVERYTHING)


def test_a_copy_that_begins_in_an_entry_and_one_that_ends_in_another_make_one_entry() -> None:
    start = len(joined(BASE[:30]))
    for i in range(start, start + 34):
        for j in (*range(start + 34, start + 68, 3), *range(start - 34, start, 5)):
            raw, delta = pieces(RAW, (0, i), (j, len(RAW)))
            judge(RAW, raw, delta)
            judge(RAW, raw, delta, leniency=EVERYTHING)


def test_copies_out_of_order_and_copies_of_one_range_twice_are_found_out() -> None:
    a, b = len(joined(BASE[:20])), len(joined(BASE[:40]))
    end = len(RAW)
    for parts, fault in (
        ([(a, b), (0, a), (b, end)], "treeNotSorted"),
        ([(0, a), (b, end), (a, b)], "treeNotSorted"),
        ([(0, b), (a, end)], "duplicateEntries"),
        ([(0, end), (0, end)], "duplicateEntries"),
        ([(0, a), (0, a), (a, end)], "duplicateEntries"),
        ([(0, end), (a, len(joined(BASE[:21])))], "duplicateEntries"),
    ):
        said, is_short = judge(RAW, *pieces(RAW, *parts), leniency=EVERYTHING)
        assert fault in kinds(said)
        assert not is_short
    one = len(joined(BASE[:1]))
    said, _ = judge(RAW, *pieces(RAW, (0, one), (0, end)), leniency=EVERYTHING)  # twice, and next to each other
    assert kinds(said) == ["duplicateEntries"]


def test_a_delta_is_not_believed() -> None:
    raw = joined([*BASE[:30], (b"100644", b".git", FAR), *BASE[31:]])
    lie = delta_of(RAW, raw, copy(0, len(RAW)))
    for delta in (lie, b"", b"\xff" * 9, delta_of(b"", b"", copy(1 << 30, 1 << 23)), b"\x01x"):
        said, is_short = judge(RAW, raw, delta, leniency=EVERYTHING)
        assert kinds(said)[-1:] == ["hasDotgit"]
        assert not is_short


@pytest.mark.parametrize(
    "entry",
    [
        (b"040000", b"n", FAR),
        (b"100644", b"n\r", FAR),
        (b"120000", b"n", FAR),
        (b"100644", b".gitmodules", FAR),
    ],
)
def test_a_base_with_a_fault_or_with_what_must_be_looked_into_is_no_base(entry: TreeEntry) -> None:
    base = sorted([*BASE, entry], key=key)
    changed = [(m, n, FAR) if n == b"n200" else (m, n, o) for m, n, o in base]
    for read in (None, giving({FAR: b".git/x"})):
        for leniency in (STRANGERS, PROMISED, EVERYTHING):
            _, is_short = judge(joined(base), joined(changed), leniency=leniency, read=read)
            assert not is_short


def test_a_link_whose_target_came_after_its_tree_passed_is_refused() -> None:
    base = item(TREE, joined(sorted([*BASE, (b"120000", b"x", FAR)], key=key)))
    raw = joined(sorted([*BASE[1:], (b"120000", b"x", FAR)], key=key))
    passed = Watched()
    check_pack(None, [commit(base.oid), base], SHA1, LIMITS, read=giving({}), passed=passed)
    second = item(TREE, raw, base.oid)
    deltas = {AT: make_delta(base.data or b"", raw, tree_tokens(20))}
    with pytest.raises(BadObject, match="linkIntoDotgit"):
        check_pack(
            None,
            [commit(second.oid), second],
            SHA1,
            LIMITS,
            read=giving({FAR: b".git/x"}),
            passed=passed,
            deltas=deltas,
        )


def test_no_tree_of_a_refused_pack_becomes_a_base() -> None:
    good, stowaway = item(TREE, RAW), item(BLOB, b"stowaway")
    passed = Watched()
    with pytest.raises(BadObject, match="nothing else"):
        check_pack(None, [commit(good.oid), good, stowaway], SHA1, LIMITS, passed=passed)
    assert good.oid not in passed
    check_pack(None, [commit(good.oid), good], SHA1, LIMITS, passed=passed)
    assert good.oid in passed


def test_a_base_that_only_the_repository_has_is_no_base() -> None:
    passed = Watched()
    raw = joined(BASE[1:])
    tree = item(TREE, raw, SHA1.hash_object(b"tree", RAW))
    deltas = {AT: make_delta(RAW, raw, tree_tokens(20))}
    check_pack(None, [commit(tree.oid), tree], SHA1, LIMITS, passed=passed, deltas=deltas)
    assert passed.short == 0
    assert tree.oid in passed


def test_an_object_that_a_kept_entry_names_counts_as_if_it_were_new() -> None:
    inside = item(TREE, joined([(b"100644", b"a", FAR)]))
    base = joined(sorted([*BASE, (b"40000", b"x", inside.oid), (b"100644", b"y", blob_id(b"y"))], key=key))
    raw = base.replace(b"n200\0", b"n201\0")
    assert judge(base, raw, None, inside)[0] == ("", [])
    assert judge(base, raw, None, item(BLOB, b"y"))[0] == ("", [])
    said, is_short = judge(base, raw, None, inside, limits=replace(LIMITS, tree_depth=1))
    assert "tree_depth" in said[0]
    assert not is_short
    as_file = base.replace(b"40000 x\0", b"100644 x\0")
    said, _ = judge(as_file, as_file.replace(b"n200\0", b"n201\0"), None, inside)
    assert "a tree that is named as a blob" in said[0]


def test_a_stowaway_beside_a_short_look_is_refused_and_a_new_entry_s_object_is_judged_by_its_kind() -> None:
    new = item(BLOB, b"new")
    raw = joined([(m, n, new.oid) if n == b"n200" else (m, n, o) for m, n, o in BASE])
    assert judge(RAW, raw, None, new) == (("", []), True)
    said, is_short = judge(RAW, raw, None, item(BLOB, b"stowaway"))
    assert is_short
    assert "nothing else in the pack names it" in said[0]
    wrong = joined([(b"40000", n, new.oid) if n == b"n204" else (m, n, o) for m, n, o in BASE])
    said, is_short = judge(RAW, wrong, None, new)
    assert is_short
    assert "a blob that is named as a tree" in said[0]


def test_a_chain_of_deltas_over_packs_is_looked_at_link_by_link() -> None:
    passed = Watched()
    trees = [joined([(m, n, serial(i) if n == b"n%03d" % (i * 4) else o) for m, n, o in BASE]) for i in range(40)]
    for i, raw in enumerate([*trees, joined(sorted([*BASE, (b"100644", b".git", FAR)], key=key))]):
        base = SHA1.hash_object(b"tree", trees[i - 1]) if i else None
        tree = item(TREE, raw, base)
        deltas = {AT: make_delta(trees[i - 1], raw, tree_tokens(20))} if i else {}
        items = [commit(tree.oid), tree]
        if i < len(trees):
            check_pack(None, items, SHA1, LIMITS, passed=passed, deltas=deltas)
            assert passed.short == i
        else:
            with pytest.raises(BadObject, match="hasDotgit"):
                check_pack(None, items, SHA1, LIMITS, passed=passed, deltas=deltas)


def test_ids_of_32_bytes_are_read_as_such() -> None:
    long = [(mode, name, ObjectId(SHA256.new(oid).digest())) for mode, name, oid in BASE]
    passed = PassedTrees(SHA256, LIMITS, min_tree_bytes=0)
    base = SHA256.hash_object(b"tree", joined(long))
    first = passed.whole(joined(long), long)
    assert first is not None
    passed.add([(base, first)])
    changed = (b"100644", b"n200", ObjectId(b"\xfa" * 32))
    for new, is_good in ((changed, True), ((b"100644", b".git", changed[2]), False)):
        entries = sorted([new, *[entry for entry in long if entry[1] != b"n200"]], key=key)
        raw = joined(entries)
        found = passed.look(raw, base, make_delta(joined(long), raw, tree_tokens(32)), ())
        assert found == (([new], passed.whole(raw, entries)) if is_good else None)


def test_the_trees_that_are_remembered_are_bounded_by_bytes_the_oldest_use_first() -> None:
    passed = Watched(max_bytes=5 * 2 * len(RAW))
    raws = [RAW.replace(b"n000\0", b"m%03d\0" % i) for i in range(9)]
    oids = [SHA1.hash_object(b"tree", raw) for raw in raws]
    for i, raw in enumerate(raws):
        tree = item(TREE, raw)
        check_pack(None, [commit(tree.oid), tree], SHA1, LIMITS, passed=passed)
        if i >= 4:
            passed.look(RAW, oids[0], b"", ())
    assert [oid in passed for oid in oids] == [True] + [False] * 4 + [True] * 4


def test_where_the_short_look_could_cost_more_than_the_whole_there_is_none() -> None:
    blobs = [item(BLOB, b"%d" % i) for i in range(70)]
    many = sorted([*BASE, *[(b"100644", b"o%02d" % i, blob.oid) for i, blob in enumerate(blobs)]], key=key)
    for count, is_short in ((61, True), (62, False)):  # with the commit and two trees: 64 ids to seek, and more
        inside = item(TREE, joined([(b"100644", b"o%02d" % i, blob.oid) for i, blob in enumerate(blobs[:count])]))
        raw = joined([*BASE, (b"40000", b"o", inside.oid)])
        assert judge(RAW, raw, None, inside, *blobs[:count]) == (("", []), is_short)
    assert judge(RAW, joined(many), None, *blobs) == (("", []), False)
    assert judge(RAW, joined([(m, b"a" + n, o) for m, n, o in BASE])) == (("", []), False)


def test_a_small_tree_is_not_worth_it() -> None:
    passed = Watched(min_tree_bytes=len(RAW) + 1)
    tree = item(TREE, RAW)
    check_pack(None, [commit(tree.oid), tree], SHA1, LIMITS, passed=passed)
    assert tree.oid not in passed


@pytest.mark.parametrize("is_hostile", [False, True])
def test_packs_on_their_way_in_are_looked_at_in_part_by_what_their_deltas_say(
    is_hostile: bool,
) -> None:
    examiner = Examiner(SHA1, LIMITS, PolicyGate())
    passed = examiner._passed = Watched()
    new = blob_id(b"new")
    bad = [(b"100644", b".git", FAR)] if is_hostile else []
    raw = joined(sorted([*bad, *[(m, n, new if n == b"n200" else o) for m, n, o in BASE]], key=key))
    first, second = commit(SHA1.hash_object(b"tree", RAW)), commit(SHA1.hash_object(b"tree", raw))
    base = SHA1.hash_object(b"tree", RAW)
    delta = make_delta(RAW, raw, tree_tokens(20))
    packs = (
        (first, packed((COMMIT, first.data or b"", None), (TREE, RAW, None))),
        (second, packed((COMMIT, second.data or b"", None), (REF_DELTA, delta, base), (BLOB, b"new", None))),
    )
    for (named, pack), may_refuse in zip(packs, (False, is_hostile), strict=True):
        found = examiner.scan(pack, named.oid)
        if may_refuse:
            with pytest.raises(BadObject, match="hasDotgit"):
                examiner.examine(found, None, giving({base: RAW}, TREE), lambda _: [])
        else:
            examiner.examine(found, None, giving({base: RAW}, TREE), lambda _: [])
    assert passed.short == (not is_hostile)


def test_what_passed_is_forgotten_when_nothing_comes_for_now() -> None:
    raw = joined(wide(300))
    root = commit(SHA1.hash_object(b"tree", raw))
    examiner = Examiner(SHA1, LIMITS, PolicyGate())
    found = examiner.scan(packed((COMMIT, root.data or b"", None), (TREE, raw, None)), root.oid)
    examiner.examine(found, None, lambda _oid, _most: None, lambda _: [])
    assert SHA1.hash_object(b"tree", raw) in examiner._passed
    examiner.forget()
    assert SHA1.hash_object(b"tree", raw) not in examiner._passed


MODES = st.sampled_from([b"100644", b"100755", b"40000", b"160000"] * 4 + [b"120000", b"040000", b"100664"])
NAMES = st.sampled_from(
    [b"a", b"a-", b"a.", b"a0", b"aa", b"b", b"b.x", b"c", b"d", b"e e", b"A", b"f" * 20] * 3
    + [b".gitmodules", b".gitattributes", b".gitignore", b".git", b"\r", b"g" * 40, b"x/y"]
)
SOME = [item(BLOB, b"one"), item(BLOB, b".git/x"), item(TREE, joined([(b"100644", b"q", FAR)])), item(TAG, b"tag")]
IDS = st.one_of(
    st.sampled_from([FAR, ObjectId(b"100644 a\0" + b"a" * 11), ObjectId(b"\0" * 19 + b"\1")] * 3
                    + [ObjectId(bytes(20))] + [x.oid for x in SOME]),
    st.integers(0, 9).map(serial),
)  # fmt: skip
ENTRIES = st.lists(st.tuples(MODES, NAMES, IDS), max_size=14)
GOOD_ENTRIES = st.dictionaries(
    st.sampled_from([b"a", b"a-", b"a.", b"a0", b"aa", b"b", b"b.x", b"c", b"d", b"e e", b"A"]),
    st.tuples(st.sampled_from([b"100644", b"100755", b"40000", b"160000"]), IDS.filter(any)),
    min_size=4,
).map(lambda named: sorted(((mode, name, oid) for name, (mode, oid) in named.items()), key=key))
READ = {SOME[1].oid: b".git/x"}


def compare(base: bytes, raw: bytes, delta: bytes, data: st.DataObject) -> None:
    others = data.draw(st.lists(st.sampled_from(SOME), unique_by=lambda x: x.oid))
    leniency = data.draw(st.sampled_from([STRANGERS, PROMISED, EVERYTHING]))
    limits = replace(LIMITS, component_bytes=30, tree_depth=data.draw(st.sampled_from([1, 9])))
    judge(
        base,
        raw,
        delta,
        *others,
        leniency=leniency,
        limits=limits,
        read=data.draw(st.sampled_from([None, giving(READ)])),
    )


@settings(max_examples=400, deadline=None)
@given(entries=st.one_of(GOOD_ENTRIES, ENTRIES), data=st.data())
def test_random_changes_are_judged_as_the_whole_is(entries: list[TreeEntry], data: st.DataObject) -> None:
    base = joined(entries)
    changed = [*entries]
    for new in data.draw(st.lists(st.tuples(MODES, NAMES, IDS), max_size=3)):
        at = data.draw(st.integers(0, len(changed)))
        changed[at : at + data.draw(st.integers(0, 2))] = [new]
    if data.draw(st.booleans()):
        changed.sort(key=key)
    raw = joined(changed)
    borders = [len(joined(changed[:n])) for n in range(len(changed) + 1)]
    delta = make_delta(base, raw, tree_tokens(20), borders if data.draw(st.booleans()) else None)
    compare(base, raw, delta, data)


@settings(max_examples=400, deadline=None)
@given(entries=st.one_of(GOOD_ENTRIES, ENTRIES), data=st.data())
def test_random_deltas_are_judged_as_the_whole_is(entries: list[TreeEntry], data: st.DataObject) -> None:
    base = joined(entries)
    bounds = [0]
    for entry in entries:
        bounds.append(bounds[-1] + len(joined([entry])))
    places = st.one_of(st.sampled_from(bounds), st.integers(0, len(base)))
    insert = st.one_of(ENTRIES.map(lambda some: joined(some[:2])), st.binary(max_size=40))
    copies = st.tuples(places, places).map(lambda ends: (min(ends), max(ends)))
    parts = data.draw(st.lists(st.one_of(copies, copies, insert), max_size=6))
    raw, delta = pieces(base, *[p for p in parts if isinstance(p, bytes) or p[0] < p[1]])
    assert b"".join(apply_delta(base, delta)) == raw
    compare(base, raw, delta, data)
