# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs: what is bad stops nothing, what comes and goes does, and who wants one name or directory first has it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from gtfs.collection.followed import FollowSettings
from gtfs.collection.wanted import WantedRepository
from gtfs.daemon import roster as roster_module
from gtfs.daemon.added import AddedRepositories, BadList, default_name
from gtfs.daemon.conf import Configuration, OptionsCheck
from gtfs.daemon.places import Places
from gtfs.daemon.roster import FIRST_S, OwnOptions, Roster, RosterMember
from gtfs.daemon.service import NoSuchRepository, NotAdded, Service
from gtfs.node.options import NodeOptions
from gtfs.repo.repository import BadRepository
from gtfs.state.lock import Busy
from gtfs.state.trustgiven import TrustGiven

pytestmark = pytest.mark.warns


def wanted(name: str, *options: str, at: str | None = None) -> WantedRepository:
    path = Path(f"/srv/{at or name}.git")
    return WantedRepository(name, str(path), path, options, f"gtfs.conf:{name}")


class Runs:
    """In the place of nodes: who began and ended, and with what each try of a name ends."""

    def __init__(self, ends: dict[str, list[Exception | None]] | None = None) -> None:
        self.log: list[str] = []
        self.ends = ends or {}

    async def run(self, roster: Roster, member: RosterMember) -> None:
        name = member.wanted.name
        self.log.append(f"+{name}")
        error = self.ends[name].pop(0) if self.ends.get(name) else None
        if error is not None:
            raise error
        member.trouble, member.tries, member.progress = None, 0, "running"
        member.tried.set()
        try:
            await trio.sleep_forever()
        finally:
            self.log.append(f"-{name}")


def with_roster(
    monkeypatch: pytest.MonkeyPatch, runs: Runs, act: Callable[[Roster, trio.Nursery], Awaitable[None]], **more: Any
) -> None:
    monkeypatch.setattr(Roster, "_run", lambda roster, member: runs.run(roster, member))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nothing: Any = None
            roster = Roster(nothing, nothing, nursery, lambda _: OwnOptions(NodeOptions(), TrustGiven()), **more)
            await act(roster, nursery)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def stages(roster: Roster) -> dict[str, str]:
    return {m.wanted.name: m.progress for m in roster.members()}


def test_one_that_fails_is_named_once_and_tried_again_while_the_others_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs = Runs({"bad": [BadRepository("it is damaged"), BadRepository("it is damaged"), None]})

    async def act(roster: Roster, _: trio.Nursery) -> None:
        await roster.want([wanted("bad"), wanted("good")])
        await roster.wait_tried()
        assert stages(roster) == {"bad": "trouble", "good": "running"}
        assert [m.describe()["trouble"] for m in roster.members()] == ["it is damaged", None]
        # The second try after about FIRST_S, the third twice as long after that.
        await trio.sleep(2.3 * FIRST_S)
        assert stages(roster)["bad"] == "trouble"
        await trio.sleep(1.5 * FIRST_S)
        assert stages(roster)["bad"] == "running"

    with_roster(monkeypatch, runs, act)
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        "bad: it is damaged; the others go on, and it is tried again"
    ]
    assert runs.log.count("+good") == 1


def test_a_fault_of_ours_in_one_is_logged_with_its_place_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs = Runs({"bad": [KeyError("oid"), None]})

    async def act(roster: Roster, _: trio.Nursery) -> None:
        await roster.want([wanted("bad"), wanted("good")])
        await roster.wait_tried()
        assert stages(roster) == {"bad": "trouble", "good": "running"}
        assert "a fault of gtfs ended it (KeyError: 'oid')" in roster.members()[0].describe()["trouble"]
        await trio.sleep(2 * FIRST_S)
        assert stages(roster)["bad"] == "running"

    with_roster(monkeypatch, runs, act)
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [KeyError]


def test_one_that_another_process_has_is_tried_each_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs({"used": [Busy(Path("/srv/used.git/gtfs/lock"), 7, is_node=True)] * 60})

    async def act(roster: Roster, _: trio.Nursery) -> None:
        await roster.want([wanted("used")])
        await trio.sleep(3600)

    with_roster(monkeypatch, runs, act)
    assert runs.log.count("+used") > 45


def test_only_what_changed_is_ended_and_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs()

    async def act(roster: Roster, _: trio.Nursery) -> None:
        await roster.want([wanted("same"), wanted("gone"), wanted("other", "poll=1h")])
        await roster.wait_tried()
        runs.log.clear()
        await roster.want([wanted("same"), wanted("new"), wanted("other", "poll=2h")])
        await roster.wait_tried()
        assert sorted(runs.log) == ["+new", "+other", "-gone", "-other"]

    with_roster(monkeypatch, runs, act)


