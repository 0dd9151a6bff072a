# SPDX-License-Identifier: GPL-3.0-or-later
"""Refs in chunks that a signed text names (design.md §5): made, read back, and refused."""

from __future__ import annotations

import dataclasses
import hashlib
import random
import re
from collections.abc import Callable

import pytest
from documents import catalogue

from gtfs.catalogue import refchunks
from gtfs.catalogue.document import BadCatalogue, Catalogue, from_text, text_alone
from gtfs.catalogue.refchunks import ChunksMissing, missing_chunks, places_of, read_tree
from gtfs.catalogue.reftree import CHUNK_BYTES, LEAST, TOP, Chunk, RefTree, Top, name_chunk, plant
from gtfs.ids import SHA1, SHA256, ObjectId
from gtfs.metainfo import metainfo_of
from gtfs.trust import refnames
from gtfs.trust.refnames import BadRefName, check_ref_name

HEX = "07" * 20
OID = ObjectId(bytes.fromhex(HEX))


def many(count: int, seed: int = 1) -> dict[bytes, ObjectId]:
    at = random.Random(seed)
    names = sorted(b"refs/heads/%02d/%07d" % (at.randrange(20), n) for n in range(count))
    return {name: ObjectId(at.randbytes(20)) for name in names}


def source(tree: RefTree) -> Callable[[Chunk], bytes | None]:
    return lambda chunk: tree.data.get(chunk.digest)


def by_hand(*chunks: bytes, levels: int = 0, refs: int = 1, below: tuple[bytes, ...] = ()) -> tuple[Top, RefTree]:
    """A text's word for these chunks, and a source of them that nobody has read."""
    every = (*chunks, *below)
    top = Top(levels, refs, len(every), sum(map(len, every)), tuple(map(name_chunk, chunks)))
    return top, RefTree((), (), {name_chunk(data).digest: data for data in every})


def refused(*chunks: bytes, levels: int = 0, refs: int = 1, below: tuple[bytes, ...] = ()) -> str:
    top, tree = by_hand(*chunks, levels=levels, refs=refs, below=below)
    with pytest.raises(BadCatalogue) as caught:
        read_tree(top, source(tree), SHA1)
    assert caught.value.field == "Refs"
    return caught.value.reason


def line(name: str) -> bytes:
    return f"{HEX} {name}\n".encode()


@pytest.mark.parametrize("count", [0, 1, LEAST, 500, 3000])
def test_a_tree_that_was_made_is_read_back_with_its_refs_in_order(count: int) -> None:
    refs = many(count)
    tree = plant(refs)
    top = tree.to_top(with_torrent=False)
    read = read_tree(top, source(tree), SHA1)
    assert read == tree and list(read.refs.items()) == list(refs.items())
    assert len(top.top) <= TOP and (top.levels > 0) == (count == 3000)


def test_what_changes_between_two_trees_is_a_chunk_of_each_level() -> None:
    refs = many(20_000)
    tree = plant(refs)
    for name in list(refs)[::2500]:
        after = plant({**refs, name: OID}, tree)
        new = after.data.keys() - tree.data.keys()
        assert len(new) == 1 + len(tree.above) and after == plant({**refs, name: OID})


def test_a_tree_made_from_another_is_the_one_made_from_nothing() -> None:
    at = random.Random(7)
    for _ in range(60):
        refs = {b"refs/heads/%s%d" % (b"x" * at.choice([1, 30, 200]), at.randrange(4000)): OID for _ in range(400)}
        refs = dict(sorted(refs.items()))
        new = {name: ObjectId(at.randbytes(20)) if at.random() < 0.01 else OID for name in refs if at.random() < 0.99}
        new |= {b"refs/tags/%d" % at.randrange(99): OID for _ in range(at.randrange(3))}
        new = dict(sorted(new.items()))
        assert plant(new, plant(refs)) == plant(new)


