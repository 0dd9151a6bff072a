# SPDX-License-Identifier: GPL-3.0-or-later
"""A release is a signed tag and a push: the mirror has it, and an announcement that plain gpg verifies, once."""

from __future__ import annotations

import email
from pathlib import Path
from typing import Any

from house import House, Mount
from lockedkey import AT_TERMINAL, LockedKey
from waiting import wait_for


def clone(house: House, origin: Path) -> Path:
    work = house.root / "work"
    house.run(["git", "clone", "--quiet", f"file://{origin}", work])
    return work


def release(house: House, work: Path, name: str) -> str:
    """All that is typed; gives what the pusher reads."""
    home = {"GNUPGHOME": str(house.key.gnupg_home)}
    signed = ["git", "-C", work, "-c", f"user.signingKey={house.key.fingerprint}", "tag", "-s", name]
    house.run([*signed, "-m", f"Release {name}", "-m", "Much is new."], env=home)
    return house.run(["git", "-C", work, "push", "--quiet", "--follow-tags", "origin", "HEAD"]).err


def commit(house: House, work: Path, name: str) -> None:
    (work / name).write_text(f"{name}\n")
    house.git(work, "add", name)
    house.git(work, "commit", "--quiet", "-m", name)


def mails(house: House, box: Path) -> list[str]:
    """The files of the mails in a repository, if there is a first one."""
    return house.git(box, "ls-tree", "--name-only", "main", code=None).split()


def verify(house: House, box: Path, name: str) -> Any:
    """The mail, which plain gpg verifies by the publisher's public key alone, in a commit that git verifies."""
    home = house.home / ".gnupg"
    home.mkdir(mode=0o700, exist_ok=True)
    house.run(["gpg", "--quiet", "--batch", "--import", house.key.public])
    file = house.root / "mail.eml"
    file.write_text(house.git(box, "cat-file", "blob", f"main:{name}") + "\n")
    said = house.run(["gpg", "--batch", "--status-fd", "1", "--verify", file]).out
    assert f"VALIDSIG {house.key.fingerprint}" in said
    house.git(box, "verify-commit", "main")
    house.git(box, "fsck", "--strict")
    house.run(["gpgconf", "--kill", "all"], code=None)
    return email.message_from_bytes(file.read_bytes())


def outstanding(house: House, repository: Path) -> Any:
    return house.gtfs("status", "--json", repository).json()["publish"]["announcing"]


def has(house: House, mirror: Mount, oid: str) -> bool:
    return oid in house.git(mirror.repository, "for-each-ref", "--format=%(objectname)")


def test_a_signed_tag_that_is_pushed_is_on_the_mirror_and_announced(house: House, pub: Path) -> None:
    box = house.empty("announcements.git")
    work = clone(house, pub)
    a = house.mount(pub, "A", "nodht", "nolsd")
    house.gtfs("init", pub, "--publish=tags", "--announce", box)
    b = house.mount_mirror(a, "B", "prefetch", "poll=1")
    commit(house, work, "more")
    release(house, work, "v100")
    oid = house.git(work, "rev-parse", "v100")
    wait_for(lambda: has(house, b, oid), f"the mirror has the tag; log:\n{a.text()}{b.text()}")
    wait_for(lambda: mails(house, box), f"the tag is announced; log:\n{a.text()}")
    (name,) = mails(house, box)
    mail = verify(house, box, name)
    assert mail["Subject"] == "[project] v100: Release v100"
    assert oid in mail.get_payload()
    wait_for(lambda: outstanding(house, pub)["due"] == [], f"nothing more is due; log:\n{a.text()}")

    # The same again is no news, and the next one is.
    house.gtfs("publish", "--force", pub)
    release(house, work, "v101")
    wait_for(lambda: len(mails(house, box)) > 1, f"the next one is announced; log:\n{a.text()}")
    assert house.git(box, "rev-list", "--count", "main") == "2"


def test_announcements_reach_the_mirrors_of_their_own_publisher(house: House, pub: Path) -> None:
    box = house.empty("announcements.git")
    words = ["--name", "news", "--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home]
    house.gtfs("init", box, *words, "--publish=auto")
    house.keep_sound(box)
    house.gtfs("init", pub, "--publish=tags", "--announce", box, "--hook")
    work = clone(house, pub)
    n = house.mount(box, "N", "nodht", "nolsd")
    said = release(house, work, "v100")
    assert "gtfs: published version 2" in said and "gtfs: announced v100: commit " in said
    source = box / "gtfs" / "catalogue" / "latest.asc"
    wait_for(source.exists, f"its node publishes it; log:\n{n.text()}")
    mirror = house.root / "mirror.git"
    options = ",".join([f"keyring={house.key.public}", f"peer=127.0.0.1:{n.port}", "listen=127.0.0.1:0", "nodht"])
    house.gtfs("sync", source, "--into", mirror, "-o", options)
    (name,) = mails(house, mirror)
    assert verify(house, mirror, name)["Subject"] == "[project] v100: Release v100"
    house.keep_sound(mirror)


def test_what_would_be_announced_is_told(house: House, pub: Path) -> None:
    box = house.empty("announcements.git")
    house.gtfs("init", pub, "--announce", box)
    work = clone(house, pub)
    release(house, work, "v100")
    assert "announce v100: [project] v100: Release v100" in house.gtfs("publish", "--dry-run", pub).out
    assert mails(house, box) == []
    assert "announced v100: commit " in house.gtfs("publish", pub).out
    assert "announced v100" not in house.gtfs("publish", pub).out
    assert f"announce    into {box}" in house.gtfs("status", pub).out
    house.gtfs("init", pub, "--no-announce")
    assert outstanding(house, pub) is None


def test_an_announcement_that_nobody_can_sign_is_told_kept_and_made_good(
    house: House, fresh: Path, locked: LockedKey
) -> None:
    box = house.empty("announcements.git")
    words = ["--sign-key", locked.fingerprint, "--gnupg-home", locked.home, "--announce", box]
    house.gtfs("init", fresh, *words, env=AT_TERMINAL)
    house.gtfs("publish", fresh, env=AT_TERMINAL)
    house.keep_sound(fresh)
    work = clone(house, fresh)
    release(house, work, "v100")
    away = box.rename(house.root / "away.git")
    done = house.gtfs("publish", fresh, env=AT_TERMINAL)  # ends with 0: it is published
    assert "version 2" in done.out and "published, but NOT announced: " in done.err and "does not exist" in done.err
    away.rename(box)
    assert "OUTSTANDING, 1 tag, v100 first" in house.gtfs("status", fresh).out

    # A node tries it again, and asks nobody.
    a = house.mount(fresh, "A", "offline", expected=["not announced, and tried again: cannot sign"])
    wait_for(lambda: outstanding(house, fresh)["outstanding"]["tries"] > 1, f"it is tried; log:\n{a.text()}")
    assert "passphrase is asked of nobody here" in outstanding(house, fresh)["outstanding"]["reason"]

    # Who types it signs by his own agent and terminal, though the node runs.
    done = house.gtfs("publish", fresh, env=AT_TERMINAL)
    assert "nothing had changed" in done.out and "announced v100: commit " in done.out
    assert len(mails(house, box)) == 1 and outstanding(house, fresh)["outstanding"] is None
    commit(house, work, "more")
    release(house, work, "v101")
    assert "announced v101: commit " in house.gtfs("publish", fresh, env=AT_TERMINAL).out
    assert len(mails(house, box)) == 2
