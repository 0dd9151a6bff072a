# SPDX-License-Identifier: GPL-3.0-or-later
"""A published tag is announced once: by a mail that plain gpg verifies, in a signed commit that git verifies."""

from __future__ import annotations

import contextlib
import email
import email.policy
import fcntl
import hashlib
import itertools
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from pathlib import Path

import pytest
from keys import Keys, shared_keys
from mirrored import Died, die_at

from gtfs.errors import GtfsError
from gtfs.repo import appendmail
from gtfs.repo.appendmail import BadMailbox, Mail, MailboxBusy, Person, append_mail, find_mail, open_mailbox
from gtfs.repo.history import read_refs
from gtfs.repo.repository import Repository, open_repository
from gtfs.state import announce as announcing
from gtfs.state import newtags, publish
from gtfs.state.acceptedfaults import accept_faults
from gtfs.state.announce import Announced, announce
from gtfs.state.describe import describe_state
from gtfs.state.foretell import foretell
from gtfs.state.fsck import check
from gtfs.state.initialise import Wanted, answer_init, check_wanted
from gtfs.state.newtags import due_in_s, read_due
from gtfs.state.outstanding import Outstanding
from gtfs.state.publish import publish_now
from gtfs.state.state import State
from gtfs.trust.sign import Signer

WHO = "A U Thor <author@example.org> 1700000000 +0100"


def git(path: Path, *words: str, data: bytes = b"") -> str:
    done = subprocess.run(["git", "--git-dir", path, *words], input=data, capture_output=True, check=True)
    return done.stdout.decode().strip()


def commit(path: Path, text: str) -> str:
    tree = git(path, "mktree")
    data = f"tree {tree}\nauthor {WHO}\ncommitter {WHO}\n\n{text}\n"
    oid = git(path, "hash-object", "-w", "-t", "commit", "--stdin", data=data.encode())
    git(path, "update-ref", "refs/heads/main", oid)
    return oid


def tag(path: Path, name: str, message: bytes = b"First release\n\nMuch is new.\n", who: bytes = WHO.encode()) -> str:
    target = git(path, "rev-parse", "main")
    data = b"object %s\ntype commit\ntag %s\ntagger %s\n\n%s" % (target.encode(), name.encode(), who, message)
    oid = git(path, "hash-object", "--literally", "-w", "-t", "tag", "--stdin", data=data)
    git(path, "update-ref", f"refs/tags/{name}", oid)
    return oid


@pytest.fixture
def keys() -> Keys:
    return shared_keys()


@pytest.fixture
def box(tmp_path: Path) -> Path:
    path = tmp_path / "ann.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
    return path


def initialise(state: State, **wanted: str) -> None:
    given = Wanted(**wanted)  # type: ignore[arg-type]
    check_wanted(state.repository, given)
    answer_init(state, {"wanted": given.to_json()})


@pytest.fixture
def repository(tmp_path: Path, keys: Keys, box: Path) -> Repository:
    """A publisher's, with version 1."""
    path = tmp_path / "r.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
    commit(path, "first")
    wanted = Wanted(name="demo", sign_key=keys["alice"], gnupg_home=keys.home, announce=str(box))
    check_wanted(open_repository(path), wanted)
    with State(open_repository(path)) as opened:
        answer_init(opened, {"wanted": wanted.to_json()})
        publish_now(opened)
    return open_repository(path)


@pytest.fixture
def state(repository: Repository) -> Iterator[State]:
    with State(repository) as opened:
        yield opened
        assert list(check(opened, lambda _d, _t: None)) == []


def run(state: State) -> tuple[list[Announced], Outstanding | None]:
    return announce(state.repository, asks=False)


def all_well(state: State) -> list[str]:
    done, failed = run(state)
    assert failed is None
    return [each.tag for each in done]


