# SPDX-License-Identifier: GPL-3.0-or-later
"""What may come near git: whole packs first, then trees; names, headers and `.gitmodules` have files of their own."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtfs.ids import SHA1, ObjectId
from gtfs.ingest import names
from gtfs.ingest.checkobjects import BadObject, _PackCheck, check_pack
from gtfs.ingest.faults import EVERYTHING, STRANGERS, TABLE, Finding, Leniency, Severity
from gtfs.ingest.headers import find_in_commit
from gtfs.ingest.inside import Inside, Read
from gtfs.pack.decode import Decoded, decode
from gtfs.pack.format import BLOB, COMMIT, KIND_NAMES, TAG, TREE, CorruptPack
from gtfs.pack.limits import MIB, Limits
from gtfs.pack.objects import HEADER_BYTES
from gtfs.pack.scan import Entry, scan
from gtfs.pack.trees import RawObject

pytestmark = pytest.mark.usefixtures("each_way")

LIMITS = Limits()
VECTORS = Path(__file__).parents[2] / "vectors"
ENTRY = Entry(12, BLOB, 0, None, None, 13, 30, 0)
PERSON = b"A U Thor <author@example.org> 1700000000 +0100\n"
FAR = ObjectId(b"\xfa" * 20)


def item(kind: int, data: bytes | None, entry: Entry = ENTRY) -> Decoded:
    assert data is not None
    return Decoded(SHA1.hash_object(KIND_NAMES[kind], data), kind, len(data), data, entry)


def tree(*entries: tuple[bytes, bytes, ObjectId]) -> Decoded:
    return item(TREE, b"".join(b"%s %s\0%s" % e for e in entries))


def commit(root: ObjectId, *parents: ObjectId) -> Decoded:
    names = b"".join(b"parent %s\n" % p.hex().encode() for p in parents)
    return item(COMMIT, b"tree %s\n%sauthor %scommitter %s\nm\n" % (root.hex().encode(), names, PERSON, PERSON))


def tag(target: ObjectId, kind: bytes, name: bytes = b"v1") -> Decoded:
    text = b"object %s\ntype %s\ntag %s\ntagger %s\nm\n"
    return item(TAG, text % (target.hex().encode(), kind, name, PERSON))


A, B = item(BLOB, b"a\n"), item(BLOB, b"b\n")
ROOT = tree((b"100644", b"a", A.oid), (b"100755", b"b", FAR))


def judge(*items: Decoded, limits: Limits = LIMITS) -> ObjectId:
    return check_pack(None, items, SHA1, limits)


def judge_one(one: Decoded, leniency: Leniency = STRANGERS) -> list[Finding]:
    findings: list[Finding] = []
    items = [one] if one.kind in (COMMIT, TAG) else [commit(one.oid), one]
    check_pack(None, items, SHA1, LIMITS, leniency=leniency, findings=findings)
    return findings


def judge_tree(*entries: tuple[bytes, bytes, ObjectId], leniency: Leniency = STRANGERS) -> list[str]:
    return [f.text for f in judge_one(tree(*entries), leniency)]


def giving(objects: dict[ObjectId, bytes]) -> Read:
    """What reads these, no more bytes of them than it is asked for."""

    def read(oid: ObjectId, most: int) -> RawObject | None:
        data = objects.get(oid)
        return None if data is None else RawObject(BLOB, len(data), data if len(data) <= most else None)

    return read


def kinds(findings: list[Finding]) -> list[str]:
    return [f.fault.name for f in findings]


def vector_packs() -> Iterator[tuple[ObjectId, list[Decoded]]]:
    data = (VECTORS / "odd-repository.pack").read_bytes()
    objects = {d.oid: d for d in decode(data, scan(data, SHA1, LIMITS), SHA1, LIMITS, lambda oid: None)}
    name, items = b"", []
    for line in (VECTORS / "odd.entries").read_text().splitlines():
        if line.endswith(".pack"):
            if items:
                yield ObjectId(name), items
            name, items = bytes.fromhex(line.removesuffix(".pack")), []
        elif line.startswith(" "):
            items.append(objects[ObjectId(bytes.fromhex(line.split()[1]))])
    yield ObjectId(name), items


def test_every_pack_of_the_vectors_is_good_and_its_oddities_are_warned_about() -> None:
    findings: list[Finding] = []
    packs = list(vector_packs())
    assert len(packs) > 150
    for name, items in packs:
        assert check_pack(name, items, SHA1, LIMITS, findings=findings) == name
    assert set(kinds(findings)) == {"zeroPaddedFilemode", "nulInCommit"}


def test_the_first_object_must_be_the_commit_or_tag_of_the_name() -> None:
    good = commit(ROOT.oid)
    assert check_pack(good.oid, [good, ROOT, A], SHA1, LIMITS) == good.oid
    with pytest.raises(BadObject, match="not the pack of"):
        check_pack(FAR, [good, ROOT, A], SHA1, LIMITS)
    with pytest.raises(BadObject, match="first object is a tree"):
        judge(ROOT, A)


def test_objects_that_nothing_names_are_stowaways() -> None:
    good = commit(ROOT.oid)
    for stowaway in (B, tree((b"100644", b"a", A.oid)), commit(FAR), tag(FAR, b"blob")):
        with pytest.raises(BadObject, match="nothing else in the pack names it") as caught:
            judge(good, ROOT, A, stowaway)
        assert caught.value.oid == stowaway.oid


def test_a_parent_in_the_pack_is_a_stowaway_even_behind_a_gitlink() -> None:
    parent = commit(FAR)
    link = tree((b"160000", b"sub", parent.oid))
    with pytest.raises(BadObject, match="nothing else"):
        judge(commit(link.oid, parent.oid), link, parent)


def test_an_object_twice_is_refused() -> None:
    with pytest.raises(BadObject, match="twice"):
        judge(commit(ROOT.oid), ROOT, A, A)


def test_an_object_of_another_kind_than_it_is_named_as_is_refused() -> None:
    for root in (tree((b"40000", b"a", A.oid)), tree((b"100644", b"a", A.oid), (b"40000", b"t", A.oid))):
        with pytest.raises(BadObject, match="a blob that is named as a tree"):
            judge(commit(root.oid), root, A)
    with pytest.raises(BadObject, match="a blob that is named as a tree"):
        judge(commit(A.oid), A)
    outer = tag(A.oid, b"tree")
    with pytest.raises(BadObject, match="a blob that is named as a tree"):
        judge(outer, A)
    holder = tree((b"100644", b"f", ROOT.oid))
    with pytest.raises(BadObject, match="a tree that is named as a blob"):
        judge(commit(holder.oid), holder, ROOT, A)


def test_a_chain_of_tags_hangs_together_and_a_tagged_commit_stays_out() -> None:
    inner = tag(ROOT.oid, b"tree")
    judge(tag(inner.oid, b"tag", b"v2"), inner, ROOT, A)
    target = commit(FAR)
    judge(tag(target.oid, b"commit"))
    with pytest.raises(BadObject, match="nothing else"):
        judge(tag(target.oid, b"commit"), target)


def test_the_depth_of_trees_is_limited_along_the_longest_way() -> None:
    trees = [tree((b"100644", b"f", FAR))]
    for _ in range(9):
        trees.append(tree((b"40000", b"d", trees[-1].oid), (b"40000", b"e", trees[0].oid)))
    items = [commit(trees[-1].oid), *reversed(trees)]
    judge(*items, limits=replace(LIMITS, tree_depth=10))
    with pytest.raises(BadObject, match="tree_depth"):
        judge(*items, limits=replace(LIMITS, tree_depth=9))
    wide = [tree((b"100644", b"%d" % i, FAR)) for i in range(9)]
    root = tree(*[(b"40000", b"%d" % i, t.oid) for i, t in enumerate(wide)])
    judge(commit(root.oid), root, *wide, limits=replace(LIMITS, tree_depth=2))


def test_twenty_thousand_nested_trees_need_no_recursion() -> None:
    trees = [tree((b"100644", b"f", FAR))]
    for _ in range(20_000):
        trees.append(tree((b"40000", b"d", trees[-1].oid)))
    with pytest.raises(BadObject, match="tree_depth"):
        judge(commit(trees[-1].oid), *reversed(trees))
    judge(commit(trees[-1].oid), *reversed(trees), limits=replace(LIMITS, tree_depth=20_001))


def test_broken_trees_are_refused() -> None:
    for raw in (b"100644 a", b"100644 a\0" + FAR[:-1], b"100644 \0" + FAR, b"1 a\0" + FAR + b"x"):
        with pytest.raises(BadObject, match="whole entries"):
            judge_one(item(TREE, raw))


@pytest.mark.parametrize(
    "mode", [b"100600", b"100664", b"100666", b"0", b"40755", b"0160000", b"0040000", b"00100644", b"7" * 99]
)  # fmt: skip
def test_modes_that_git_never_wrote_are_bad(mode: bytes) -> None:
    with pytest.raises(BadObject, match="badFilemode"):
        judge_tree((mode, b"a", FAR))


def test_modes_of_real_history_are_warned_about() -> None:
    assert judge_tree((b"100644", b"a", FAR), (b"160000", b"c", FAR), (b"40000", b"d", FAR)) == []
    for mode in (b"040000", b"0100644", b"0100755", b"0120000"):
        (warning,) = judge_tree((mode, b"a", FAR))
        assert warning.startswith("zeroPaddedFilemode")


@pytest.mark.parametrize("mode", [b"100664", b"100640", b"100775", b"40755", b"0160000", b"0040000", b"0", b"7" * 99])
def test_odd_modes_are_carried_for_a_publisher(mode: bytes) -> None:
    (text,) = judge_tree((mode, b"a", FAR), leniency=Leniency(promised=True))
    assert text.startswith("badFilemode")


def test_trees_are_in_git_s_order() -> None:
    judge_tree((b"100644", b"a-", FAR), (b"40000", b"a", FAR), (b"100644", b"a0", FAR))
    judge_tree((b"100644", b"a-", FAR), (b"040000", b"a", FAR), (b"100644", b"a0", FAR))
    for entries in (
        [(b"100644", b"b", FAR), (b"100644", b"a", FAR)],
        [(b"40000", b"a", FAR), (b"100644", b"a-", FAR)],
        [(b"040000", b"a", FAR), (b"100644", b"a-", FAR)],
    ):
        with pytest.raises(BadObject, match="treeNotSorted"):
            judge_tree(*entries)


def test_names_stand_once_also_as_file_and_directory() -> None:
    with pytest.raises(BadObject, match="duplicateEntries"):
        judge_tree((b"100644", b"a", FAR), (b"100644", b"a", A.oid))
    with pytest.raises(BadObject, match="duplicateEntries"):
        judge_tree((b"100644", b"a", FAR), (b"100644", b"a-", FAR), (b"40000", b"a", FAR))


def test_null_ids_and_long_names_are_refused() -> None:
    with pytest.raises(BadObject, match="nullSha1"):
        judge_tree((b"100644", b"a", ObjectId(bytes(20))))
    judge_tree((b"100644", b"a" * 255, FAR))
    with pytest.raises(BadObject, match="largePathname"):
        judge_tree((b"100644", b"a" * 256, FAR))


@pytest.mark.parametrize("name", [b".", b"..", b".git", b".GIT", b"git~1", b"a/b", b".g\xe2\x80\x8cit", b"x\\..\\y"])
def test_names_that_lead_astray_are_refused_for_every_kind_of_entry(name: bytes) -> None:
    for mode in (b"40000", b"100644", b"120000", b"160000", b"040000", b"100664"):
        with pytest.raises(BadObject):
            judge_tree((mode, name, FAR), leniency=Leniency(promised=True))
        with pytest.raises(BadObject):
            judge_tree((mode, name, FAR))


def test_special_files_are_no_symbolic_links() -> None:
    for name in (b".gitmodules", b".gitattributes", b".gitignore", b".mailmap", b".GitIgnore", b"GITMOD~1"):
        judge_tree((b"100644", name, FAR))
        with pytest.raises(BadObject, match="Symlink"):
            judge_tree((b"120000", name, FAR))
        with pytest.raises(BadObject, match="Symlink"):
            judge_tree((b"0120000", name, FAR))
    for mode in (b"40000", b"160000"):
        with pytest.raises(BadObject, match="gitmodulesBlob"):
            judge_tree((mode, b".gitmodules", FAR))


def test_control_characters_are_warned_about_and_refused_for_submodules() -> None:
    for name in (b"Icon\r", b": [yes, no] \x1b:wq'", b"a\nb", b"\x7f"):
        (warning,) = judge_tree((b"100644", name, FAR))
        assert warning.startswith("controlCharacters")
        with pytest.raises(BadObject, match="submoduleControlCharacters"):
            judge_tree((b"160000", name, FAR))


def test_no_link_has_the_place_of_a_directory_on_another_file_system() -> None:
    for directory in (b"40000", b"160000", b"040000"):
        for one, other in ((b"A", b"a"), (b"cafe\xcc\x81", b"caf\xc3\xa9"), (b"\xc3\x84", b"\xc3\xa4")):
            with pytest.raises(BadObject, match="beside the directory"):
                judge_tree((directory, one, FAR), (b"120000", other, FAR))
            with pytest.raises(BadObject, match="beside the directory"):
                judge_tree((b"120000", one, FAR), (directory, other, FAR))
    judge_tree((b"100644", b"BUILD", FAR), (b"40000", b"build", FAR), (b"120000", b"link", FAR))
    judge_tree((b"40000", b"Test", FAR), (b"40000", b"test", FAR))


@pytest.mark.parametrize("target", [b".git/hooks/x", b"../a/.GIT", b"git~1\\x", b".git ./config", b".g\xef\xbb\xbfit"])
def test_no_link_leads_into_a_dotgit(target: bytes) -> None:
    link = item(BLOB, target)
    root = tree((b"120000", b"l", link.oid))
    with pytest.raises(BadObject, match="a symbolic link into a"):
        judge(commit(root.oid), root, link)
    file = tree((b"100644", b"l", link.oid))
    judge(commit(file.oid), file, link)


def test_links_elsewhere_are_good() -> None:
    for target in (b"../.gitignore", b".github/x", b"/etc/passwd", b"", b"a" * 5000 + b"/.git"):
        link = item(BLOB, target)
        root = tree((b"120000", b"l", link.oid))
        judge(commit(root.oid), root, link)


def test_gitmodules_in_the_pack_are_judged() -> None:
    bad = item(BLOB, b'[submodule "x"]\n\turl = -u./payload\n\tpath = x\n')
    for name in (b".gitmodules", b".gitmodules ", b"gi7eba~1"):
        root = tree((b"100644", name, bad.oid))
        with pytest.raises(BadObject, match="gitmodulesUrl"):
            judge(commit(root.oid), root, bad)
    unreadable = item(BLOB, b"<<<<<<< HEAD\n")
    root = tree((b"100644", b".gitmodules", unreadable.oid))
    with pytest.raises(BadObject, match="gitmodulesParse"):
        judge(commit(root.oid), root, unreadable)
    findings: list[Finding] = []
    items = [commit(root.oid), root, unreadable]
    check_pack(None, items, SHA1, LIMITS, leniency=Leniency(promised=True), findings=findings)
    assert kinds(findings) == ["gitmodulesParse"]
    assert findings[0].oid == unreadable.oid


def test_contents_outside_of_the_pack_are_judged_where_they_can_be_read() -> None:
    root = tree((b"120000", b"l", FAR))
    items = [commit(root.oid), root]
    check_pack(None, items, SHA1, LIMITS, read=giving({}))
    with pytest.raises(BadObject, match="a symbolic link into a"):
        check_pack(None, items, SHA1, LIMITS, read=giving({FAR: b".git/x"}))


def test_what_another_pack_brought_is_read_as_far_as_what_this_one_brings() -> None:
    asked: list[int] = []

    def read(_oid: ObjectId, most: int) -> RawObject:
        asked.append(most)
        return RawObject(BLOB, 3 << 30, None)

    for mode, name in ((b"120000", b"l"), (b"100644", b".gitmodules"), (b"100644", b".gitattributes")):
        root = tree((mode, name, FAR))
        findings: list[Finding] = []
        items = [commit(root.oid), root]
        check_pack(None, items, SHA1, LIMITS, read=read, leniency=EVERYTHING, findings=findings)
        assert kinds(findings) == (["gitmodulesLarge"] if name == b".gitmodules" else [])
    assert asked == [4096, 1 << 20]


def test_each_link_s_target_is_read_and_judged_once_for_however_many_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    read_bytes: list[int] = []
    judged: list[bytes] = []
    fault = names.link_fault
    monkeypatch.setattr(names, "link_fault", lambda target: (judged.append(target), fault(target))[1])
    slashes, path = item(BLOB, b"/" * (5 << 20)), item(BLOB, b"/" * 4096)
    giver = giving({slashes.oid: slashes.data or b"", path.oid: path.data or b""})

    def read(oid: ObjectId, most: int) -> RawObject | None:
        raw = giver(oid, most)
        assert raw is not None
        read_bytes.append(len(raw.data or b""))
        return raw

    inside = Inside()
    for number in range(3):
        links = [(b"120000", b"%d-%04d" % (number, n), (slashes, path)[n % 2].oid) for n in range(1000)]
        root = tree(*links)
        check_pack(None, [commit(root.oid), root], SHA1, LIMITS, read=read, inside=inside)
    assert sorted(read_bytes) == [0, 4096]
    assert judged == [path.data]


def test_contents_that_the_decoder_did_not_hold_are_read_or_refused() -> None:
    link = item(BLOB, b".git/x")
    root = tree((b"120000", b"l", link.oid))
    items = [commit(root.oid), root, link._replace(data=None)]
    with pytest.raises(BadObject, match="cannot be read"):
        judge(*items)
    with pytest.raises(BadObject, match="a symbolic link into a"):
        check_pack(None, items, SHA1, LIMITS, read=giving({link.oid: b".git/x"}))
    check_pack(None, items, SHA1, LIMITS, read=giving({link.oid: b"x"}))
    huge = Decoded(FAR, BLOB, 40 << 20, None, ENTRY)
    root = tree((b"100644", b".gitmodules", FAR))
    with pytest.raises(BadObject, match="gitmodulesLarge"):
        judge(commit(root.oid), root, huge)


@settings(max_examples=500, deadline=None)
@given(kind=st.sampled_from([COMMIT, TREE, TAG]), data=st.data())
def test_any_bytes_are_good_or_a_bad_object_and_nothing_else(kind: int, data: st.DataObject) -> None:
    seeds = {COMMIT: commit(FAR, FAR).data, TREE: ROOT.data, TAG: tag(FAR, b"commit").data}
    raw = bytearray(seeds[kind] or b"")
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=6)):
        raw[at : at + data.draw(st.integers(0, 3))] = bytes([byte])
    one = item(kind, bytes(raw))
    try:
        judge_one(one)
    except BadObject as why:
        assert why.oid == one.oid


def test_a_listed_fault_comes_in_where_the_catalogue_names_its_object_and_no_other() -> None:
    link = item(BLOB, b".git/hooks/x")
    root = tree((b"120000", b"l", link.oid))
    items = [commit(root.oid), root, link]
    findings: list[Finding] = []
    check_pack(None, items, SHA1, LIMITS, leniency=Leniency(True, {link.oid}), findings=findings)
    assert [(f.oid, f.fault.name) for f in findings] == [(link.oid, "linkIntoDotgit")]
    for leniency in (Leniency(True, {root.oid, FAR}), Leniency(False, {link.oid})):
        with pytest.raises(BadObject, match="a symbolic link into a") as caught:
            check_pack(None, items, SHA1, LIMITS, leniency=leniency)
        assert caught.value.oid == link.oid


def test_a_carried_link_counts_once_and_not_again_in_each_later_tree() -> None:
    link = item(BLOB, b".git/annex/objects/a/b")
    for in_pack in (True, False):
        root = tree((b"120000", b"l", link.oid))
        items = [commit(root.oid), root, *([link] if in_pack else [])]
        findings: list[Finding] = []
        read = giving({link.oid: link.data or b""})
        check_pack(None, items, SHA1, LIMITS, read=read, leniency=Leniency(promised=True), findings=findings)
        assert kinds(findings) == (["annexLink"] if in_pack else [])


def test_a_gitattributes_is_looked_into() -> None:
    long = item(BLOB, b"a" * 2048 + b" text\n")
    root = tree((b"100644", b".gitattributes", long.oid))
    items = [commit(root.oid), root, long]
    with pytest.raises(BadObject, match="gitattributesLineLength"):
        judge(*items)
    findings: list[Finding] = []
    check_pack(None, items, SHA1, LIMITS, leniency=EVERYTHING, findings=findings)
    assert [f.text for f in findings] == ["gitattributesLineLength: 2053 bytes"]
    huge = Decoded(FAR, BLOB, 101 << 20, None, ENTRY)
    root = tree((b"100644", b".gitattributes", FAR))
    check_pack(None, [commit(root.oid), root, huge], SHA1, LIMITS, leniency=EVERYTHING, findings=findings)
    assert kinds(findings)[1:] == ["gitattributesLarge"]


def test_every_fault_is_named_once_and_strangers_bring_only_what_is_carried() -> None:
    assert len({fault.name for fault in TABLE}) == len(TABLE)
    assert all(fault.severity is Severity.CARRIED for fault in TABLE if fault.from_strangers)


@pytest.mark.parametrize("text", [b"", b"\n", b"a" * 2047, b"a" * 2047 + b"\n" + b"b" * 2047, b"\n" * 5000])
def test_lines_of_a_gitattributes_that_git_reads_are_good(text: bytes) -> None:
    assert Inside().faults(names.GITATTRIBUTES, FAR, giving({FAR: text})) == ()


@settings(max_examples=300, deadline=None)
@given(lines=st.lists(st.integers(0, 4) | st.integers(2040, 2060) | st.integers(0, 9000), max_size=8))
def test_the_longest_line_of_a_gitattributes_is_found(lines: list[int]) -> None:
    longest = max(lines, default=0)
    found = Inside().faults(names.GITATTRIBUTES, FAR, giving({FAR: b"\n".join(b"a" * n for n in lines)}))
    assert found == ((f"gitattributesLineLength: {longest} bytes",) if longest >= 2048 else ())


def test_of_many_lines_of_a_gitattributes_no_list_is_made() -> None:
    data = b"\n" * (20 << 20)
    read = giving({FAR: data})
    tracemalloc.start()
    try:
        assert Inside().faults(names.GITATTRIBUTES, FAR, read) == ()
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def peak_bytes(one: Decoded) -> int:
    """How much memory it takes to refuse it."""
    tracemalloc.start()
    try:
        with pytest.raises(CorruptPack, match="over the limit"):
            judge_one(one, EVERYTHING)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_each_tree_is_looked_at_a_few_times_for_the_depth_however_often_it_is_named() -> None:
    looked: list[int] = []

    class Children(list[ObjectId]):
        def __iter__(self) -> Iterator[ObjectId]:
            looked.append(len(looked))
            return super().__iter__()

    ids = [ObjectId(b"%020d" % n) for n in range(50)]
    check = _PackCheck([A], SHA1, LIMITS, None, Inside(), STRANGERS, [], None, {})
    check._subtrees = {oid: Children([below] * 1000) for oid, below in pairwise(reversed(ids))}
    check._subtrees[ids[0]] = Children()
    check._check_depth()
    assert len(looked) < 4 * len(ids)


def test_what_no_history_has_is_refused_without_a_list_of_its_parts() -> None:
    size = 8 * MIB
    id_ = b"a" * 40
    for one in (
        tree((b"100644", b"\\" * size, ObjectId(bytes(19) + b"a"))),
        item(COMMIT, b"tree %s\n" % id_ + b"a\n" * (size // 2)),
        item(COMMIT, b"tree %s\n" % id_ + b"parent %s\n" % id_ * (size // 48)),
        item(TAG, b"object %s\ntype commit\ntag v1\n" % id_ + b"a\n" * (size // 2)),
    ):
        assert peak_bytes(one) < 4 * size


def test_the_longest_names_and_headers_that_are_let_in() -> None:
    name = b"\\" * names.NAME_BYTES
    assert kinds(judge_one(tree((b"100644", name, ObjectId(bytes(19) + b"a"))), EVERYTHING)) == ["largePathname"]
    limits = replace(LIMITS, component_bytes=1 << 62)
    root = tree((b"100644", name + b"x", ObjectId(bytes(19) + b"a")))
    with pytest.raises(BadObject, match="over the limit name: 65537 bytes where 65536 are allowed"):
        judge(commit(root.oid), root, limits=limits)
    head = b"tree %s\nauthor %s\ncommitter %s\n" % (b"a" * 40, *[b"A <a@b> 1 +0000"] * 2)
    for more, is_good in ((0, True), (1, False)):
        raw = head + b"x" * (HEADER_BYTES - len(head) + more) + b"\n\nmessage"
        assert find_in_commit(raw, SHA1) == []
        if is_good:
            assert judge_one(item(COMMIT, raw)) == []
        else:
            with pytest.raises(BadObject, match="over the limit header"):
                judge_one(item(COMMIT, raw))
