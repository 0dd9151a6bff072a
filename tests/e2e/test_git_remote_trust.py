# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a clone by ``gtfs::`` believes, what it refuses, and that git then has moved nothing."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
from pathlib import Path

from gitremote import Clones
from house import House, Key
from waiting import WAIT_S, read_terminal, wait_for


def test_without_a_terminal_an_unknown_signer_is_refused_with_the_lines_that_would_let_him(clones: Clones) -> None:
    house = clones.house
    clones.run("config", "--global", "--unset", "gtfs.keyring")
    env = {"GIT_TERMINAL_PROMPT": "0"}
    done = clones.run("clone", clones.url, house.root / "c", code=128, env=env)
    assert (
        "fatal: the catalogue claims to be signed by" in done.err
        and "git config --global --add gtfs.keyring" in done.err
    )

    home = {**env, "GNUPGHOME": str(house.key.gnupg_home)}
    done = clones.run("clone", clones.url, house.root / "c", code=128, env=home)
    line = f"git config --global --add gtfs.signer {house.key.fingerprint}"
    assert line in done.err and "publisher@example.org" in done.err
    assert not (house.root / "c").exists()
    house.run(line.split())
    clones.run("clone", "--quiet", clones.url, house.root / "c", env=home)
    clones.check(house.root / "c")


def test_at_a_terminal_the_signer_is_asked_about_once_and_then_held(clones: Clones) -> None:
    house, clone = clones.house, clones.house.root / "c"
    clones.run("config", "--global", "--unset", "gtfs.keyring")
    ours, theirs = pty.openpty()
    command = ["setsid", "--ctty", "git", "clone", "--quiet", clones.url, str(clone)]
    env = {**house.environment, "GNUPGHOME": str(house.key.gnupg_home)}
    process = subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs, cwd=house.root)
    os.close(theirs)
    said = b""
    while b"Type yes" not in said:
        said += os.read(ours, 4096)
    assert house.key.fingerprint.encode() in said and b"publisher@example.org" in said
    os.write(ours, b"yes\n")
    said += read_terminal(ours)
    assert process.wait(WAIT_S) == 0, said
    os.close(ours)
    house.commit(clones.publisher, "news", {"news": b"new\n"})
    clones.publish()
    clones.run("-C", clone, "fetch", "--quiet")  # nobody is asked again, with no key of the user's in reach
    clones.check(clone)


def test_an_interrupt_at_the_question_ends_the_helper_which_would_take_what_is_typed_next(clones: Clones) -> None:
    house, clone = clones.house, clones.house.root / "c"
    clones.run("config", "--global", "--unset", "gtfs.keyring")
    ours, theirs = pty.openpty()
    # The shell stays, as one does at which git was typed: else the terminal would end with git, and the helper with it.
    shell = f"trap : INT; git clone --quiet {clones.url} {clone}; echo IT IS OVER; exec cat"
    env = {**house.environment, "GNUPGHOME": str(house.key.gnupg_home)}
    command = ["setsid", "--ctty", "sh", "-c", shell]
    process = subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs, cwd=house.root)
    os.close(theirs)
    said = b""
    try:
        for wanted, typed in ((b"Type yes", b"\x03"), (b"IT IS OVER", b"")):
            while wanted not in said:
                said += os.read(ours, 4096)
            os.write(ours, typed)
        wait_for(lambda: not _left(house.root), "the helper ended")
    finally:
        os.close(ours)
        process.wait(WAIT_S)
    assert b"Traceback" not in said and not clone.exists()


def test_a_catalogue_of_another_signer_moves_nothing(clones: Clones, stranger: Key) -> None:
    house, clone = clones.house, clones.clone()
    before = house.git(clone, "for-each-ref")
    text = subprocess.run(["gpg", "--batch", "--decrypt", clones.catalogue], capture_output=True).stdout
    clones.catalogue.write_bytes(stranger.clearsign(text.replace(b"Version: 1", b"Version: 2")))
    done = clones.run("-C", clone, "fetch", code=128)
    assert done.err.startswith("fatal: catalogue refused: ")
    assert house.git(clone, "for-each-ref") == before
    clones.check(clone)


def test_a_key_of_the_remote_counts_in_the_place_of_the_general_one(clones: Clones, stranger: Key) -> None:
    setting = f"remote.origin.gtfs-keyring={stranger.public}"
    done = clones.run("clone", "--config", setting, clones.url, clones.house.root / "c", code=128)
    assert "fatal:" in done.err
    setting = f"remote.origin.gtfs-keyring={clones.house.key.public}"
    clones.say("gtfs.keyring", stranger.public)
    clones.check(clones.clone("--config", setting, name="d"))