def mails(box: Path, branch: str = "main") -> dict[str, bytes]:
    """The mails of a plain repository, by file."""
    if subprocess.run(["git", "--git-dir", box, "rev-parse", "-q", "--verify", branch], capture_output=True).returncode:
        return {}
    names = git(box, "ls-tree", "--name-only", branch).splitlines()
    command = ["git", "--git-dir", box, "cat-file", "blob"]
    return {n: subprocess.run([*command, f"{branch}:{n}"], capture_output=True, check=True).stdout for n in names}


def parsed(data: bytes) -> EmailMessage:
    found = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def verified(keys: Keys, data: bytes, tmp_path: Path) -> str:
    """What plain gpg says of a mail in a file, which must hold."""
    file = tmp_path / "mail.eml"
    file.write_bytes(data)
    done = subprocess.run(
        ["gpg", "--homedir", keys.home, "--status-fd", "1", "--verify", file], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def verify_commits(keys: Keys, box: Path, branch: str = "main") -> None:
    env = {**os.environ, "GNUPGHOME": str(keys.home)}
    for oid in git(box, "rev-list", branch).split():
        subprocess.run(["git", "--git-dir", box, "verify-commit", oid], check=True, capture_output=True, env=env)
    subprocess.run(["git", "--git-dir", box, "fsck", "--strict"], check=True, capture_output=True)


def test_a_published_tag_is_a_mail_that_gpg_verifies_in_a_commit_that_git_verifies(
    state: State, keys: Keys, box: Path, tmp_path: Path
) -> None:
    oid = tag(state.repository.path, "v1")
    assert publish_now(state).version == 2
    assert all_well(state) == ["v1"]
    ((name, data),) = mails(box).items()
    assert f"VALIDSIG {keys['alice']}" in verified(keys, data, tmp_path)
    verify_commits(keys, box)
    mail = parsed(data)
    assert mail["Subject"] == "[demo] v1: First release"
    assert str(mail["From"]) == "A U Thor <author@example.org>"
    assert mail["Date"].datetime.timestamp() == 1700000000
    assert mail["Message-ID"] == f"<{name.removesuffix('.eml')}@gtfs.invalid>"
    assert sorted(mail.keys()) == [
        "Content-Transfer-Encoding", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject",
    ]  # fmt: skip
    lines = mail.get_content().splitlines()
    assert state.held is not None
    assert "    Much is new." in lines and f"Tag: {oid} refs/tags/v1" in lines
    assert f"Catalogue: version 2, SHA-256 of its text {state.held.digest}" in lines
    (reel,) = (r for r in state.held.catalogue.reels if f"infohash {r.infohash.hex()}," in data.decode())
    assert f"Reel: infohash {reel.infohash.hex()}, {reel.size} bytes, {reel.name}" in lines
    assert git(box, "log", "-1", "--format=%an <%ae> %at %cn <%ce> %s", "main") == (
        "A U Thor <author@example.org> 1700000000 alice <alice@example.org> [demo] v1: First release"
    )


def test_the_command_that_the_mail_names_shows_the_catalogues_digest(state: State, keys: Keys, box: Path) -> None:
    tag(state.repository.path, "v1")
    publish_now(state)
    all_well(state)
    (data,) = mails(box).values()
    text = subprocess.run(
        ["gpg", "--homedir", keys.home, "--decrypt", state.catalogues.latest], capture_output=True, check=True
    ).stdout
    assert hashlib.sha256(text).hexdigest() in data.decode()


@pytest.mark.parametrize(
    "message",
    [
        b"a\n\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA1\n\nother\n-----BEGIN PGP SIGNATURE-----\n\nx\n",
        b"a\n\nFrom me\n-- \n- dash\n.\ntab\t\n",
        b"\xff\0\x1b[2J\r\r\n\xe2\x80\xaea\xe2\x80\xa8b\n",
        b"x" * (1 << 20),
        "\N{PARTY POPPER}\n".encode() * 5000,
        b"",
    ],
    ids=["armor", "dashes", "bytes", "long", "many", "empty"],
)
def test_whatever_a_tag_says_gpg_verifies_the_mail(
    state: State, keys: Keys, box: Path, tmp_path: Path, message: bytes
) -> None:
    tag(state.repository.path, "v1", message, b"=?utf-8?q?=0aBcc=3a_x=40y?= <x@example.org> 1700000000 +0000")
    done, failed = announce_of(state)
    assert failed is None and [each.tag for each in done] == ["v1"]
    (data,) = mails(box).values()
    assert f"VALIDSIG {keys['alice']}" in verified(keys, data, tmp_path)
    assert parsed(data)["Bcc"] is None
    verify_commits(keys, box)


def announce_of(state: State) -> tuple[list[Announced], Outstanding | None]:
    """After a publish, of objects that mirrors need not take."""
    accept_faults(state.repository, [ref.oid for ref in read_refs(state.repository)])
    publish_now(state)
    return run(state)


def test_a_tag_is_announced_once(state: State, box: Path) -> None:
    path = state.repository.path
    oid = tag(path, "v1")
    publish_now(state)
    assert (all_well(state), all_well(state)) == (["v1"], [])
    publish_now(state, force=True)
    git(path, "update-ref", "refs/tags/v1-again", oid)
    publish_now(state)
    git(path, "update-ref", "-d", "refs/tags/v1")
    git(path, "update-ref", "-d", "refs/tags/v1-again")
    publish_now(state)
    assert all_well(state) == []
    git(path, "update-ref", "refs/tags/v1", oid)
    publish_now(state)
    assert all_well(state) == ["v1"]  # of which the mail is there already
    assert git(box, "rev-list", "--count", "main") == "1"


def test_a_tag_that_moved_is_announced_with_where_it_was(state: State, box: Path) -> None:
    first = tag(state.repository.path, "v1")
    publish_now(state)
    all_well(state)
    tag(state.repository.path, "v1", b"Now really\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish.log, "warning", lambda *_args: None)  # mirrors hold it back
        publish_now(state)
    assert all_well(state) == ["v1"]
    assert len(mails(box)) == 2
    assert sum(f"Was: {first} refs/tags/v1\n".encode() in data for data in mails(box).values()) == 1


def test_what_is_no_annotated_tag_and_what_was_there_before_is_no_news(state: State, box: Path) -> None:
    path = state.repository.path
    tag(path, "old")
    initialise(state, announce="")
    initialise(state, announce=str(box))
    git(path, "update-ref", "refs/tags/light", "refs/heads/main")
    git(path, "update-ref", "refs/heads/tag-like", git(path, "rev-parse", "main"))
    publish_now(state)
    assert read_due(state.layout) == [] and all_well(state) == [] and mails(box) == {}


def test_more_tags_than_people_release_at_once_are_not_announced(
    state: State, box: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(51):
        tag(state.repository.path, f"v{number}", b"%d" % number)
    publish_now(state)
    assert read_due(state.layout) == [] and all_well(state) == [] and mails(box) == {}
    assert "51 new tags at once" in caplog.text
    caplog.clear()
    tag(state.repository.path, "v51", b"51")
    publish_now(state)
    assert all_well(state) == ["v51"]


def test_a_dry_run_tells_what_would_be_announced(state: State) -> None:
    tag(state.repository.path, "v1")
    assert foretell(state)["announcements"] == [{"tag": "v1", "subject": "[demo] v1: First release"}]
    assert read_due(state.layout) == []
    publish_now(state)
    assert foretell(state)["announcements"] == []
    all_well(state)


def test_a_failure_is_kept_and_shown_and_the_publish_stands(state: State, box: Path, keys: Keys) -> None:
    away = box.with_name("away")
    tag(state.repository.path, "v1")
    box.rename(away)
    assert publish_now(state).version == 2
    for tries in (1, 2):
        done, failed = run(state)
        assert done == [] and failed is not None and failed.tries == tries and "does not exist" in failed.reason
    said = describe_state(state)["publish"]["announcing"]
    assert (said["repository"], said["due"], said["outstanding"]["tries"]) == (str(box), ["v1"], 2)
    away.rename(box)
    assert all_well(state) == ["v1"]
    said = describe_state(state)["publish"]["announcing"]
    assert (said["due"], said["outstanding"]) == ([], None)


def test_a_key_that_cannot_sign_is_asked_once_for_all_tags(
    state: State, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("v1", "v2"):
        tag(state.repository.path, name, name.encode())
    publish_now(state)
    home = state.layout.root / "empty"
    home.mkdir(mode=0o700)
    state.config.set("gnupghome", str(home))
    tries: list[str] = []
    real = Signer.clearsign
    monkeypatch.setattr(Signer, "clearsign", lambda self, text: (tries.append(text), real(self, text))[1])
    done, failed = run(state)
    assert done == [] and failed is not None and "cannot sign with" in failed.reason and len(tries) == 1
    state.config.set("gnupghome", str(keys.home))
    assert all_well(state) == ["v1", "v2"]
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
    shutil.rmtree(home)


def test_a_tag_that_has_gone_is_not_announced(state: State, box: Path, caplog: pytest.LogCaptureFixture) -> None:
    tag(state.repository.path, "v1")
    publish_now(state)
    git(state.repository.path, "update-ref", "-d", "refs/tags/v1")
    assert all_well(state) == [] and mails(box) == {} and read_due(state.layout) == []
    assert "has gone or moved" in caplog.text
    caplog.clear()


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("step", ["note_news", "keep", "clear_up"])
def test_a_crash_while_publishing_loses_no_announcement(
    repository: Repository, box: Path, monkeypatch: pytest.MonkeyPatch, step: str, before: bool
) -> None:
    tag(repository.path, "v1")
    die_at(monkeypatch, publish, step, before)
    with pytest.raises(Died), State(repository) as state:
        publish_now(state)
    monkeypatch.undo()
    with State(repository) as state:
        run(state)
        publish_now(state)
        run(state)
        assert len(mails(box)) == 1 and read_due(state.layout) == []


@pytest.fixture
def sendmail(tmp_path: Path) -> Path:
    """A program that keeps what it is given, and the words of its command."""
    program = tmp_path / "sendmail"
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/words\ncat >>{tmp_path}/sent\n')
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("step", ["note_begun", "find_mail", "append_mail", "_send"])
def test_a_crash_while_announcing_is_made_good(
    state: State, box: Path, sendmail: Path, monkeypatch: pytest.MonkeyPatch, step: str, before: bool
) -> None:
    initialise(state, announce_mail="all@example.org", sendmail=str(sendmail))
    tag(state.repository.path, "v1")
    publish_now(state)
    die_at(monkeypatch, announcing, step, before)
    with pytest.raises(Died):
        run(state)
    monkeypatch.undo()
    assert all_well(state) == ["v1"]
    (data,) = mails(box).values()
    sent = sendmail.with_name("sent").read_bytes()
    assert sent == data * (2 if (step, before) == ("_send", False) else 1)  # with one Message-ID
    assert git(box, "rev-list", "--count", "main") == "1"


def test_a_crash_between_the_commit_and_the_branch_leaves_one_mail(
    state: State, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag(state.repository.path, "v1")
    publish_now(state)
    die_at(monkeypatch, appendmail, "_commit", False)
    with pytest.raises(Died):
        run(state)
    monkeypatch.undo()
    assert mails(box) == {} and all_well(state) == ["v1"] and len(mails(box)) == 1


def test_sendmail_is_given_the_mail_as_it_is_kept_and_nobody_elses_address(
    state: State, box: Path, sendmail: Path
) -> None:
    initialise(state, announce_mail="all@example.org", sendmail=str(sendmail))
    tag(state.repository.path, "v1", b"Hi\n\nTo: victim@example.org\nBcc: victim@example.org\n")
    publish_now(state)
    assert all_well(state) == ["v1"]
    (data,) = mails(box).values()
    assert sendmail.with_name("sent").read_bytes() == data
    assert sendmail.with_name("words").read_text() == "-t -i\n"
    mail = parsed(data)
    assert (mail["To"], mail["Cc"], mail["Bcc"]) == ("all@example.org", None, None)


def test_a_sendmail_that_fails_is_tried_again_with_the_mail_that_was_committed(
    state: State, box: Path, sendmail: Path
) -> None:
    initialise(state, announce_mail="all@example.org", sendmail=str(sendmail))
    text = sendmail.read_text()
    sendmail.write_text("#!/bin/sh\nexit 75\n")
    tag(state.repository.path, "v1")
    publish_now(state)
    done, failed = run(state)
    assert done == [] and failed is not None and "ended with 75" in failed.reason
    (data,) = mails(box).values()
    sendmail.write_text(text)
    assert all_well(state) == ["v1"]
    assert sendmail.with_name("sent").read_bytes() == data and len(mails(box)) == 1


def test_nothing_that_the_repository_of_mails_is_set_to_runs_a_program(state: State, box: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for hook in ("reference-transaction", "post-receive", "update", "post-commit", "pre-auto-gc", "post-index-change"):
        shutil.copy(program, hooks / hook)
        shutil.copy(program, box / "hooks" / hook)
    (box / "config-of-others").write_text(f"[core]\n\thooksPath = {hooks}\n")
    for key in ("gpg.program", "core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "diff.external"):
        git(box, "config", key, str(program))
    for key, value in (
        ("core.hooksPath", str(hooks)), ("core.alternateRefsCommand", str(program)), ("filter.x.clean", str(program)),
        ("log.showSignature", "true"), ("commit.gpgSign", "true"), ("include.path", "config-of-others"),
        ("gpg.ssh.defaultKeyCommand", str(program)), ("i18n.logOutputEncoding", "UTF-16"), ("gc.auto", "1"),
    ):  # fmt: skip
        git(box, "config", key, value)
    (box / "info").mkdir(exist_ok=True)
    (box / "info" / "attributes").write_text("* filter=x diff=x\n")
    for name in ("v1", "v2"):
        tag(state.repository.path, name, name.encode())
        publish_now(state)
        assert all_well(state) == [name]
    publish_now(state, force=True)
    assert all_well(state) == []
    assert git(box, "rev-list", "--count", "main") == "2" and not ran.exists()


def test_a_commit_of_somebody_else_meanwhile_is_kept(
    state: State, box: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag(state.repository.path, "v1")
    publish_now(state)
    others: list[str] = []
    real = appendmail._commit

    def slow(*args: object) -> str:
        made = real(*args)  # type: ignore[arg-type]
        if len(others) < 3:
            others.append(commit(box, f"somebody's {len(others)}"))
        return made

    monkeypatch.setattr(appendmail, "_commit", slow)
    assert all_well(state) == ["v1"]
    assert git(box, "rev-parse", "main~1") == others[-1]
    assert len(mails(box)) == 1


def test_a_branch_that_somebody_has_locked_is_said(state: State, box: Path) -> None:
    tag(state.repository.path, "v1")
    publish_now(state)
    (box / "refs" / "heads" / "main.lock").touch()
    _, failed = run(state)
    assert failed is not None and "main.lock" in failed.reason
    (box / "refs" / "heads" / "main.lock").unlink()
    assert all_well(state) == ["v1"]


def test_a_branch_that_never_rests_is_said(box: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    real = appendmail._commit

    numbers = itertools.count()

    def slow(*args: object) -> str:
        commit(box, f"somebody's {next(numbers)}")
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(appendmail, "_commit", slow)
    who = Person("A", "a@example.org", 1, "+0000")
    mail = Mail("<a@b>", "a.eml", "Subject", b"Subject: a\n\na\n", who)
    with pytest.raises(MailboxBusy, match="all the time"):
        append_mail(open_mailbox(box), mail, who, Signer(keys["alice"], keys.home).detach_sign)


def test_a_mail_is_found_by_the_whole_line_of_its_id(box: Path, keys: Keys) -> None:
    sign = Signer(keys["alice"], keys.home).detach_sign
    who = Person("Message-ID: <two@b>", "a@example.org", 1, "+0000")
    opened = open_mailbox(box)
    assert find_mail(opened, "<one@b>") is None
    made = append_mail(opened, Mail("<one@b>", "one.eml", "[x] Message-ID: <two@b>", b"one", who), who, sign)
    assert find_mail(opened, "<one@b>") == made
    assert [find_mail(opened, mid) for mid in ("<two@b>", "<o.e@b>", "one@b", "<one@b")] == [None] * 4


def test_other_files_of_a_plain_repository_stay(state: State, box: Path, keys: Keys) -> None:
    blob = git(box, "hash-object", "-w", "--stdin", data=b"read me\n")
    entries = f"100644 blob {blob}\tREADME\n160000 commit {'a' * len(blob)}\tmodule\n"
    tree = git(box, "mktree", "--missing", data=entries.encode())
    git(box, "update-ref", "refs/heads/main", git(box, "commit-tree", tree, "-m", "begin"))
    tag(state.repository.path, "v1")
    publish_now(state)
    assert all_well(state) == ["v1"]
    names = git(box, "ls-tree", "--name-only", "main").splitlines()
    assert len(names) == 3 and {"README", "module"} < {*names}


def test_a_repository_with_a_work_tree_gets_a_branch_of_its_own(state: State, keys: Keys, tmp_path: Path) -> None:
    work = tmp_path / "work"
    subprocess.run(["git", "init", "-q", "-b", "main", str(work)], check=True)
    commit(work / ".git", "begin")
    subprocess.run(["git", "-C", work, "reset", "-q", "--hard"], check=True)
    initialise(state, announce=str(work))
    tag(state.repository.path, "v1")
    publish_now(state)
    assert all_well(state) == ["v1"]
    assert len(mails(work / ".git", "announcements")) == 1
    verify_commits(keys, work / ".git", "announcements")
    assert subprocess.run(["git", "-C", work, "status", "--short"], capture_output=True, check=True).stdout == b""
    subprocess.run(["git", "-C", work, "checkout", "-q", "announcements"], check=True)
    with pytest.raises(BadMailbox, match="check out another"):
        open_mailbox(work)
    subprocess.run(["git", "-C", work, "checkout", "-q", "main"], check=True)
    open_mailbox(work)
    linked = tmp_path / "linked"
    subprocess.run(["git", "-C", work, "worktree", "add", "-q", linked, "announcements"], check=True)
    with pytest.raises(BadMailbox, match="check out another"):
        open_mailbox(work)


def test_two_who_announce_at_once_make_one_mail(state: State, box: Path) -> None:
    tag(state.repository.path, "v1")
    publish_now(state)
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(announce, state.repository, asks=False) for _ in range(4)]
    assert [each.tag for future in runs for each in future.result()[0]] == ["v1"]
    assert git(box, "rev-list", "--count", "main") == "1"


def test_a_node_leaves_to_others_what_they_have_just_published_and_what_failed(
    state: State, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert due_in_s(state.layout) is None
    tag(state.repository.path, "v1")
    publish_now(state)
    now_s = state.layout.due_announcements()[0].stat().st_mtime
    monkeypatch.setattr(newtags.time, "time", lambda: now_s)
    assert due_in_s(state.layout) == 30
    away = box.rename(box.with_name("away"))
    for rest_s in (30, 60, 120):
        _, failed = run(state)
        assert failed is not None and due_in_s(state.layout) == pytest.approx(rest_s, abs=1)
    away.rename(box)
    all_well(state)
    assert due_in_s(state.layout) is None


def test_a_clock_that_was_set_back_puts_no_announcement_off(
    state: State, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag(state.repository.path, "v1")
    publish_now(state)
    now_s = state.layout.due_announcements()[0].stat().st_mtime
    monkeypatch.setattr(newtags.time, "time", lambda: now_s - 1e8)
    assert due_in_s(state.layout) == 0
    monkeypatch.setattr(newtags.time, "time", lambda: now_s)
    away = box.rename(box.with_name("away"))
    assert run(state)[1] is not None
    monkeypatch.setattr(newtags.time, "time", lambda: now_s - 1e8)
    assert due_in_s(state.layout) == 0
    away.rename(box)
    all_well(state)


def test_in_a_sha256_repository_of_mails_the_commits_verify_too(state: State, keys: Keys, tmp_path: Path) -> None:
    path = tmp_path / "256.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", "--object-format=sha256", str(path)], check=True)
    initialise(state, announce=str(path))
    for name in ("v1", "v2"):
        tag(state.repository.path, name, name.encode())
        publish_now(state)
        assert all_well(state) == [name]
    assert len(mails(path)) == 2
    verify_commits(keys, path)


def inbox_at(path: Path, epochs: int = 1) -> Path:
    """An inbox as public-inbox-v2-format(5) has it."""
    for number in range(epochs):
        subprocess.run(["git", "init", "-q", "--bare", "-b", "master", str(path / "git" / f"{number}.git")], check=True)
    (path / "inbox.lock").touch()
    return path


@pytest.mark.parametrize("by_epoch", [True, False])
def test_an_inbox_gets_the_mail_as_the_file_m_in_its_newest_epoch(
    state: State, keys: Keys, tmp_path: Path, by_epoch: bool
) -> None:
    inbox = inbox_at(tmp_path / "inbox", 11)
    last = inbox / "git" / "10.git"
    initialise(state, announce=str(inbox / "git" / "9.git" if by_epoch else inbox))
    for name in ("v1", "v2"):
        tag(state.repository.path, name, name.encode())
        publish_now(state)
        assert all_well(state) == [name]
    verify_commits(keys, last, "master")
    assert git(last, "ls-tree", "--name-only", "master") == git(last, "ls-tree", "--name-only", "master~1") == "m"
    assert parsed(git(last, "cat-file", "blob", "master:m").encode())["Subject"] == "[demo] v2: v2"
    assert git(last, "log", "-1", "--format=%an <%ae>", "master") == "A U Thor <author@example.org>"


def test_a_mail_of_an_older_epoch_is_not_put_into_the_next_one(state: State, tmp_path: Path) -> None:
    inbox = inbox_at(tmp_path / "inbox")
    initialise(state, announce=str(inbox))
    oid = tag(state.repository.path, "v1")
    publish_now(state)
    all_well(state)
    inbox_at(inbox, 2)
    git(state.repository.path, "update-ref", "-d", "refs/tags/v1")
    publish_now(state)
    git(state.repository.path, "update-ref", "refs/tags/v1", oid)
    publish_now(state)
    assert all_well(state) == ["v1"]
    assert git(inbox / "git" / "1.git", "for-each-ref") == ""


def test_an_epoch_alone_is_known_by_what_is_in_it(state: State, tmp_path: Path) -> None:
    initialise(state, announce=str(inbox_at(tmp_path / "inbox")))
    tag(state.repository.path, "v1")
    publish_now(state)
    all_well(state)
    epoch = tmp_path / "copied.git"
    (tmp_path / "inbox" / "git" / "0.git").rename(epoch)
    initialise(state, announce=str(epoch))
    tag(state.repository.path, "v2")
    publish_now(state)
    assert all_well(state) == ["v2"]
    assert git(epoch, "ls-tree", "--name-only", "master") == "m" and git(epoch, "rev-list", "--count", "master") == "2"


def test_an_inbox_that_another_program_has_locked_is_waited_for_and_then_said(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = inbox_at(tmp_path / "inbox")
    who = Person("A", "a@example.org", 1, "+0000")
    mail = Mail("<a@b>", "a.eml", "Subject", b"Subject: a\n\na\n", who)
    sign = Signer(keys["alice"], keys.home).detach_sign
    monkeypatch.setattr(appendmail, "_LOCKED_S", 0.0)
    with open(inbox / "inbox.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(MailboxBusy, match="locked by another program"):
            append_mail(open_mailbox(inbox), mail, who, sign)
    append_mail(open_mailbox(inbox), mail, who, sign)


@pytest.mark.parametrize("branch", ["master", "main"])
def test_public_inbox_reads_the_inbox(state: State, tmp_path: Path, branch: str) -> None:
    inbox = tmp_path / "inbox"
    settings = tmp_path / "gitconfig"
    settings.write_text(f"[init]\n\tdefaultBranch = {branch}\n")
    env = {**os.environ, "HOME": str(tmp_path), "PI_CONFIG": str(tmp_path / "pi-config")}
    env["GIT_CONFIG_GLOBAL"] = str(settings)
    made = ["public-inbox-init", "-V2", "ann", inbox, "http://example.org/ann", "ann@example.org"]
    subprocess.run(made, check=True, capture_output=True, env=env)
    initialise(state, announce=str(inbox))
    for name, who in (("v1", WHO), ("v2", "J\u00f6rg <j@example.org> 1700000001 +0000")):
        tag(state.repository.path, name, f"{name} \u2014 r\u00e9lease\n".encode(), who.encode())
        publish_now(state)
        assert all_well(state) == [name]
    subprocess.run(["public-inbox-index", inbox], check=True, capture_output=True, env=env)
    with contextlib.closing(sqlite3.connect(inbox / "msgmap.sqlite3")) as database:
        ids = {f"<{row[0]}>" for row in database.execute("SELECT mid FROM msgmap")}
    epoch = inbox / "git" / "0.git"
    kept = [parsed(git(epoch, "cat-file", "blob", f"{at}:m").encode()) for at in (branch, f"{branch}~1")]
    assert ids == {str(mail["Message-ID"]) for mail in kept}
    assert kept[0]["Subject"] == "[demo] v2: v2 \u2014 r\u00e9lease"


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"announce": "/nonexistent"}, "does not exist"),
        ({"announce": "SELF"}, "another repository"),
        ({"announce": "EMPTY"}, "no epoch"),
        ({"announce": "MIRROR"}, "it is a mirror"),
        ({"announce_mail": "a@example.org, b@example.org"}, "not a mail address"),
        ({"announce_mail": "-Cfile"}, "not a mail address"),
        ({"sendmail": "/nonexistent/sendmail"}, "cannot be run"),
        ({"announce": "", "announce_mail": "a@example.org"}, "give --announce"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    state: State, box: Path, tmp_path: Path, wanted: dict[str, str], why: str
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "inbox.lock").touch()
    mirror = tmp_path / "mirror.git"
    subprocess.run(["git", "init", "-q", "--bare", str(mirror)], check=True)
    (mirror / "gtfs" / "catalogue").mkdir(parents=True)
    (mirror / "gtfs" / "catalogue" / "latest.asc").touch()
    places = {"MIRROR": str(mirror), "SELF": str(state.repository.path), "EMPTY": str(empty)}
    before = state.config.path.read_bytes()
    with pytest.raises(GtfsError, match=why):
        initialise(state, **{key: places.get(value, value) for key, value in wanted.items()})
    assert state.config.path.read_bytes() == before