def test_the_text_of_format_2_names_chunks_and_says_all_else() -> None:
    whole = catalogue(3, "00" * 32, refs=many(2000), head=b"refs/heads/main").in_chunks(None)
    text = whole.to_text()
    assert text.startswith("Format: gtfs-catalogue-2\n") and "Ref-Torrent" not in text and len(text) < 4000
    assert whole.tree is not None
    back = from_text(text.encode(), source(whole.tree))
    assert back == whole and back.refs == many(2000) and back.tree == whole.tree
    alone = text_alone(text.encode())
    assert alone.refs == {} and alone.tree is None and alone.top == whole.top
    assert alone == dataclasses.replace(whole, refs={})


def test_where_there_is_a_feed_key_the_text_names_the_torrent_of_its_chunks() -> None:
    whole = catalogue(3, "00" * 32, refs=many(3000), feed_key="0f" * 32).in_chunks(None)
    assert whole.top is not None and whole.tree is not None and whole.top.infohash is not None
    data = b"".join(whole.tree.bytes_in_order())
    assert whole.top.infohash == metainfo_of("catalogue.chunks", len(data), [data])[1]
    for chunk, place in places_of(whole.top, source(whole.tree)).items():
        assert hashlib.sha256(data[place : place + chunk.size]).hexdigest() == chunk.digest
    assert from_text(whole.to_text().encode(), source(whole.tree)) == whole


def test_without_its_chunks_a_text_gives_no_catalogue_but_says_which_are_missing() -> None:
    whole = catalogue(3, "00" * 32, refs=many(3000)).in_chunks(None)
    tree, top = whole.tree, whole.top
    assert tree is not None and top is not None and top.levels == 1
    with pytest.raises(ChunksMissing, match=top.top[0].digest) as caught:
        from_text(whole.to_text().encode())
    assert caught.value.chunks == top.top == tuple(missing_chunks(top, lambda _chunk: None))
    here = {chunk.digest for chunk in top.top}
    below = missing_chunks(top, lambda chunk: tree.data[chunk.digest] if chunk.digest in here else None)
    assert below == [leaf.chunk for leaf in tree.leaves]
    assert missing_chunks(top, source(tree)) == []


def test_a_chunk_of_other_bytes_or_another_size_is_refused_before_it_is_parsed() -> None:
    top, tree = by_hand(line("refs/heads/a"))
    chunk = top.top[0]
    for other, says in ((line("refs/heads/b"), "other bytes"), (b"", "0 bytes"), (line("refs/heads/aa"), "55 bytes")):
        with pytest.raises(BadCatalogue, match=says):
            read_tree(top, lambda _chunk, other=other: other, SHA1)  # type: ignore[misc]
    wrong = dataclasses.replace(top, size=chunk.size + 1, top=(Chunk(chunk.digest, chunk.size + 1),))
    with pytest.raises(BadCatalogue, match="and its catalogue says"):
        read_tree(wrong, source(tree), SHA1)


def test_a_known_chunk_is_held_to_the_size_that_is_said_now() -> None:
    known = plant(many(10))
    top = known.to_top(with_torrent=False)
    wrong = dataclasses.replace(top, size=top.size + 1, top=(Chunk(top.top[0].digest, top.size + 1),))
    with pytest.raises(BadCatalogue, match="and its catalogue says"):
        read_tree(wrong, source(known), SHA1, known)


def test_more_chunks_or_bytes_than_the_text_says_are_not_asked_for() -> None:
    leaves = [line(f"refs/heads/{n}") for n in range(5)]
    above = b"".join(b"%s %d\n" % (name_chunk(leaf).digest.encode(), len(leaf)) for leaf in leaves)
    top, tree = by_hand(above, levels=1, refs=5, below=tuple(leaves))
    assert len(read_tree(top, source(tree), SHA1).refs) == 5
    asked = []

    def ask(chunk: Chunk) -> bytes | None:
        asked.append(chunk)
        return tree.data.get(chunk.digest)

    for less in ({"chunks": 5}, {"size": top.size - 1}):
        asked.clear()
        with pytest.raises(BadCatalogue, match="names more than the"):
            read_tree(dataclasses.replace(top, **less), ask, SHA1)  # type: ignore[arg-type]
        assert len(asked) == 1
    for more in ({"chunks": 7}, {"size": top.size + 1}, {"refs": 6}):
        with pytest.raises(BadCatalogue, match="not as many"):
            read_tree(dataclasses.replace(top, **more), source(tree), SHA1)  # type: ignore[arg-type]