class LateRuns(Runs):
    """Each takes 10 s to end."""

    async def run(self, roster: Roster, member: RosterMember) -> None:
        try:
            await super().run(roster, member)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(10)


def test_of_one_that_ends_nothing_is_left_though_who_wanted_it_has_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = LateRuns()

    async def act(roster: Roster, _: trio.Nursery) -> None:
        for name in ("again", "gone"):
            await roster.want([wanted(name)])
            await roster.wait_tried()
            with trio.move_on_after(1) as scope:
                await roster.want([])
            assert scope.cancelled_caught
            if name == "again":
                await roster.want([wanted(name)])
                await roster.wait_tried()
                assert stages(roster) == {name: "running"}
        await trio.sleep(20)
        assert stages(roster) == {}

    with_roster(monkeypatch, runs, act)
    assert runs.log == ["+again", "-again", "+again", "-again", "+gone", "-gone"]


def test_who_waits_after_a_failure_is_tried_at_once_when_somebody_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs({"bad": [BadRepository("x")]})

    async def act(roster: Roster, _: trio.Nursery) -> None:
        await roster.want([wanted("bad")])
        await roster.wait_tried()
        began_s = trio.current_time()
        await trio.testing.wait_all_tasks_blocked()
        roster.try_again()
        await trio.testing.wait_all_tasks_blocked()
        assert stages(roster) == {"bad": "running"} and trio.current_time() == began_s

    with_roster(monkeypatch, runs, act)


def test_an_error_of_the_only_one_is_one_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(roster: Roster, _: trio.Nursery) -> None:
        await roster.want([wanted("bad")])
        await trio.sleep_forever()

    with pytest.raises(ExceptionGroup, match="nursery"):
        with_roster(monkeypatch, Runs({"bad": [BadRepository("x")]}), act, goes_on=False)


def test_no_more_than_a_few_are_opened_at_the_same_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    opening: list[int] = []
    now = 0

    async def open_(roster: Roster, its: WantedRepository, stack: object) -> Any:
        nonlocal now
        now += 1
        opening.append(now)
        await trio.sleep(1)
        now -= 1
        raise BadRepository("x")

    monkeypatch.setattr(Roster, "_open", open_)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nothing: Any = None
            roster = Roster(nothing, nothing, nursery, lambda _: OwnOptions(NodeOptions(), TrustGiven()))
            await roster.want(wanted(f"r{n}") for n in range(50))
            await roster.wait_tried()
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert max(opening) == roster_module.AT_ONCE


# -- what is added ------------------------------------------------------------------------------------------------


def test_what_was_added_is_there_after_a_restart(tmp_path: Path) -> None:
    added = AddedRepositories(tmp_path / "added.json")
    one = WantedRepository("pub/a", "https://example.org/a/", Path("/m/a.git"), ("prefetch",), "gtfs seed add")
    added.add(one)
    assert AddedRepositories(tmp_path / "added.json").all() == [one]
    added.remove("pub/a")
    assert AddedRepositories(tmp_path / "added.json").all() == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"format": 2, "repositories": []}',
        '{"format": 1, "repositories": [{"name": "../x"}]}',
        '{"format": 1, "repositories": [{"name": 1, "source": "/a", "directory": "/a", "options": []}]}',
        "[" * 9999,
    ]
    + ['{"format": 1, "repositories": [{"name": "../x", "source": "/a", "directory": "/a", "options": []}]}'],
)
def test_a_list_that_cannot_be_read_is_told_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "added.json").write_text(text)
    with pytest.raises(BadList, match="move it away"):
        AddedRepositories(tmp_path / "added.json")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/srv/git/linux.git", "linux"),
        ("https://example.org/pub/linux.git/gtfs/catalogue/latest.asc", "linux"),
        ("gtfs:abcd/demo", "demo"),
        ("/home/u/work/.git", "work"),
    ],
)
def test_a_source_has_a_name_that_people_recognise(source: str, name: str) -> None:
    assert default_name(source) == name


def with_service(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    configuration: Configuration,
    act: Callable[[Service, Roster], Awaitable[None]],
) -> None:
    async def body(roster: Roster, nursery: trio.Nursery) -> None:
        places = Places(tmp_path / "gtfs.conf", tmp_path, tmp_path / "run")
        added = AddedRepositories(places.added)
        check = OptionsCheck(lambda words: None, lambda words: None)
        service = Service(places, configuration, lambda: configuration, check, added, roster, nursery)
        await service.start()
        await act(service, roster)

    with_roster(monkeypatch, Runs(), body)


