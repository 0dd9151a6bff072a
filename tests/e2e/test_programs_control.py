# SPDX-License-Identifier: GPL-3.0-or-later
"""The control directory by ordinary programs: what is read there, and what may be copied there."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import libtorrent as lt
from house import ROOT, House, Key
from waiting import wait_for

REFUSED = [r"what was copied to \.gtfs/\S+ is refused: "]


def infohash(path: Path) -> str:
    return hashlib.sha1(lt.bencode(lt.bdecode(path.read_bytes())[b"info"])).hexdigest()


def test_a_catalogue_copied_in_is_followed_and_a_bad_one_refused(house: House, pub: Path, stranger: Key) -> None:
    publisher = house.mount(pub, "A")
    mirror = house.mount_mirror(publisher, "M", "poll=1h", expected=REFUSED)
    house.gtfs("sync", mirror.dir)
    control, latest = mirror.dir / ".gtfs", pub / "gtfs" / "catalogue" / "latest.asc"
    first = latest.read_bytes()
    assert (control / "catalogue").read_bytes() == first

    foreign = house.root / "foreign.asc"
    foreign.write_bytes(stranger.clearsign(first.split(b"\n\n", 1)[1].split(b"-----BEGIN PGP SIGNATURE")[0]))
    garbage = house.root / "garbage"
    garbage.write_bytes(b"Version: 99\n" * 1000)
    for source, error in ((foreign, "Permission denied"), (garbage, "Bad message")):
        for command in (
            ["cp", source, control],
            ["cp", source, control / "catalogue"],
            ["rsync", source, f"{control}/"],
        ):
            done = house.run(command, code=None)
            assert done.code != 0, command
            assert error in done.err, done
    big = house.run(["dd", "if=/dev/zero", f"of={control / 'big'}", "bs=1M", "count=17", "status=none"], code=None)
    assert "File too large" in big.err
    assert (control / "catalogue").read_bytes() == first
    assert {p.name for p in control.iterdir()} == {
        "catalogue", "quarantine", "reels", "refs", "signoffs", "status", "torrents"
    }  # fmt: skip

    new = house.commit(pub, "more", {"more": b"more\n"})
    house.gtfs("publish", pub)
    house.run(["cp", "-a", latest, control])
    assert (control / "catalogue").read_bytes() == latest.read_bytes()
    mirror.wait_unpacked(new)  # it was whole before, and so it is again
    wait_for(lambda: house.refs(mirror.repository) == house.refs(pub), "refs follow")
    house.run(["rsync", "-a", latest, f"{control}/"])  # no news, no error
    old = house.root / "old.asc"
    old.write_bytes(first)
    done = house.run(["sh", "-c", f"cat '{old}' >'{control / 'catalogue'}'"], code=None)
    assert "Permission denied" in done.err
    assert mirror.status()["catalogue"]["version"] == 2


def test_a_torrent_copied_in_is_kept_if_the_catalogue_lists_its_reel(house: House, pub: Path) -> None:
    publisher = house.mount(pub, "A")
    mirror = house.mount(
        pub / "gtfs" / "catalogue" / "latest.asc", "M", "offline", *house.mirror_options(),
        repository=house.root / "M.git", expected=[*REFUSED, "is not in the swarm"],
    )  # fmt: skip
    ours, theirs = mirror.dir / ".gtfs" / "torrents", publisher.dir / ".gtfs" / "torrents"
    names = sorted(p.name for p in theirs.iterdir())
    assert names
    assert [p.exists() for p in map(ours.joinpath, names)] == [False] * len(names)
    house.run(["cp", *map(theirs.joinpath, names), ours])
    assert [infohash(ours / name) for name in names] == [infohash(theirs / name) for name in names]

    oid = sorted(publisher.packs())[0]
    done = house.run(["cp", theirs / f"{oid}.pack.torrent", ours], code=None)
    assert "Permission denied" in done.err
    (house.root / "x.torrent").write_bytes(b"d4:infod6:lengthi5eee"[:-3])
    done = house.run(["cp", house.root / "x.torrent", ours], code=None)
    assert "Bad message" in done.err
    done = house.run(["cp", house.root / "x.torrent", mirror.dir / ".gtfs" / "reels"], code=None)
    assert "Operation not permitted" in done.err


def test_quarantine_and_sign_offs_tell_what_was_let_in_and_what_not_and_why(house: House, pub: Path) -> None:
    a, b = house.mount(pub, "A", "offline"), house.mount(house.empty(), "B", "offline", expected=["refused "])
    root = house.git(pub, "rev-list", "--max-parents=0", "main")
    house.run(["cp", a.pack(root), b.dir])
    b.wait_unpacked(root)
    signoff = (b.dir / ".gtfs" / "signoffs" / f"{root}.asc").read_text()
    assert root in signoff
    assert hashlib.sha256(a.pack(root).read_bytes()).hexdigest() in signoff
    gpg = ["gpg", "--batch", "--no-default-keyring", "--keyring", house.root / "ring.gpg"]
    house.run([*gpg, "--import", b.repository / "gtfs" / "keys" / "node.asc"], code=None)
    house.run([*gpg, "--verify", b.dir / ".gtfs" / "signoffs" / f"{root}.asc"])

    other = "12" * 20
    done = house.run(["cp", a.pack(root), b.pack(other)], code=None)
    assert "Bad message" in done.err
    kept = b.dir / ".gtfs" / "quarantine"
    (pack,) = (p for p in kept.iterdir() if p.name.endswith(".pack"))
    reason = pack.with_name(f"{pack.name}.reason").read_text().strip()
    assert pack.read_bytes() == a.pack(root).read_bytes()
    assert b.status()["quarantine"] == [{"file": pack.name, "reason": reason}]
    assert reason
    assert not b.pack(other).exists()


def _keys(value: Any) -> set[str]:
    """The keys of objects, those apart that are names of reels, trackers and states."""
    if isinstance(value, list):
        return set().union(*map(_keys, value))
    if not isinstance(value, dict):
        return set()
    named = {k for k in value if not re.fullmatch(r"[0-9a-f]{40,64}|\w+://.*", k)}
    return named.union(*(_keys(v) for v in value.values()))


def test_every_key_of_status_is_in_the_manual(house: House, pub: Path) -> None:
    publisher = house.mount(pub, "A")
    mirror = house.mount_mirror(publisher, "M")
    house.gtfs("sync", mirror.dir)
    page = (ROOT / "man" / "gtfs.1").read_text()
    section = page[page.index(".Ss Of status") : page.index(".Ss Of sync")]
    documented = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"(?m)^\.(?:It )?Cm (.*)$", section))))
    for mount in (publisher, mirror):
        text = (mount.dir / ".gtfs" / "status").read_text()
        assert _keys(json.loads(text)) | _keys(mount.fresh_status()) <= documented