def test_a_chunk_that_is_named_twice_is_refused() -> None:
    one = line("refs/heads/a")
    assert "named twice" in refused(one, one)
    above = b"%s %d\n" % (name_chunk(one).digest.encode(), len(one))
    top = Top(1, 2, 3, 2 * len(one) + 2 * len(above), (name_chunk(above * 2),))
    data = {name_chunk(above * 2).digest: above * 2, name_chunk(one).digest: one}
    with pytest.raises(BadCatalogue, match="named twice"):
        read_tree(top, lambda chunk: data[chunk.digest], SHA1)


@pytest.mark.parametrize(
    ("chunks", "says"),
    [
        ((line("refs/heads/b"), line("refs/heads/a")), "not in order"),
        ((line("refs/heads/a") + line("refs/heads/b"), line("refs/heads/b") + line("refs/heads/c")), "not in order"),
        ((line("refs/heads/b") + line("refs/heads/a"),), "not in order"),
        ((line("refs/heads/a"), line("refs/heads/a/b")), "exclude each other"),
        ((line("refs/heads/a"), line("refs/heads/a-b"), line("refs/heads/a/b")), "exclude each other"),
        ((line("refs/heads/../../x"),), "git does not allow"),
        ((line("refs/heads/.x"),), "git does not allow"),
        ((line("refs/heads/a\x01b"),), "not spelled"),
        ((line("refs/heads/a%01b"),), "git does not allow"),
        ((line("refs/heads/a\tb"),), "not spelled"),
        ((line("refs/heads/a") + b"\n",), "not"),
        ((line("refs/gtfs/tips/1"),), "belongs to each node"),
        ((line("refs/heads/a")[:-1],), "not lines of ASCII"),
        ((line("refs/heads/\xe9"),), "not lines of ASCII"),
        ((b"\n",), "not"),
        ((b"00" * 20 + b" refs/heads/a\n",), "is no id of a sha1"),
        ((b"07" * 32 + b" refs/heads/a\n",), "is no id of a sha1"),
        ((b"x" * (CHUNK_BYTES - 1) + b"\n",), "not"),
    ],
)
def test_refs_in_chunks_are_read_as_strictly_as_in_a_text(chunks: tuple[bytes, ...], says: str) -> None:
    assert says in refused(*chunks, refs=sum(chunk.count(b"\n") for chunk in chunks))


@pytest.mark.parametrize("beside", ["refs/heads/m/0000001", "refs/heads/m", "refs/heads"])
def test_a_name_that_excludes_one_that_was_known_is_refused(beside: str) -> None:
    refs = dict(sorted({**many(300), b"refs/heads/m/0000001/x": OID, b"refs/heads/m/0000002": OID}.items()))
    known = plant(refs)
    new = plant(dict(sorted({**refs, beside.encode(): OID}.items())), known)
    with pytest.raises(BadCatalogue, match="exclude each other"):
        read_tree(new.to_top(with_torrent=False), source(new), SHA1, known)
    down = plant(dict(sorted({**refs, b"refs/heads/m/0000002/below": OID}.items())), known)
    with pytest.raises(BadCatalogue, match="exclude each other"):
        read_tree(down.to_top(with_torrent=False), source(down), SHA1, known)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Ref-Chunks: 0 ", "Ref-Chunks: 5 "),
        ("Ref-Chunks: 0 3 ", "Ref-Chunks: 0 03 "),
        ("Ref-Chunks: 0 3 1 ", "Ref-Chunks: 0 3 65537 "),
        ("Ref-Chunks: 0 3 1 162", "Ref-Chunks: 0 3 1 67108865"),
        (" 162\nReels", " 65537\nReels"),
        (" 162\nReels", " 0\nReels"),
        (" 162\nReels", "\nReels"),
        ("Refs:\n ", "Refs:\n ../"),
        ("Refs:\n ", "Refs:\n A"),
    ],
)
def test_what_a_text_says_of_its_chunks_is_read_strictly(old: str, new: str) -> None:
    refs = {b"refs/heads/%d" % n: OID for n in range(3)}
    text = catalogue(1, refs=refs).in_chunks(None).to_text()
    assert old in text
    with pytest.raises(BadCatalogue, match="catalogue refused"):
        text_alone(text.replace(old, new).encode())


