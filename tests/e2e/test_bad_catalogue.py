# SPDX-License-Identifier: GPL-3.0-or-later
"""Catalogues that must not be believed: by a new mirror, and by one that holds a good one already.

A running node may look at its feed at any time, so that a feed is never half written.
"""

from __future__ import annotations

import datetime
import re
from pathlib import Path

from house import House, Key
from waiting import wait_for

from gtfs.catalogue.document import digest
from gtfs.durable import replace_file
from gtfs.ids import InfoHash, ReelName
from gtfs.reel.index import Index
from gtfs.trust.verify import split_clearsigned


def text_of(document: bytes) -> bytes:
    return split_clearsigned(document)[0]


def field(text: bytes, name: str, value: str) -> bytes:
    """The text with another value of a field."""
    changed, count = re.subn(rb"(?m)^%s: .*$" % name.encode(), f"{name}: {value}".encode(), text)
    assert count == 1, f"{name} stands {count} times"
    return changed


def when(days: float) -> str:
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def next_version(document: bytes, **changes: str) -> bytes:
    """The text of the catalogue that may follow, with changes."""
    text = text_of(document)
    version = int(re.search(rb"(?m)^Version: (\d+)$", text)[1])  # type: ignore[index]
    fields = {"Version": str(version + 1), "Date": when(0), "Valid_Until": when(30), **changes}
    fields.setdefault("Previous", digest(text))
    if b"\nPrevious: " not in text:
        text = text.replace(b"\nDate: ", b"\nPrevious: -\nDate: ")
    for name, value in fields.items():
        text = field(text, name.replace("_", "-"), value)
    return text


def flip(document: bytes, what: bytes, skip: int = 0) -> bytes:
    """One byte altered, that much after the first place where ``what`` stands."""
    at = document.index(what) + len(what) + skip
    other = b"1" if document[at : at + 1] == b"0" else b"0"  # a hex digit and base64 alike
    return document[:at] + other + document[at + 1 :]


def bad_first_documents(house: House, good: bytes, stranger: Key) -> dict[str, tuple[bytes, str]]:
    """By name: a document, and what the line says of it."""
    text = text_of(good)
    return {
        "unsigned": (text, "not clear-signed"),
        "empty": (b"", "not clear-signed"),
        "a web page": (b"<!DOCTYPE html>\n<p>404</p>\n", "web page: give the address"),
        "by a stranger": (stranger.clearsign(text), "signature"),
        "one byte altered": (flip(good, b"\nRefs:\n "), "signature"),
        "one byte of the signature altered": (flip(good, b"BEGIN PGP SIGNATURE-----\n\n", 60), "refused"),
        "text before": (b"Refs: none\n" + good, "refused"),
        "text after": (good + b"More: text\n", "refused"),
        "no catalogue": (house.key.clearsign(b"Hello: world\n"), "Format"),
        "another format": (house.key.clearsign(field(text, "Format", "gtfs-catalogue-9")), "gtfs-catalogue-9"),
        "from the future": (house.key.clearsign(field(text, "Date", when(2))), "has not come"),
        "too large": (b"x" * (17 << 20), "over the limit catalogue"),
    }


def test_a_new_mirror_believes_none_of_them(house: House, pub: Path, stranger: Key) -> None:
    good = (pub / "gtfs" / "catalogue" / "latest.asc").read_bytes()
    m, feed, mirror = house.root / "m", house.root / "feed.asc", house.root / "mirror.git"
    m.mkdir()
    for name, (document, said) in bad_first_documents(house, good, stranger).items():
        feed.write_bytes(document)
        options = f"repo={mirror},keyring={house.key.public},offline"
        done = house.gtfs("mount", feed, m, "-o", options, code=None)
        assert said in done.line, name
        assert done.code == (5 if name == "too large" else 4), (name, done.line)
        assert not mirror.exists(), name
        assert list(m.iterdir()) == [], name
        assert done.out == "", name


def test_a_new_mirror_must_know_whom_to_believe(house: House, pub: Path, stranger: Key) -> None:
    source = pub / "gtfs" / "catalogue" / "latest.asc"
    mirror = house.root / "mirror.git"

    def refused(*options: str, code: int = 4) -> str:
        done = house.gtfs("sync", source, "-o", ",".join([f"repo={mirror}", "offline", *options]), code=code)
        assert not mirror.exists()
        return done.line

    line = refused()
    assert house.key.fingerprint in line and "keyring=" in line
    # The user's own GnuPG has the key, but nobody said that it may sign this.
    line = refused(f"gnupghome={house.key.gnupg_home}")
    assert house.key.fingerprint in line and "signer=" in line
    assert "signature" in refused(f"keyring={stranger.public}")
    line = refused(f"keyring={house.key.public}", f"signer={stranger.fingerprint}", code=3)
    assert f"no public key {stranger.fingerprint}" in line
    assert "/nowhere.gpg" in refused("keyring=/nowhere.gpg", code=3)
    assert str(house.root) in refused(f"keyring={house.root}", code=3)


