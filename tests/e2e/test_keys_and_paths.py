# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that change while nodes live, keyrings of many keys, and paths as people have them."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import House, Key
from waiting import WAIT_S, read_terminal, wait_readable

from gtfs.mount.options import escape_value


@pytest.fixture
def rotating(house: House, keys: Path) -> Iterator[Key]:
    """A publisher's key of this test alone: it gets new parts."""
    made = Key(keys, "rotating")
    house.key = made
    yield made
    made.close()


@pytest.mark.parametrize("name", ["example.org:8443", "d\udcff\udce9", 'q"x\\y,z'])
def test_any_path_is_a_path(house: House, fresh: Path, name: str) -> None:
    house.forgive(fresh)
    place = house.root / name
    place.mkdir()
    pub, mirror = place / "pub.git", place / "mirror.git"
    shutil.copytree(fresh, pub)
    house.keep_sound(pub, mirror)
    key = place / "k\udcfe.gpg"
    key.write_bytes(house.key.public.read_bytes())
    said = house.gtfs("init", pub, "--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home).out
    assert "next: gtfs publish" in said
    assert house.gtfs("publish", pub).err == ""
    assert house.gtfs("status", pub).err == ""
    assert os.fsencode(house.gtfs("status", "--json", pub).json()["repository"]) == os.fsencode(pub)
    assert "all well" in house.gtfs("fsck", pub).out
    assert house.gtfs("keys", pub).out.startswith("gtfs:")
    mount = house.mount(pub, "A")
    assert "running" in house.gtfs("status", mount.dir).out
    source = pub / "gtfs" / "catalogue" / "latest.asc"
    options = f"listen=127.0.0.1:0,nodht,keyring={escape_value(key)},peer=127.0.0.1:{mount.port}"
    house.gtfs("sync", source, "--into", mirror, "-o", options)
    # The second time, what comes has its bases in the mirror's repository.
    house.commit(pub, "more", {"README": b"changed\n" * 40}, "main")
    assert house.gtfs("publish", mount.dir).err == ""
    house.gtfs("sync", source, "--into", mirror, "-o", options)
    assert house.refs(mirror) == house.refs(pub)
    uri = next(line for line in house.gtfs("publish", "-v", pub).out.splitlines() if line.startswith("source file:"))
    house.gtfs("sync", uri.removeprefix("source "), "--into", mirror, "-o", options)
    mount.unmount()


def test_a_relative_path_with_a_colon_is_no_url(house: House, pub: Path) -> None:
    place = house.root / "example.org:8443"
    place.mkdir()
    shutil.copytree(pub, place / "pub.git")
    mount = house.mount("example.org:8443/pub.git", "A", "offline", repository=place / "pub.git")
    mount.unmount()
    assert "does not exist" in house.gtfs("sync", "host:nothing", code=3).line
    assert "scheme 'ftp'" in house.gtfs("sync", "ftp://host/x", code=2).line


def test_a_publishers_new_subkey_goes_with_a_running_node_and_its_mirror_is_told_what_to_give(
    house: House, fresh: Path, rotating: Key
) -> None:
    house.gtfs("init", fresh, "--sign-key", rotating.fingerprint, "--gnupg-home", rotating.gnupg_home)
    house.gtfs("publish", fresh)
    a = house.mount(fresh, "A")
    b = house.mount_mirror(a, "B", "prefetch", expected=["not in the keyring"])
    house.gtfs("sync", b.dir)
    rotating.gpg("--quick-add-key", rotating.fingerprint, "ed25519", "sign", "never")
    listing = rotating.gpg("--list-keys", "--with-colons").decode().splitlines()
    subkey = [line.split(":")[9] for line in listing if line.startswith("fpr:")][-1]
    house.commit(fresh, "signed by the new part", {"new": b"new\n"})
    assert "version 2" in house.gtfs("publish", a.dir).out
    told = house.gtfs("sync", b.dir, code=4).err
    assert subkey in told and rotating.fingerprint in told and "-o keyring=FILE" in told
    newer = house.root / "newer.gpg"
    newer.write_bytes(rotating.gpg("--export", rotating.fingerprint))
    assert house.gtfs("sync", b.dir, "-o", f"keyring={newer}").err == ""
    assert house.refs(b.repository) == house.refs(fresh)


def test_a_publisher_that_is_mounted_with_a_keyring_keeps_its_own_key(house: House, pub: Path, stranger: Key) -> None:
    a = house.mount(pub, "A", f"keyring={stranger.public}")
    house.commit(pub, "more", {"new": b"new\n"})
    assert "version 2" in house.gtfs("publish", a.dir).out
    a.unmount()
    assert "version 3" in house.gtfs("publish", "--force", pub).out


def test_of_a_keyring_of_many_keys_the_signer_has_to_be_named(house: House, pub: Path, stranger: Key) -> None:
    ring = house.root / "many.gpg"
    ring.write_bytes(stranger.public.read_bytes() + house.key.public.read_bytes())
    source, mirror = pub / "gtfs" / "catalogue" / "latest.asc", house.root / "mirror.git"
    options = f"offline,table_timeout=1,repo={mirror},keyring={ring}"
    said = house.gtfs("sync", source, "-o", options, code=4).line
    assert f"-o signer={house.key.fingerprint}" in said and not mirror.exists()
    house.gtfs("sync", source, "-o", f"{options},signer={stranger.fingerprint}", code=4)
    house.gtfs("sync", source, "-o", f"{options},signer={house.key.fingerprint}", code=None)
    assert house.gtfs("status", "--json", mirror).json()["catalogue"]["version"] == 1


def test_a_person_at_a_terminal_is_asked_with_the_names_of_the_key(house: House, pub: Path, stranger: Key) -> None:
    ring = house.root / "many.gpg"
    ring.write_bytes(stranger.public.read_bytes() + house.key.public.read_bytes())
    source, mirror = pub / "gtfs" / "catalogue" / "latest.asc", house.root / "mirror.git"
    ours, theirs = os.openpty()
    options = f"offline,table_timeout=1,nolsd,repo={mirror},keyring={ring}"
    process = house.start(["gtfs", "sync", source, "-o", options], terminal=theirs)
    os.close(theirs)
    seen = b""
    while b"Type yes: " not in seen:
        wait_readable(ours, f"it asks; so far it said {seen!r}")
        seen += os.read(ours, 1024)
    assert house.key.fingerprint.encode() in seen and b"publisher <publisher@example.org>" in seen
    os.write(ours, b"yes\n")
    read_terminal(ours)
    process.wait(WAIT_S)
    os.close(ours)
    assert house.gtfs("status", "--json", mirror).json()["catalogue"]["version"] == 1


@pytest.mark.parametrize(("typed", "code"), [(b"", 130), (b"\x04", 4)], ids=["interrupted", "Ctrl-D"])
def test_a_question_that_is_not_answered_is_no_yes_and_ends_at_once(
    house: House, pub: Path, stranger: Key, typed: bytes, code: int
) -> None:
    ring = house.root / "many.gpg"
    ring.write_bytes(stranger.public.read_bytes() + house.key.public.read_bytes())
    source, mirror = pub / "gtfs" / "catalogue" / "latest.asc", house.root / "mirror.git"
    ours, theirs = os.openpty()
    words = ["sync", source, "-o", f"offline,nolsd,repo={mirror},keyring={ring}"]
    process = house.start(["gtfs", *words], terminal=theirs)
    os.close(theirs)
    seen = b""
    while b"Type yes: " not in seen:
        wait_readable(ours, f"it asks; so far it said {seen!r}")
        seen += os.read(ours, 1024)
    os.write(ours, typed) if typed else process.send_signal(signal.SIGINT)
    assert process.wait(WAIT_S) == code
    assert b"Traceback" not in read_terminal(ours)
    os.close(ours)
    assert not mirror.exists()


def test_a_home_of_gnupg_that_is_not_there_is_said_to_be_so(house: House, fresh: Path) -> None:
    house.forgive(fresh)
    words = ["init", fresh, "--sign-key", house.key.fingerprint, "--gnupg-home", "/nowhere"]
    said = house.gtfs(*words, code=2).line
    assert "/nowhere is no directory" in said and "install" not in said


def test_a_policy_that_names_a_subkey_is_refused_where_it_is_typed(house: House, fresh: Path, rotating: Key) -> None:
    house.forgive(fresh)
    rotating.gpg("--quick-add-key", rotating.fingerprint, "ed25519", "sign", "never")
    listing = rotating.gpg("--list-keys", "--with-colons").decode().splitlines()
    subkey = [line.split(":")[9] for line in listing if line.startswith("fpr:")][-1]
    words = ["init", fresh, "--sign-key", rotating.fingerprint, "--gnupg-home", rotating.gnupg_home]
    said = house.gtfs(*words, "--policy", f"** every-commit by={subkey}", code=2).line
    assert subkey in said and rotating.fingerprint in said
    said = house.gtfs("init", fresh, "--sign-key", subkey, "--gnupg-home", rotating.gnupg_home, code=2).line
    assert rotating.fingerprint in said