def test_a_text_of_format_2_without_its_counts_is_refused() -> None:
    lines = catalogue(1, refs=many(3)).in_chunks(None).to_text().splitlines(True)
    with pytest.raises(BadCatalogue, match="Ref-Chunks"):
        text_alone("".join(line for line in lines if not line.startswith("Ref-Chunks")).encode())


def test_chunks_of_a_sha256_repository_hold_longer_ids() -> None:
    refs = {b"refs/heads/a": ObjectId(bytes(range(32)))}
    whole = catalogue(1, object_format=SHA256, refs=refs).in_chunks(None)
    assert whole.tree is not None
    assert from_text(whole.to_text().encode(), source(whole.tree)).refs == refs


def test_usual_names_are_judged_as_all_others() -> None:
    at = random.Random(3)
    parts = [
        b"a",
        b"A-b",
        b"x.y",
        b".x",
        b"x.",
        b"..",
        b"x.lock",
        b"lock",
        b"gtfs",
        b"gtfs/x",
        b"",
        b"@{",
        b"~",
        b"\x01",
    ]
    parts += [b"x" * 255, b"x" * 256, b"heads", b"a.lock.b", b"_", b"%", b"\xff"]
    usual, never = refnames._USUAL, re.compile(rb"(?!)")
    for _ in range(3000):
        name = b"/".join([at.choice([b"refs", b"refs", b"refs", b"ref"]), *at.choices(parts, k=at.randrange(1, 5))])
        verdicts = []
        for pattern in (usual, never):
            refnames._USUAL = pattern  # type: ignore[misc]
            try:
                check_ref_name(name)
            except BadRefName as error:
                verdicts.append(error.reason)
            else:
                verdicts.append("")
        refnames._USUAL = usual  # type: ignore[misc]
        assert verdicts[0] == verdicts[1], name


def test_small_catalogues_stay_of_format_1() -> None:
    plain: Catalogue = catalogue(1, refs=many(10))
    assert plain.top is None and plain.to_text().startswith("Format: gtfs-catalogue-1\n")


def test_a_leaf_of_usual_names_is_read_as_one_with_others_is() -> None:
    at = random.Random(11)
    usual, never = refchunks._USUAL_LEAF, dict.fromkeys((20, 32), re.compile(rb"(?!)"))
    ids = [HEX] * 6 + ["00" * 20, "07" * 32, "A7" * 20, "07" * 19]
    ends = ["a", "b", "c/d", "c", "x.lock", ".x", "x.", "x..y", "%41", "%FC", "y" * 250, "y" * 256, "é"]
    outcomes = set()
    for _ in range(4000):
        names = sorted(
            at.choice(["refs/heads/", "refs/", "refs/gtfs/", "refs//", "x/"]) + at.choice(ends) for _ in range(2)
        )
        lines = [f"{at.choice(ids)} {name}\n" for name in (at.choice([names, names[::-1], names[:1]]))]
        chunk = "".join(lines).encode()
        found = []
        for pattern in (usual, never):
            refchunks._USUAL_LEAF = pattern  # type: ignore[misc]
            top, tree = by_hand(chunk, refs=len(lines))
            try:
                found.append(str(read_tree(top, source(tree), SHA1).refs))
            except BadCatalogue as error:
                found.append(error.reason)
        refchunks._USUAL_LEAF = usual  # type: ignore[misc]
        assert found[0] == found[1], chunk
        outcomes.add(found[0][:12])
    assert len(outcomes) > 6