def with_policy(house: House, publisher: Path, line: str) -> Clones:
    """A plain repository published under a policy."""
    key = house.key
    words = ["--name", "project", "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home]
    house.gtfs("init", publisher, *words, "--policy", line)
    house.gtfs("publish", publisher, "--force")
    return Clones(house, publisher)


def test_a_ref_that_the_policy_refuses_is_left_out_and_holds_up_no_other(house: House, fresh: Path) -> None:
    clones = with_policy(house, fresh, f"refs/tags/v* tag by={house.key.fingerprint}")
    clone = house.root / "c"
    done = clones.run("clone", clones.url, clone)
    assert "warning: refs/tags/v1.0, refs/tags/v2.0: " in done.err
    assert house.git(clone, "rev-parse", "origin/main") == house.git(fresh, "rev-parse", "main")
    assert house.git(clone, "tag").split() == ["best", "light"]
    assert "warning: refs/tags/v1.0, refs/tags/v2.0: " in clones.run("-C", clone, "fetch", "--tags").err
    assert house.git(clone, "tag").split() == ["best", "light"]
    clones.check(clone)


def test_an_unsigned_commit_that_plain_git_brought_moves_no_ref_of_a_feed_that_asks_for_signed_ones(
    house: House, fresh: Path
) -> None:
    clones = with_policy(house, fresh, f"refs/heads/** every-commit by={house.key.fingerprint}")
    clone = clones.clone("--no-tags", url=f"file://{fresh}")
    house.git(clone, "remote", "add", "swarm", clones.url)
    done = clones.run("-C", clone, "fetch", "--no-tags", "swarm")
    assert "warning: refs/heads/main, " in done.err
    assert house.git(clone, "for-each-ref", "refs/remotes/swarm") == ""


def test_where_every_ref_is_refused_a_clone_is_no_empty_repository_but_fails(house: House, fresh: Path) -> None:
    clones = with_policy(house, fresh, f"** every-commit by={house.key.fingerprint}")
    done = clones.run("clone", clones.url, house.root / "c", code=128)
    assert "fatal: refs/" in done.err and not (house.root / "c").exists()


def test_where_git_heard_of_refs_before_they_could_be_judged_a_refused_one_lets_none_move(house: House) -> None:
    """Of a SHA-256 repository, git clone has to hear the format before there is anything to judge by."""
    publisher = house.root / "pub.git"
    house.run(["git", "init", "--quiet", "--bare", "--object-format=sha256", "-b", "main", publisher])
    house.commit(publisher, "one", {"a": b"a\n"})
    house.git(publisher, "tag", "-a", "-m", "unsigned", "v1", "main")
    clones = with_policy(house, publisher, f"refs/tags/** tag by={house.key.fingerprint}")
    clone = house.root / "c"
    done = clones.run("clone", clones.url, clone, code=128)
    assert "fatal: refs/tags/v1: " in done.err and not clone.exists()
    clones.run("init", "--quiet", "--object-format=sha256", "-b", "main", clone)
    done = clones.run("-C", clone, "pull", clones.url, "main")
    assert "warning: refs/tags/v1: " in done.err and house.git(clone, "tag") == ""


def test_a_branch_that_went_back_stays_where_it_was(clones: Clones) -> None:
    house, clone = clones.house, clones.clone()
    before = house.git(clone, "rev-parse", "origin/main")
    clones.seed.expected.append("do(es)? not descend from where")
    house.git(clones.publisher, "update-ref", "refs/heads/main", "main~2")
    clones.publish()
    done = clones.run("-C", clone, "fetch")
    assert "warning: refs/heads/main: " in done.err and "does not descend from" in done.err
    assert house.git(clone, "rev-parse", "origin/main") == before


def test_parts_of_history_are_refused_with_a_sentence(clones: Clones) -> None:
    for words, option in ((["--depth", "1"], "depth"), (["--filter", "blob:none"], "filter")):
        done = clones.run("clone", *words, clones.url, clones.house.root / "part", code=128)
        assert f"fatal: --{option} asks for a part" in done.err
        assert not (clones.house.root / "part").exists()


def test_a_fetch_of_a_part_that_was_refused_says_how_the_next_one_gets_all(clones: Clones) -> None:
    clone = clones.clone()
    clones.run("-C", clone, "fetch", "--filter", "blob:none", code=128)
    again = clones.run("-C", clone, "fetch", code=128).err  # git has kept the filter
    said = again.splitlines()[-1].partition("before: git ")[2].replace("NAME", "origin").split()
    clones.run("-C", clone, *said)
    assert clones.run("-C", clone, "fetch").err == ""
    clones.check(clone)


def test_a_mirror_is_no_clone(clones: Clones) -> None:
    house, mirror = clones.house, clones.house.root / "mirror.git"
    options = ",".join([*house.mirror_options(clones.seed), "nodht", "listen=127.0.0.1:0"])
    house.gtfs("sync", clones.catalogue, "--into", mirror, "-o", options)
    done = clones.run("-C", mirror, "fetch", clones.url, "main", code=128)
    assert "is a mirror" in done.err


def test_a_push_to_a_feed_says_where_to_push(clones: Clones) -> None:
    done = clones.run("-C", clones.clone(), "push", "origin", "main", code=128)
    assert "is a feed, which is only read: push to the publisher's repository" in done.err
    clones.house.gtfs("init", clones.publisher, "--push-url", "git@example.org:p.git")
    clones.publish()
    done = clones.run("-C", clones.clone(name="other"), "push", "origin", "main", code=128)
    assert "which is only read: push to git@example.org:p.git instead" in done.err


def test_an_address_that_leads_nowhere_is_one_line(clones: Clones) -> None:
    for address in ("/none", "relative", "ftp://example.org/x", "gtfs:12", "http://127.0.0.1:1/x"):
        done = clones.run("ls-remote", f"gtfs::{address}", code=128)
        assert done.err.startswith("fatal: ") and len(done.err.splitlines()) == 1, done.err


def test_a_repository_of_another_object_format_is_refused(clones: Clones) -> None:
    clone = clones.house.root / "c"
    clones.run("init", "--quiet", "--object-format=sha256", clone)
    done = clones.run("-C", clone, "fetch", clones.url, "main", code=128)
    assert "object format sha256" in done.err


def test_a_sha_256_repository_is_cloned(house: House) -> None:
    publisher = house.root / "pub.git"
    house.run(["git", "init", "--quiet", "--bare", "--object-format=sha256", "-b", "main", publisher])
    house.commit(publisher, "one", {"a": b"a\n"})
    key = house.key
    house.gtfs("init", publisher, "--name", "p", "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home)
    house.gtfs("publish", publisher)
    clones = Clones(house, publisher)
    clone = clones.clone()
    assert house.git(clone, "rev-parse", "HEAD") == house.git(publisher, "rev-parse", "main")
    house.commit(publisher, "two", {"b": b"b\n"})
    clones.publish()
    clones.run("-C", clone, "pull", "--quiet", "--ff-only")
    clones.check(clone)


def test_a_publisher_that_goes_away_half_way_is_gone_on_with(clones: Clones) -> None:
    """The reels that came, and what was let in of them, are not fetched again."""
    house, clone = clones.house, clones.house.root / "c"
    clones.run("init", "--quiet", "-b", "main", clone)
    house.git(clone, "remote", "add", "origin", clones.url)
    house.commit(clones.publisher, "news", {"news": os.urandom(200 << 10)})
    clones.publish()  # a second reel
    large = max((clones.publisher / "gtfs" / "reels").glob("*.reel"), key=lambda path: path.stat().st_size)
    stick = house.root / "stick"
    stick.mkdir()
    (stick / large.name).write_bytes(large.read_bytes())
    (stick / "latest.asc").write_bytes(clones.catalogue.read_bytes())
    house.git(clone, "remote", "set-url", "origin", f"gtfs::{stick}")
    done = clones.run("-C", clone, "-c", "gtfs.option=offline", "fetch", code=128)
    assert "the same git fetch goes on from there" in done.err
    assert house.git(clone, "for-each-ref") == ""
    (stick / large.name).unlink()
    before = clones.seed.fresh_status()["swarm"]["uploaded"]
    clones.run("-C", clone, "fetch", "--quiet")
    moved = clones.seed.fresh_status()["swarm"]["uploaded"] - before
    assert 0 < moved < large.stat().st_size
    clones.check(clone)


def test_an_interrupt_at_any_time_leaves_no_process_and_no_traceback_and_the_next_fetch_works(clones: Clones) -> None:
    house, clone = clones.house, clones.house.root / "c"
    clones.run("init", "--quiet", "-b", "main", clone)
    house.git(clone, "remote", "add", "origin", clones.url)
    clones.say("gtfs.option", f"nodht,nolsd,listen=127.0.0.1:0,peer=127.0.0.1:{clones.seed.port},download_rate=64K")
    process = house.start(["git", "-C", clone, "fetch", "--progress"])
    wait_for(lambda: (clone / ".git" / "gtfs" / "lock").exists(), "the fetch began")
    os.killpg(process.pid, 2)
    said = process.communicate()[1].decode()
    assert "Traceback" not in said and process.returncode != 0
    wait_for(lambda: not _left(house.root), "every process of the group ended")
    clones.say("gtfs.option", f"nodht,nolsd,listen=127.0.0.1:0,peer=127.0.0.1:{clones.seed.port}")
    clones.run("-C", clone, "fetch", "--quiet")
    clones.check(clone)


def test_a_fetch_that_was_killed_while_it_made_its_state_is_begun_again(clones: Clones) -> None:
    house, clone = clones.house, clones.house.root / "c"
    clones.run("init", "--quiet", "-b", "main", clone)
    house.git(clone, "remote", "add", "origin", clones.url)
    (clone / ".git" / "gtfs").mkdir(mode=0o700)
    (clone / ".git" / "gtfs" / "config").write_text("[gtfs]\n\tclone = true\n")
    (clone / ".git" / "gtfs" / "config.lock").touch()
    clones.run("-C", clone, "fetch", "--quiet")
    clones.check(clone)


def test_a_clone_that_is_interrupted_leaves_no_repository(clones: Clones) -> None:
    house, clone = clones.house, clones.house.root / "c"
    options = f"nodht,nolsd,listen=127.0.0.1:0,peer=127.0.0.1:{clones.seed.port},download_rate=64K"
    clones.say("gtfs.option", options)
    process = house.start(["git", "clone", "--progress", clones.url, clone])
    assert process.stderr is not None
    said = b""
    while b"Receiving packs" not in said:
        said += os.read(process.stderr.fileno(), 4096)
    os.killpg(process.pid, 2)
    said += process.communicate()[1]
    assert b"Traceback" not in said and process.returncode != 0
    wait_for(lambda: not _left(house.root), "the helper ended")
    assert not list(clone.rglob("*"))


def test_a_git_that_is_killed_leaves_no_helper_behind(clones: Clones) -> None:
    house, clone = clones.house, clones.house.root / "c"
    clones.run("init", "--quiet", "-b", "main", clone)
    house.git(clone, "remote", "add", "origin", clones.url)
    clones.say("gtfs.option", "nodht,nolsd,listen=127.0.0.1:0")  # nobody is there to give anything
    process = house.start(["git", "-C", clone, "fetch"])
    wait_for(lambda: (clone / ".git" / "gtfs" / "node.db").exists(), "the fetch began")
    process.kill()
    process.communicate()
    wait_for(lambda: not _left(house.root), "the helper ended")


def test_a_git_that_is_killed_while_it_waits_for_its_turn_leaves_no_helper_behind(clones: Clones) -> None:
    clone = clones.clone()
    with open(clone / ".git" / "gtfs" / "lock", "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = clones.house.start(["git", "-C", clone, "fetch"])
        assert process.stderr is not None
        said = b""
        while b"waiting for process" not in said:
            said += os.read(process.stderr.fileno(), 4096)
        process.kill()
        process.wait()
        wait_for(lambda: not _left(clones.house.root), "the helper ended")


def test_a_git_that_is_killed_while_a_running_node_syncs_leaves_no_helper_behind(clones: Clones) -> None:
    house, clone = clones.house, clones.clone()
    clones.seed.unmount()
    log = house.root / "seed.log"
    with log.open("wb") as out:
        options = "listen=127.0.0.1:0,nodht,nolsd,read_timeout=1h"  # it would wait for peers for twice as long
        seeding = house.start(["gtfs", "seed", clone, "-o", options], out=out)
    wait_for(lambda: b"on port" in log.read_bytes(), log.read_text())
    house.commit(clones.publisher, "news", {"news": b"new\n"})
    clones.publish()  # nobody is there to give it
    held = clone / ".git" / "gtfs" / "catalogue" / "latest.asc"
    process = house.start(["git", "-C", clone, "fetch"])
    wait_for(lambda: held.read_bytes() == clones.catalogue.read_bytes(), "the node follows what git asked it for")
    assert process.poll() is None
    process.kill()
    process.wait()
    wait_for(lambda: not _left(house.root), "the helper ended")
    seeding.terminate()
    assert seeding.wait() == 0


def test_two_fetches_at_once_in_one_clone_and_two_clones_of_one_source_end_well(clones: Clones) -> None:
    house, clone = clones.house, clones.house.root / "c"
    clones.run("init", "--quiet", "-b", "main", clone)
    house.git(clone, "remote", "add", "origin", clones.url)
    one = house.start(["git", "-C", clone, "fetch", "origin", "main"])
    two = house.start(["git", "-C", clone, "fetch", "origin", "old"])
    three = house.start(["git", "clone", "--quiet", clones.url, house.root / "d"])
    for process in (one, two, three):
        said = process.communicate()[1].decode()
        assert process.returncode == 0, said
    clones.run("-C", clone, "fetch")
    assert house.git(clone, "rev-parse", "origin/old") == house.git(clones.publisher, "rev-parse", "old")
    clones.check(clone)
    clones.check(house.root / "d")


def _left(root: Path) -> list[str]:
    """Helpers that speak of something below this directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"remote-gtfs" in words and os.fsencode(root) in words:
            found.append(words.decode(errors="replace"))
    return found
