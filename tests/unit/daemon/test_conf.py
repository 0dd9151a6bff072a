# SPDX-License-Identifier: GPL-3.0-or-later
"""gtfs.conf and its drop-ins: what they come down to, and which line is at fault."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from gtfs.collection.followed import FollowSettings
from gtfs.collection.site import PublishSettings
from gtfs.collection.wanted import WantedRepository
from gtfs.daemon.conf import BadSettings, Configuration, OptionsCheck, read_configuration
from gtfs.daemon.places import Places
from gtfs.errors import GtfsError
from gtfs.ids import parse_fingerprint
from gtfs.state.trustgiven import TrustGiven


def judge(words: Sequence[str]) -> None:
    if any("nonsense" in word for word in words):
        raise GtfsError("nonsense is no option")


CHECK = OptionsCheck(judge, judge)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    found = Places(tmp_path / "gtfs.conf", tmp_path / "data", tmp_path / "run")
    found.drop_ins.mkdir()
    return found


def read(places: Places, text: str, **drop_ins: str) -> Configuration:
    places.config.write_text(text)
    for name, its in drop_ins.items():
        (places.drop_ins / f"{name}.conf").write_text(its)
    return read_configuration(places, CHECK)


def refused(places: Places, text: str) -> str:
    with pytest.raises(BadSettings) as e:
        read(places, text)
    assert e.value.exit_code == 2
    return str(e.value).replace(str(places.config), "gtfs.conf")


def test_a_repository_is_one_that_is_here_or_the_mirror_of_a_source(places: Places) -> None:
    found = read(
        places,
        '[repository "a"]\n\tpath = /srv/a.git\n\toptions = jobs=2\n\toptions = poll=1h\n'
        '[repository "pub/b"]\n\tsource = https://example.org/b/\n'
        '[repository "c.git"]\n\tsource = https://example.org/c/\n\tdirectory = /srv/c\n\toptions = prefetch=no\n'
        "[defaults]\n\tmirrors = /srv/mirrors\n\toptions = port=6881\n",
    )
    assert found.repositories == (
        WantedRepository("a", "/srv/a.git", Path("/srv/a.git"), ("jobs=2", "poll=1h")),
        WantedRepository("pub/b", "https://example.org/b/", Path("/srv/mirrors/pub/b.git"), ("prefetch",)),
        WantedRepository("c.git", "https://example.org/c/", Path("/srv/c"), ("prefetch", "prefetch=no")),
    )
    assert [r.origin for r in found.repositories] == [f"{places.config}:{n}" for n in (1, 5, 7)]
    assert found.options == ("port=6881",) and not found.troubles


def test_without_a_file_there_is_nothing_to_run_unless_the_file_was_named(places: Places) -> None:
    assert read_configuration(places, CHECK).repositories == ()
    with pytest.raises(FileNotFoundError):
        read_configuration(places, CHECK, is_needed=True)


def test_a_collection_log_and_status_are_told_on(places: Places) -> None:
    found = read(
        places,
        '[collection "k"]\n source = https://example.org/k\n include = pub/*\n include = x\n exclude = pub/y\n'
        f" signer = {'AB' * 20}\n gone = move\n keyring = /k.gpg\n"
        "[log]\nfile=/var/log/g\n[status]\nlisten = 127.0.0.1:9\nuser = a\nuser = b\nmax-lag = 2h\n",
    )
    (collection,) = found.collections
    assert isinstance(collection, FollowSettings)
    assert collection.directory == places.mirrors / "k" and collection.include == ("pub/*", "x")
    assert collection.exclude == ("pub/y",) and collection.gone == "move"
    assert collection.trust == TrustGiven((Path("/k.gpg"),), (parse_fingerprint("AB" * 20),))
    assert found.log_file == Path("/var/log/g") and found.status == (
        "status=127.0.0.1:9", "status_user=a", "status_user=b", "max_lag=2h",
    )  # fmt: skip


def test_a_directory_is_published_with_the_options_that_are_given(places: Places) -> None:
    found = read(places, '[collection "k"]\npublish = /srv/git\noptions = nobell\n')
    assert found.collections == (PublishSettings("k", Path("/srv/git"), ("nobell",)),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[repository "a"]\n\tpth = /a', "gtfs.conf:2: [repository] has no key pth; did you mean path?"),
        ("[repositories]", "gtfs.conf:1: there is no section [repositories]; did you mean repository?"),
        ("[xyz]", "gtfs.conf:1: there is no section [xyz]; the sections are defaults, "),
        ("[repository]\npath = /a", 'gtfs.conf:1: this section is written [repository "NAME"]'),
        ('[log "x"]', "gtfs.conf:1: this section is written [log]"),
        ('\n[repository "a"]', "gtfs.conf:2: a repository has either path ="),
        ('[repository "a"]\npath=/a\nsource=https://b', "gtfs.conf:1: a repository has either path ="),
        ('[repository "a"]\npath=/a\ndirectory=/b', "gtfs.conf:3: directory = is for a mirror"),
        ('[repository "a"]\npath=a', "gtfs.conf:2: path = a: give an absolute path"),
        ('[repository "a"]\npath', "gtfs.conf:2: path has no value"),
        ('[repository "a"]\npath=/a\n[repository "a"]\npath=/b', 'gtfs.conf:3: there is a [repository "a"] in gtfs.c'),
        ('[repository "../a"]\npath=/a', "gtfs.conf:1: '../a' is no name of a repository"),
        ('[repository "/a"]\npath=/a', "gtfs.conf:1: '/a' is no name of a repository"),
        ('[repository "a\x1b[31m"]\npath=/a', "gtfs.conf:1: 'a\\x1b[31m' is no name of a repository"),
        ('[repository "a"]\npath=/a\noptions=poll=1h,nonsense', "gtfs.conf:3: options = poll=1h,nonsense: nonsense is"),
        ("[defaults]\noptions=nonsense", "gtfs.conf:2: options = nonsense: nonsense is"),
        (
            '[repository "a"]\npath=/s/a\n[repository "b"]\npath=/s/a/',
            "gtfs.conf:4: /s/a is the repository of gtfs.con",
        ),
        ('[repository "a"]\npath=/s/a\n[repository "b"]\npath=/s/a/b', "gtfs.conf:4: /s/a/b lies within the repo"),
        ('[repository "a"]\npath=/s/a/b\n[repository "b"]\npath=/s/a', "gtfs.conf:4: /s/a has within it the repo"),
        ('[repository "a"]\npath=/a\n[collection "c"]\n', "gtfs.conf:3: a collection has one of source ="),
        ('[collection "a/b"]\nsource=/x', "gtfs.conf:1: the name of a collection is one word"),
        ('[collection "c"]\nsource=/x\ngone=purge', "gtfs.conf:3: gone = purge: not one of keep, move, delete"),
        ('[collection "c"]\nsource=/x\npublish=/y', "gtfs.conf:1: a collection has one of source ="),
        ('[collection "c"]\npublish=/y\ngone=keep', "gtfs.conf:3: gone = is for one that is followed"),
        ('[collection "c"]\npublish=y', "gtfs.conf:2: publish = y: give an absolute path"),
        ('[collection "c"]\nsource=/x\nfeed=y', "gtfs.conf:3: feed = is for a manifest"),
        ('[collection "c"]\nsource=/x\nsigner=AB', "gtfs.conf:3: signer = "),
        ("[defaults]\nmirrors = \\x", "gtfs.conf:2: after a backslash only "),
        ('[defaults]\nmirrors = "/x', "gtfs.conf:2: a quotation mark is not closed; the syntax is that of git-config"),
        ("path = /a", "gtfs.conf:1: a key stands before the first [section]"),
        ("[defaults]\n!", "gtfs.conf:2: '!' begins neither a [section], a key nor a comment"),
        ('[repository "a', "gtfs.conf:1: a section with a name is written"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_to_do(places: Places, text: str, message: str) -> None:
    said = refused(places, text)
    assert said.startswith(message) and "\n" not in said and said.isprintable()


def test_one_directory_is_seen_behind_a_link(places: Places, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    text = f'[repository "a"]\npath={tmp_path}/real/a.git\n[repository "b"]\npath={tmp_path}/link/a.git\n'
    assert "a.git is the repository of gtfs.conf:1" in refused(places, text)


def test_of_a_bad_drop_in_nothing_counts_and_of_the_others_all(places: Places) -> None:
    found = read(
        places,
        '[repository "a"]\npath=/s/a\n',
        a='[repository "b"]\npath=/s/b\n[repository "c"]\nwrong=1\n',
        b='[repository "c"]\npath=/s/b\n',
        c='[repository "a"]\npath=/s/d\n',
        d='[repository "e"]\npath=/s/a\n',
    )
    assert [(r.name, r.directory) for r in found.repositories] == [("a", Path("/s/a")), ("c", Path("/s/b"))]
    first, second, third = map(str, found.troubles)
    assert first.startswith(f"{places.drop_ins}/a.conf:4: ")
    assert second.startswith(f"{places.drop_ins}/c.conf:1: ") and third.startswith(f"{places.drop_ins}/d.conf:2: ")


def test_a_drop_in_that_cannot_be_read_is_named(places: Places) -> None:
    (places.drop_ins / "x.conf").symlink_to("nowhere")
    found = read(places, "")
    assert str(found.troubles[0]) == f"{places.drop_ins}/x.conf: No such file or directory"


def test_a_thousand_drop_ins_need_no_process(places: Places) -> None:
    for n in range(1000):
        (places.drop_ins / f"{n:04}.conf").write_text(f'[repository "r{n}"]\npath = /srv/r{n}.git\n')
    assert len(read(places, "").repositories) == 1000


def test_a_status_that_does_not_fit_is_named_with_its_place(places: Places) -> None:
    with pytest.raises(BadSettings, match=r"gtfs\.conf:2: nonsense is no option"):
        read(places, "\n[status]\nlisten = nonsense\n")