def tell(_: object) -> None:
    pass


def test_of_two_that_want_one_directory_the_first_runs_and_the_other_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = Configuration(repositories=(wanted("a"), wanted("b", at="a"), wanted("c")))

    async def act(service: Service, roster: Roster) -> None:
        assert set(stages(roster)) == {"a", "c"}
        found = await service.handlers()["list"]({}, tell)
        assert found["troubles"] == ["b of gtfs.conf:b does not run: its name or directory is that of a of gtfs.conf:a"]

    with_service(tmp_path, monkeypatch, configuration, act)


def test_what_is_added_runs_and_goes_again_and_what_is_configured_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(service: Service, roster: Roster) -> None:
        ask = service.handlers()
        done = await ask["add"]({"source": "https://example.org/x/"}, tell)
        assert (done["name"], done["directory"], done["stage"]) == ("x", "/m/x.git", "running")
        assert set(stages(roster)) == {"a", "x"}
        for name, message in (("x", "is the name of"), ("y", "already")):
            with pytest.raises(NotAdded, match=message):
                await ask["add"]({"source": "https://example.org/x/", "name": name} | twice(name), tell)
        with pytest.raises(NoSuchRepository, match=r"comes from gtfs\.conf:a"):
            await ask["remove"]({"name": "a"}, tell)
        await ask["remove"]({"name": "x"}, tell)
        assert set(stages(roster)) == {"a"}

    def twice(name: str) -> dict[str, Any]:
        monkeypatch.setattr("gtfs.daemon.service.mirror_directory", lambda mirrors, _: Path("/m/x.git"))
        return {}

    configuration = Configuration(mirrors=Path("/m"), repositories=(wanted("a"),))
    with_service(tmp_path, monkeypatch, configuration, act)


# -- collections that are followed --------------------------------------------------------------------------------


class Follower:
    """In the place of one: what is being written when it is to end is written to the end."""

    log: list[str] = []

    def __init__(self, _root: object, settings: FollowSettings, *_: object) -> None:
        self.settings = settings
        self.scope, self.ended = trio.CancelScope(), trio.Event()

    async def open(self) -> None:
        self.log.append(f"reads {self.settings.source}")

    async def run_task(self) -> None:
        with self.scope:
            await trio.sleep_forever()
        with trio.CancelScope(shield=True):
            await trio.sleep(10)
        self.log.append(f"has written {self.settings.source}")
        self.ended.set()

    async def look(self) -> None: ...

    def hurry(self) -> None: ...

    def wanted(self) -> list[WantedRepository]:
        return []


def test_who_follows_a_collection_by_other_settings_begins_when_the_one_before_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gtfs.daemon.service.CollectionFollower", Follower)
    log: list[str] = []
    monkeypatch.setattr(Follower, "log", log)

    def configuration(source: str) -> Configuration:
        return Configuration(collections=(FollowSettings("kernel", source, tmp_path / "mirrors"),))

    async def act(service: Service, roster: Roster) -> None:
        service._read = lambda: configuration("second")
        async with trio.open_nursery() as nursery:  # as by SIGHUP and by a command
            nursery.start_soon(service.reread)
            nursery.start_soon(service.reread)

    with_service(tmp_path, monkeypatch, configuration("first"), act)
    assert log == ["reads first", "has written first", "reads second"]


@pytest.mark.parametrize("hangs_up_s", [5, 15])  # while the one before ends, while the next one is opened
def test_a_collection_is_followed_though_who_asked_for_it_has_hung_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs_up_s: float
) -> None:
    class Slow(Follower):
        async def open(self) -> None:
            await trio.sleep(10)
            await super().open()

    monkeypatch.setattr("gtfs.daemon.service.CollectionFollower", Slow)
    log: list[str] = []
    monkeypatch.setattr(Follower, "log", log)

    def collections(source: str) -> tuple[FollowSettings]:
        return (FollowSettings("kernel", source, tmp_path / "mirrors"),)

    async def act(service: Service, roster: Roster) -> None:
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(hangs_up_s) as scope:
            await service._follow(collections("second"))
        assert scope.cancelled_caught
        for source in ("first", "third"):
            with trio.fail_after(100):
                await service._follow(collections(source))

    with_service(tmp_path, monkeypatch, Configuration(collections=collections("first")), act)
    assert log == ["reads first", "has written first", "reads first", "has written first", "reads third"]
