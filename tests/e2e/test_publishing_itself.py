# SPDX-License-Identifier: GPL-3.0-or-later
"""A publisher that publishes by itself: by its running node, by a hook, and what is said and kept when that fails."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

from house import House
from lockedkey import AT_TERMINAL, LockedKey
from ports import free_port
from seeding import catalogue, seed, sync_options
from waiting import wait_for


def latest(repository: Path) -> str:
    return (repository / "gtfs" / "catalogue" / "latest.asc").read_text()


def version(repository: Path) -> int:
    found = re.search(r"^Version: (\d+)$", latest(repository), re.MULTILINE)
    assert found
    return int(found[1])


def wait_published(repository: Path, oid: str, log: Any = None) -> None:
    wait_for(lambda: oid in latest(repository), f"{oid} published; log:\n{log.text() if log else ''}")


def clone(house: House, origin: Path) -> Path:
    work = house.root / "work"
    house.run(["git", "clone", "--quiet", f"file://{origin}", work])
    return work


def commit(house: House, work: Path, name: str) -> str:
    (work / name).write_text(f"{name}\n")
    house.git(work, "add", name)
    house.git(work, "commit", "--quiet", "-m", name)
    return house.git(work, "rev-parse", "HEAD")


def push(house: House, work: Path, *words: str) -> str:
    """What the pusher reads."""
    return house.run(["git", "-C", work, "push", "--quiet", "origin", "HEAD", *words]).err


def outstanding(house: House, repository: Path) -> Any:
    return house.gtfs("status", "--json", repository).json()["publish"]["outstanding"]


def test_a_node_publishes_what_any_program_moved(house: House, pub: Path) -> None:
    house.gtfs("init", pub, "--publish", "auto")
    work = clone(house, pub)
    a = house.mount(pub, "A", "offline")
    pushed = commit(house, work, "pushed")
    assert push(house, work) == ""
    wait_published(pub, pushed, a)
    imported = house.commit(pub, "imported", {"imported": b"by fast-import\n"}, "imported")
    wait_published(pub, imported, a)
    house.git(pub, "update-ref", "-d", "refs/heads/imported")
    wait_for(lambda: imported not in latest(pub), "a branch that went is gone")
    assert outstanding(house, pub) is None
    assert "publish     auto" in house.gtfs("status", pub).out


def test_a_burst_of_commits_is_one_version(house: House, pub: Path) -> None:
    house.gtfs("init", pub, "--publish=auto")
    a = house.mount(pub, "A", "offline")
    before = version(pub)
    stream = b"feature done\n"
    for n in range(20):
        stream += b"commit refs/heads/mail\ncommitter A U Thor <author@example.org> %d +0100\n" % (1700100000 + n)
        stream += b"data 5\nmail\n" + (b"from refs/heads/main^0\n" if n == 0 else b"")
        stream += b"M 100644 inline mail\ndata 3\n%02d\n\ncheckpoint\n" % n
    os.kill(a.pid, signal.SIGSTOP)  # on a busy machine the burst could last longer than the quiet time
    try:
        house.git(pub, "fast-import", "--quiet", stdin=stream + b"done\n")
    finally:
        os.kill(a.pid, signal.SIGCONT)
    tip = house.git(pub, "rev-parse", "mail")
    assert house.git(pub, "rev-list", "--count", "main..mail") == "20"
    wait_published(pub, tip, a)
    assert version(pub) == before + 1


def test_a_node_signs_anew_before_its_catalogue_runs_out(house: House, pub: Path) -> None:
    house.gtfs("init", pub, "--valid-days=1")
    house.gtfs("publish", "--force", pub)
    before = version(pub)
    house.gtfs("init", pub, "--publish=auto", "--valid-days=30")  # of which a day is less than half
    a = house.mount(pub, "A", "offline")
    wait_for(lambda: version(pub) == before + 1, f"it is signed anew; log:\n{a.text()}")
    assert outstanding(house, pub) is None


def test_with_tags_only_a_tag_publishes(house: House, pub: Path) -> None:
    house.gtfs("init", pub, "--publish=tags", "--hook")
    work = clone(house, pub)
    tip = commit(house, work, "more")
    assert push(house, work) == ""
    assert version(pub) == 1
    house.git(work, "tag", "v100")
    assert "published version 2: 1 new pack" in push(house, work, "v100")
    assert tip in latest(pub) and "refs/tags/v100" in latest(pub)


def test_a_hook_publishes_where_no_node_runs_and_the_hook_that_was_there_runs_too(house: House, pub: Path) -> None:
    hook = pub / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    own = f'#!/bin/sh\ncat >"{house.root}/said"; echo "theirs $#" >&2; exit 1\n'
    hook.write_text(own)
    hook.chmod(0o755)
    house.gtfs("init", pub, "--publish=auto", "--hook")
    house.gtfs("init", pub, "--hook")  # again: nothing of anybody's is lost
    work = clone(house, pub)
    before = house.git(work, "rev-parse", "HEAD")
    tip = commit(house, work, "more")
    said = push(house, work)
    assert "theirs 0" in said
    assert "gtfs: published version 2: 1 new pack" in said
    assert (house.root / "said").read_text() == f"{before} {tip} refs/heads/main\n"
    assert tip in latest(pub)
    house.gtfs("init", pub, "--no-hook")
    assert hook.read_text() == own
    assert [p.name for p in hook.parent.glob("post-receive*") if p.suffix != ".sample"] == ["post-receive"]
    commit(house, work, "unpublished")
    assert "gtfs" not in push(house, work)
    assert version(pub) == 2


def test_a_hook_leaves_it_to_the_running_node(house: House, pub: Path) -> None:
    house.gtfs("init", pub, "--publish=auto", "--hook")
    work = clone(house, pub)
    a = house.mount(pub, "A", "offline")
    tip = commit(house, work, "more")
    assert "pushed; the running node publishes it in a moment" in push(house, work)
    wait_published(pub, tip, a)


def test_hooks_that_are_not_the_repositorys_alone_are_left_as_they_are(house: House, pub: Path) -> None:
    house.git(pub, "config", "core.hooksPath", house.root / "shared")
    line = house.gtfs("init", pub, "--publish=auto", "--hook", code=3).line
    assert "core.hooksPath" in line and "gtfs publish --pushed" in line
    house.git(pub, "config", "--unset", "core.hooksPath")
    shared = house.root / "shared"
    shared.mkdir()
    for place in (pub / "hooks").glob("*"):
        place.unlink()
    (pub / "hooks").rmdir()
    (pub / "hooks").symlink_to(shared)
    assert "is a link" in house.gtfs("init", pub, "--hook", code=3).line
    assert list(shared.iterdir()) == []
    assert "--publish=auto" in house.gtfs("init", pub, "--publish=manual", "--hook", code=2).line


def test_a_signature_that_fails_is_told_kept_and_made_good(house: House, fresh: Path, locked: LockedKey) -> None:
    words = ["init", fresh, "--sign-key", locked.fingerprint, "--gnupg-home", locked.home]
    assert "the passphrase was not given" in house.gtfs(*words, code=1).line
    house.gtfs(*words, "--publish=auto", "--hook", env=AT_TERMINAL)
    house.gtfs("publish", fresh, env=AT_TERMINAL)
    house.keep_sound(fresh)
    work = clone(house, fresh)
    one = commit(house, work, "one")
    said = push(house, work)
    assert "pushed, but NOT published: cannot sign with" in said and "tried again" in said
    assert house.git(fresh, "rev-parse", "main") == one and version(fresh) == 1
    failed = outstanding(house, fresh)
    assert failed["tries"] == 1 and "cannot sign" in failed["reason"] and failed["since"] == failed["tried"]
    assert "OUTSTANDING, 1 tries" in house.gtfs("status", fresh).out

    # A node tries it again, and asks nobody.
    a = house.mount(fresh, "A", "offline", expected=["not published, and tried again in .* cannot sign"])
    wait_for(lambda: outstanding(house, fresh)["tries"] > 1, f"the node tries it; log:\n{a.text()}")
    assert "passphrase is asked of nobody here" in outstanding(house, fresh)["reason"]
    assert version(fresh) == 1

    # Who types it signs with his own agent and terminal, though the node does the work.
    assert "the passphrase was not given" in house.gtfs("publish", fresh, code=1).line
    assert "version 2: 1 new pack" in house.gtfs("publish", fresh, env=AT_TERMINAL).out
    assert one in latest(fresh)
    assert outstanding(house, fresh) is None


def test_a_signing_subkey_signs_where_nobody_is(house: House, project: Path, keys: Path, locked: LockedKey) -> None:
    fresh = keys / "r.git"  # a short path: the agent's sockets lie in it
    shutil.copytree(project, fresh)
    words = ["init", fresh, "--sign-key", locked.fingerprint, "--gnupg-home", locked.home]
    house.gtfs(*words, env=AT_TERMINAL)
    house.gtfs("publish", fresh, env=AT_TERMINAL)
    mirror = house.root / "mirror.git"
    source = fresh / "gtfs" / "catalogue" / "latest.asc"
    house.gtfs("sync", source, "--into", mirror, "-o", f"keyring={locked.public},offline", code=None)
    assert "the passphrase was not given" in house.gtfs(*words, "--signing-subkey", code=1).line

    said = house.gtfs(*words, "--signing-subkey", "--publish=auto", "--hook", env=AT_TERMINAL).out
    public = fresh / "gtfs" / "keys" / "signing.asc"
    assert str(public) in said
    signing = fresh / "gtfs" / "keys" / "signing"
    assert signing.stat().st_mode & 0o777 == 0o700
    # The secret half is there and nowhere else, and the primary's is not.
    [grip] = [p.name for p in (signing / "private-keys-v1.d").iterdir()]
    assert not (locked.home / "private-keys-v1.d" / grip).exists()
    listing = house.run(["gpg", "--homedir", signing, "--list-secret-keys", "--with-colons"]).out.splitlines()
    assert [line.split(":")[14] for line in listing if line.startswith("sec:")] == ["#"]

    work = clone(house, fresh)
    tip = commit(house, work, "more")
    assert "published version 2" in push(house, work)
    assert tip in latest(fresh)
    # Catalogues name the primary key as before: a mirror follows on with the new part of its key.
    assert f"Signers:\n {locked.fingerprint}\n" in latest(fresh)
    house.gtfs("trust", mirror, "add", public)
    house.gtfs("sync", mirror, "-o", "offline", code=None)
    assert house.gtfs("status", "--json", mirror).json()["catalogue"]["version"] == 2
    house.forgive(mirror)
    house.keep_sound(fresh)
    house.run(["gpgconf", "--homedir", signing, "--kill", "all"])


def test_settings_change_while_the_node_runs(house: House, pub: Path) -> None:
    a = house.mount(pub, "A", "offline")
    tip = house.commit(pub, "more", {"more": b"more\n"})
    house.gtfs("init", pub, "--tracker", "udp://192.0.2.1:6969/announce", "--policy", "** catalogue")
    assert version(pub) == 1
    assert "version 2" in house.gtfs("publish", a.dir).out
    assert "udp://192.0.2.1:6969" in latest(pub) and "** catalogue" in latest(pub)
    more = house.commit(pub, "more", {"more": b"and more\n"})
    house.gtfs("init", pub, "--publish=auto")
    wait_published(pub, more, a)
    assert tip in house.git(pub, "rev-list", "main")
    line = house.gtfs("init", pub, "--name", "other", code=2).line
    assert "is named project already" in line
    assert a.alive()


def test_what_would_be_published_is_told_and_nothing_is_done(house: House, pub: Path) -> None:
    assert "nothing would be published" in house.gtfs("publish", "--dry-run", pub).out
    tip = house.commit(pub, "more", {"more": b"more\n"})
    before = {p: p.read_bytes() for p in (pub / "gtfs").rglob("*") if p.is_file() and p.suffix in (".asc", ".reel")}
    told = house.gtfs("publish", "--dry-run", pub).out
    assert "version 2 would have 1 new pack, 1 ref moved" in told
    assert f"..{tip[:12]}" in told
    a = house.mount(pub, "A", "offline")
    assert house.gtfs("publish", "--dry-run", a.dir).out == told
    assert version(pub) == 1
    after = {p: p.read_bytes() for p in before}
    assert {p for p in before if before[p] != after[p]} <= {pub / "gtfs" / "open.reel"}
    (line,) = house.gtfs("publish", pub).out.splitlines()
    assert line.startswith("version 2: 1 new pack, ") and line.endswith("; 1 ref moved")


def test_a_clone_with_a_work_tree_publishes_and_is_no_mirror(house: House, pub: Path) -> None:
    work = clone(house, pub)
    words = ["--name", "mine", "--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home]
    house.gtfs("init", work, *words, "--publish=auto", "--hook")
    assert "version 1:" in house.gtfs("publish", work).out
    assert house.git(work, "status", "--porcelain") == ""
    source = work / ".git" / "gtfs" / "catalogue" / "latest.asc"
    assert "refs/heads/main" in source.read_text()
    assert house.gtfs("status", "--json", work).json()["repository"] == str(work / ".git")
    linked = house.root / "linked"
    house.git(work, "worktree", "add", "--quiet", linked, "-b", "side")
    assert "version 2: 0 new packs" in house.gtfs("publish", linked).out
    house.gtfs("fsck", work)
    other = house.root / "other"
    house.run(["git", "init", "--quiet", other])
    line = house.gtfs("sync", source, "--into", other, "-o", f"keyring={house.key.public},offline", code=3).line
    assert "has a work tree" in line


def test_what_is_committed_in_a_work_tree_is_published_and_reaches_a_mirror(house: House, pub: Path) -> None:
    work = clone(house, pub)
    words = ["--name", "mine", "--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home]
    house.gtfs("init", work, *words, "--publish=auto")
    house.gtfs("publish", work / ".git")
    house.keep_sound(work / ".git")
    seeder = seed(house, work)
    mirror = house.root / "mirror.git"
    house.keep_sound(mirror)
    options = sync_options(house, mirror, seeder.port, more="poll=1s,prefetch")
    follower = seed(house, catalogue(work / ".git"), options=options)
    (work / "a package").write_bytes(b"of some bytes\n")
    house.git(work, "add", "a package")
    house.git(work, "commit", "--quiet", "-m", "by hand")
    tip = house.git(work, "rev-parse", "main")
    wait_for(
        lambda: house.refs(mirror).get("refs/heads/main") == tip, lambda: f"it follows; {follower.log.read_text()}"
    )
    assert house.git(mirror, "show", "main:a package") == "of some bytes"
    assert house.git(work, "status", "--porcelain") == ""
    assert (follower.end(), seeder.end()) == (0, 0)
    place, log, port = house.root / "mounted", house.root / "mounted.log", free_port()
    place.mkdir()
    house.gtfs("mount", work, place, "-o", f"listen=127.0.0.1:{port},logfile={log}")
    mount = house.adopt(place, work / ".git", port, log)
    assert mount.pack(tip).read_bytes()[:4] == b"PACK"


def test_a_publisher_hears_that_its_own_policy_holds_a_ref_back(house: House, pub: Path) -> None:
    key = house.key
    words = ["--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home]
    house.gtfs("init", pub, *words, "--policy", "refs/tags/** tag", "--policy", "** catalogue")
    house.commit(pub, "more", {"more": b"more\n"})
    assert "back" not in house.gtfs("publish", pub).err
    house.git(pub, "-c", "user.name=A", "-c", "user.email=a@example.org", "tag", "-a", "-m", "unsigned", "v9", "main")
    said = house.gtfs("publish", pub).err
    assert "mirrors with the keys of this node hold refs/tags/v9 back" in said
    assert "not signed" in said