def test_a_mirror_keeps_its_catalogue_and_its_refs(house: House, pub: Path, fresh: Path, stranger: Key) -> None:
    latest = pub / "gtfs" / "catalogue" / "latest.asc"
    first = latest.read_bytes()
    feed = house.root / "feed.asc"
    replace_file(feed, first)
    a = house.mount(pub, "A")
    b = house.mount(feed, "B", *house.mirror_options(a), repository=house.root / "B.git", expected=["feed "])
    house.commit(pub, "news", {"news": b"new\n"})
    house.gtfs("publish", pub)
    second = latest.read_bytes()
    replace_file(feed, second)
    house.gtfs("sync", b.dir)
    words = ["--name", "other", "--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home]
    house.gtfs("init", fresh, *words)
    house.gtfs("publish", fresh)
    house.keep_sound(fresh)
    other = (fresh / "gtfs" / "catalogue" / "latest.asc").read_bytes()
    refs, objects = house.refs(b.repository), house.objects(b.repository)
    sign = house.key.clearsign

    bad = bad_first_documents(house, second, stranger)
    bad.pop("from the future")
    bad["older than the held one"] = (first, "older than the held version 2")
    bad["of another repository"] = (other, "it is of other, not of project")
    bad["a chain that was altered"] = (sign(next_version(second, Previous="0" * 64)), "does not follow")
    bad["from the future"] = (sign(next_version(second, Date=when(2), Valid_Until=when(9))), "has not come")
    for name, (document, said) in bad.items():
        replace_file(feed, document)
        done = house.gtfs("sync", b.dir, code=None)
        assert said in done.line, name
        assert done.code == (5 if name == "too large" else 4), (name, done.line)
        status = b.status()
        assert said in status["feeds"][0]["error"], name
        assert status["catalogue"]["version"] == 2
        assert (b.dir / ".gtfs" / "catalogue").read_bytes() == second, name
    feed.unlink()
    assert "No such file" in house.gtfs("sync", b.dir, code=5).line
    assert house.refs(b.repository) == refs
    assert house.objects(b.repository) == objects
    assert b.alive() and len(b.packs()) == len(house.history(pub))

    # And then a good one: nothing of all that is remembered.
    house.commit(pub, "more", {"news": b"newer\n"})
    house.gtfs("publish", pub)
    replace_file(feed, latest.read_bytes())
    house.gtfs("sync", b.dir)
    assert house.refs(b.repository) == house.refs(pub)


def test_past_valid_until_a_mirror_serves_and_moves_no_ref(house: House, pub: Path) -> None:
    latest = pub / "gtfs" / "catalogue" / "latest.asc"
    feed = house.root / "feed.asc"
    replace_file(feed, latest.read_bytes())
    a = house.mount(pub, "A")
    b = house.mount(feed, "B", *house.mirror_options(a), repository=house.root / "B.git", expected=["stale"])
    house.gtfs("sync", b.dir)
    refs = house.refs(b.repository)
    main = house.git(pub, "rev-parse", "main~3")
    text = next_version(latest.read_bytes(), Date=when(-9), Valid_Until=when(-2))
    text = text.replace(
        house.git(pub, "rev-parse", "main").encode() + b" refs/heads/main", main.encode() + b" refs/heads/main"
    )
    replace_file(feed, house.key.clearsign(text))

    done = house.gtfs("sync", b.dir, code=4)
    assert "refs stay where they are" in done.line and "stale" in done.line
    assert house.refs(b.repository) == refs
    assert b.pack(main).read_bytes() == a.pack(main).read_bytes()
    assert b.status()["catalogue"]["stale"] is True
    assert "STALE, it counted until 20" in house.gtfs("status", b.dir).out
    b.unmount()
    assert "past its Valid-Until" in house.gtfs("fsck", b.repository).out

    # A new mirror shows it too, and says so.
    c = house.mount(feed, "C", *house.mirror_options(a), repository=house.root / "C.git", expected=["stale"])
    assert c.pack(main).read_bytes() == a.pack(main).read_bytes()
    assert "stale" in house.gtfs("sync", c.dir, code=4).line
    assert set(house.refs(c.repository)) == {"HEAD"}


def test_two_catalogues_of_one_version_stop_the_refs_and_both_are_kept(house: House, pub: Path) -> None:
    latest = pub / "gtfs" / "catalogue" / "latest.asc"
    feed = house.root / "feed.asc"
    replace_file(feed, latest.read_bytes())
    a = house.mount(pub, "A")
    b = house.mount(feed, "B", *house.mirror_options(a), repository=house.root / "B.git", expected=["two different"])
    house.gtfs("sync", b.dir)
    refs = house.refs(b.repository)
    other = house.key.clearsign(field(text_of(latest.read_bytes()), "Valid-Until", when(60)))
    replace_file(feed, other)

    done = house.gtfs("sync", b.dir, code=4)
    assert all("two" in line and "catalogues of" in line for line in done.err.splitlines())
    assert house.refs(b.repository) == refs
    assert "EQUIVOCATION" in house.gtfs("status", b.dir).out
    kept = {p.read_bytes() for p in (b.repository / "gtfs" / "catalogue").rglob("*") if p.is_file()}
    assert {other, latest.read_bytes()} <= kept
    b.unmount()
    assert "two different catalogues" in house.gtfs("fsck", b.repository, code=1).err
    house.forgive(b.repository)
    # It is remembered over a restart, and with the first document at the feed again.
    replace_file(feed, latest.read_bytes())
    b = house.mount(feed, "B", *house.mirror_options(a), repository=house.root / "B.git", expected=["two"])
    assert "two catalogues" in house.gtfs("sync", b.dir, code=4).line


def test_a_mounted_mirror_polls_a_bad_catalogue_and_goes_on(house: House, pub: Path, stranger: Key) -> None:
    latest = pub / "gtfs" / "catalogue" / "latest.asc"
    feed = house.root / "feed.asc"
    replace_file(feed, latest.read_bytes())
    a = house.mount(pub, "A")
    b = house.mount(
        feed, "B", *house.mirror_options(a), "poll=1", repository=house.root / "B.git", expected=["feed .*refused"]
    )
    house.gtfs("sync", b.dir)
    replace_file(feed, stranger.clearsign(text_of(latest.read_bytes())))
    wait_for(lambda: b.status()["feeds"][0]["error"], "the bad catalogue is seen")
    new = house.commit(pub, "news", {"news": b"new\n"})
    house.gtfs("publish", pub)
    replace_file(feed, latest.read_bytes())
    wait_for(lambda: house.refs(b.repository)["refs/heads/main"] == new, f"followed; log:\n{b.text()}")
    assert b.text().count("refused") == 1  # said once, not at every poll


def with_reel(text: bytes, size: int, rows: int) -> bytes:
    """The text with one more reel, which is nobody's."""
    return text + b" %s %s %d %d\n" % (b"a" * 64, b"b" * 40, size, rows)


def test_a_reel_of_any_size_that_can_be_written_fails_alone(house: House, pub: Path) -> None:
    latest = pub / "gtfs" / "catalogue" / "latest.asc"
    feed = house.root / "feed.asc"
    replace_file(feed, latest.read_bytes())
    a = house.mount(pub, "A")
    expected = ["1 reel of the catalogue cannot be had"]
    b = house.mount(feed, "B", *house.mirror_options(a), repository=house.root / "B.git", expected=expected)
    added = b""
    for size, rows, why in ((10**17, 1, "over the limit"), (10**18 - 1, 10**9 - 1, "over"), (200, 9999, "cannot hold")):
        text = next_version(feed.read_bytes()).removesuffix(added)
        added = with_reel(b"", size, rows)
        replace_file(feed, house.key.clearsign(text + added))
        done = house.gtfs("sync", b.dir, code=4)
        assert why in done.line and "a" * 64 in done.line
        assert b.alive() and house.refs(b.repository) == house.refs(pub)
    assert b.status()["catalogue"]["version"] == 4
    # The next good one is taken, also after a start with the bad one.
    b.unmount()
    b = house.mount(feed, "B", *house.mirror_options(a), repository=b.repository, expected=expected)
    replace_file(feed, house.key.clearsign(next_version(feed.read_bytes()).removesuffix(added)))
    house.gtfs("sync", b.dir)
    assert b.status()["catalogue"]["version"] == 5


def test_a_state_whose_catalogue_and_index_have_such_a_reel_starts(house: House, pub: Path) -> None:
    latest = pub / "gtfs" / "catalogue" / "latest.asc"
    feed = house.root / "feed.asc"
    replace_file(feed, latest.read_bytes())
    a = house.mount(pub, "A")
    b = house.mount(feed, "B", *house.mirror_options(a), repository=house.root / "B.git")
    house.gtfs("sync", b.dir)
    b.unmount()
    # As an older gtfs left it.
    document = house.key.clearsign(with_reel(next_version(latest.read_bytes()), 10**17, 1))
    for name in ("2.asc", "latest.asc"):
        (b.repository / "gtfs" / "catalogue" / name).write_bytes(document)
    index = Index(b.repository / "gtfs" / "node.db")
    index.reels.put(ReelName("a" * 64), InfoHash(b"\xbb" * 20), 10**17, 1, 2, "remote")
    index.close()
    replace_file(feed, document)
    b = house.mount(feed, "B", *house.mirror_options(a), repository=b.repository)
    assert b.status()["catalogue"]["version"] == 2
    assert "over the limit reel" in house.gtfs("sync", b.dir, code=4).line
    assert len(b.packs()) == len(house.history(pub))
