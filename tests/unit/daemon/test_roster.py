# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs: what is bad stops nothing, what comes and goes does, and who wants one name or directory first has it."""

from __future__ import annotations

import itertools
import logging
import math
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from waiting import WAIT_S

from gtfs.collection.followed import FollowSettings
from gtfs.collection.wanted import WantedRepository
from gtfs.daemon import roster as roster_module
from gtfs.daemon import service as service_module
from gtfs.daemon.added import AddedRepositories, BadList, default_name
from gtfs.daemon.conf import Configuration, OptionsCheck
from gtfs.daemon.looks import LOOK_S
from gtfs.daemon.overview import ANSWER_S, RosterOverview
from gtfs.daemon.places import Places
from gtfs.daemon.roster import (
    FIRST_S,
    LEAVE_S,
    LONGEST_S,
    REREAD_S,
    NodeEnded,
    NodeStays,
    OwnOptions,
    Roster,
    RosterMember,
)
from gtfs.daemon.service import NoSuchRepository, NotAdded, Service
from gtfs.node.options import NodeOptions
from gtfs.overview.health import RepositoryHealth, Thresholds
from gtfs.repo.place import git_dir_at
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


def clock_that_waits_for_threads(monkeypatch: pytest.MonkeyPatch) -> trio.testing.MockClock:
    """One that jumps whenever nothing is to be done, but not as long as a thread is at work."""
    clock, run, at_work = trio.testing.MockClock(autojump_threshold=0), trio.to_thread.run_sync, 0

    async def run_sync(*given: Any, **more: Any) -> Any:
        nonlocal at_work
        at_work += 1
        clock.autojump_threshold = math.inf
        try:
            return await run(*given, **more)
        finally:
            at_work -= 1
            clock.autojump_threshold = math.inf if at_work else 0

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    return clock


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

    trio.run(main, clock=clock_that_waits_for_threads(monkeypatch))


def stages(roster: Roster) -> dict[str, str]:
    return {m.wanted.name: m.progress for m in roster.members()}


def test_of_a_mirror_that_a_list_brought_the_first_catalogue_has_to_have_the_id_that_the_list_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Opened(Exception):
        pass

    def open_source(_source: object, trust: TrustGiven, *_: object, **__: object) -> None:
        raise Opened(trust.repository)

    monkeypatch.setattr(roster_module, "open_source", open_source)

    async def act(roster: Roster, _: trio.Nursery) -> None:
        for expected in ("demo", None):
            one = WantedRepository("a", "https://example.org/a", tmp_path / "a.git", repository=expected)
            with pytest.raises(Opened, match=f"^{expected}$"):
                await roster._open(one, AsyncExitStack())

    with_roster(monkeypatch, Runs(), act)


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


class HangingRuns(Runs):
    """Those of a name that hangs end once ``answers``."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = trio.Event()

    async def run(self, roster: Roster, member: RosterMember) -> None:
        try:
            await super().run(roster, member)
        finally:
            if member.wanted.name == "hangs":
                with trio.CancelScope(shield=True):
                    await self.answers.wait()


def test_one_that_hangs_as_it_leaves_keeps_nobody_from_coming_and_going(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs = HangingRuns()

    async def act(roster: Roster, _: trio.Nursery) -> None:
        await roster.want([wanted("hangs"), wanted("gone")])
        await roster.wait_tried()
        with trio.fail_after(2 * LEAVE_S):
            await roster.want([wanted("hangs", "poll=1h"), wanted("new")])
        await roster.wait_tried()
        assert stages(roster) == {"hangs": "trouble", "new": "running"}
        trouble = roster.members()[0].describe()["trouble"]
        assert trouble.startswith("it was to end and has not for 60 s")
        for others in ([wanted("newer")], [wanted("newest"), wanted("hangs", "poll=2h")]):
            with trio.fail_after(LEAVE_S / 2):  # it is known by now
                await roster.want(others)
            await roster.wait_tried()
        assert stages(roster) == {"hangs": "trouble", "newest": "running"} and runs.log.count("+hangs") == 1
        runs.answers.set()
        await trio.testing.wait_all_tasks_blocked()
        assert stages(roster) == {"hangs": "running", "newest": "running"}
        assert [m.wanted.options for m in roster.members()] == [("poll=2h",), ()]
        await roster.want([])
        assert stages(roster) == {}

    with_roster(monkeypatch, runs, act)
    assert [r.getMessage() for r in caplog.records if "was to end" in r.getMessage()] == [
        f"hangs: {NodeStays()}; the others go on"
    ]


def test_one_that_hangs_as_it_leaves_does_not_come_back_unless_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = HangingRuns()

    async def act(roster: Roster, _: trio.Nursery) -> None:
        await roster.want([wanted("hangs")])
        await roster.wait_tried()
        await roster.want([wanted("hangs", "poll=1h")])
        await roster.want([])
        runs.answers.set()
        await trio.testing.wait_all_tasks_blocked()
        assert stages(roster) == {} and runs.log == ["+hangs", "-hangs"]

    with_roster(monkeypatch, runs, act)


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


def test_what_is_said_while_it_is_being_tried_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Runs):
        async def run(self, roster: Roster, member: RosterMember) -> None:
            await trio.sleep(10)
            await super().run(roster, member)

    runs = Slow({"bad": [BadRepository("x"), BadRepository("x")]})

    async def act(roster: Roster, _: trio.Nursery) -> None:
        await roster.want([wanted("bad")])
        await trio.sleep(5)  # its first try has to fail, by what was so before
        roster.try_again()
        await roster.wait_tried()
        began_s = trio.current_time()
        await trio.sleep(10.5)
        assert runs.log == ["+bad", "+bad"] and trio.current_time() < began_s + 0.8 * FIRST_S + 10

    with_roster(monkeypatch, runs, act)


# -- what is asked of a node --------------------------------------------------------------------------------------


class FakeNode:
    """Whose settings and sync take until ``turn`` is set."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.turn = trio.Event()
        self.state = SimpleNamespace(repository=SimpleNamespace(path=Path("/srv/x.git")))
        self.options = None
        self.worktrees = self
        self.fault: Exception | None = None
        self.runs_s = math.inf  # before a fault of gtfs

    async def run_task(self, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep(self.runs_s)
        raise KeyError("oid")

    async def set(self, request: dict[str, Any]) -> dict[str, Any]:
        return await self._work("set", {"is": "set"})

    async def asked_sync(self, request: dict[str, Any], _: object) -> dict[str, Any]:
        return await self._work("sync", {"is": "synced"})

    async def reread(self) -> None:
        await self._work("reread", {})

    async def _work(self, what: str, gives: dict[str, Any]) -> dict[str, Any]:
        self.log.append(what)
        try:
            if self.fault is not None:
                raise self.fault
            await self.turn.wait()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)  # as a thread that is at work
            self.log.append(f"{what} ends")
        return gives


class RunsNodes:
    """Rosters with fake nodes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.nodes: dict[str, FakeNode] = {}  # the last of each name
        self.opened: list[float] = []  # at what times
        self.runs_s = math.inf  # the next one
        self.clock = clock_that_waits_for_threads(monkeypatch)

        async def open_(_roster: Roster, its: WantedRepository, stack: AsyncExitStack) -> FakeNode:
            self.log.append(f"opens {' '.join(its.options)}".strip())
            stack.callback(self.log.append, "closes")
            self.opened.append(trio.current_time())
            node = self.nodes[its.name] = FakeNode(self.log)
            node.runs_s = self.runs_s
            return node

        async def watch(*_: object) -> None: ...

        monkeypatch.setattr(Roster, "_open", open_)
        monkeypatch.setattr(roster_module, "watch_inbox_task", watch)

    def run(
        self, tmp_path: Path, act: Callable[[Service, Roster], Awaitable[None]], *repositories: WantedRepository
    ) -> None:
        async def main() -> None:
            async with trio.open_nursery() as nursery:
                nothing: Any = None
                roster = Roster(nothing, nothing, nursery, lambda _: OwnOptions(NodeOptions(), TrustGiven()))
                configuration = Configuration(repositories=repositories)
                places = Places(tmp_path / "gtfs.conf", tmp_path, tmp_path / "run")
                check = OptionsCheck(lambda words: None, lambda words: None)
                added = AddedRepositories(places.added)
                service = Service(places, configuration, lambda: configuration, check, added, roster, nursery)
                await service.start()
                await roster.wait_tried()
                with trio.fail_after(100_000):
                    await act(service, roster)
                nursery.cancel_scope.cancel()

        trio.run(main, clock=self.clock)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> RunsNodes:
    return RunsNodes(monkeypatch)


@pytest.mark.parametrize("until", ["set", "sync"])
def test_what_a_mirror_is_told_has_ended_before_another_node_has_its_repository_and_who_asked_hears_so(
    nodes: RunsNodes, tmp_path: Path, until: str
) -> None:
    async def act(service: Service, roster: Roster) -> None:
        heard: list[str] = []

        async def ask() -> None:
            with pytest.raises(NodeEnded, match="a has ended meanwhile"):
                await service.handlers()["mirror"]({"name": "a"}, tell)
            heard.append("so")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            if until == "sync":
                nodes.nodes["a"].turn.set()
                nodes.nodes["a"].turn = trio.Event()
                while "sync" not in nodes.log:  # noqa: ASYNC110  nobody reports it
                    await trio.sleep(1)
            await roster.want([wanted("a", "poll=1h")])
            await roster.wait_tried()
        assert heard == ["so"]

    nodes.run(tmp_path, act, wanted("a"))
    ended = ["set", "set ends"] + (["sync", "sync ends"] if until == "sync" else [])
    assert nodes.log == ["opens", *ended, "closes", "opens poll=1h", "closes"]


def test_who_asked_a_mirror_and_hung_up_leaves_nothing_that_goes_on(nodes: RunsNodes, tmp_path: Path) -> None:
    async def act(service: Service, roster: Roster) -> None:
        with trio.move_on_after(5) as scope:
            await service.handlers()["mirror"]({"name": "a"}, tell)
        assert scope.cancelled_caught and nodes.log == ["opens", "set", "set ends"]
        nodes.nodes["a"].turn.set()
        done = await service.handlers()["mirror"]({"name": "a"}, tell)
        assert done == {"is": "set", "sync": {"is": "synced"}}

    nodes.run(tmp_path, act, wanted("a"))


def test_a_mirror_that_was_written_by_who_was_killed_then_is_read_when_it_is_asked_for(
    nodes: RunsNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(service: Service, roster: Roster) -> None:
        async def reread() -> None:
            service.configuration = Configuration(repositories=(wanted("a"), wanted("b")))
            await service._fill()

        monkeypatch.setattr(service, "reread", reread)
        done: list[Any] = []

        async def ask() -> None:
            done.append(await service.handlers()["mirror"]({"name": "b", "sync": False}, tell))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            while "b" not in nodes.nodes:  # noqa: ASYNC110  nobody reports it
                await trio.sleep(1)
            nodes.nodes["b"].turn.set()
        assert done == [{"is": "set", "sync": None}]
        with pytest.raises(NoSuchRepository, match="c does not run"):
            await service.handlers()["mirror"]({"name": "c"}, tell)

    nodes.run(tmp_path, act, wanted("a"))


def test_a_fault_in_what_was_asked_is_for_who_asked_and_the_node_goes_on(nodes: RunsNodes, tmp_path: Path) -> None:
    async def act(service: Service, roster: Roster) -> None:
        nodes.nodes["a"].fault = KeyError("oid")
        with pytest.raises(KeyError):
            await service.handlers()["mirror"]({"name": "a"}, tell)
        await trio.sleep(100)
        assert stages(roster) == {"a": "running"} and "closes" not in nodes.log

    nodes.run(tmp_path, act, wanted("a"))


def test_a_node_that_ends_while_it_reads_its_settings_again_hinders_no_other(nodes: RunsNodes, tmp_path: Path) -> None:
    async def act(service: Service, roster: Roster) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(roster.reread)
            await trio.testing.wait_all_tasks_blocked()
            nodes.nodes["b"].turn.set()
            await roster.want([wanted("b")])
        # The first has closed when it had ended that, and the second took its settings up.
        assert sorted(nodes.log[2:]) == ["closes", *["reread"] * 2, *["reread ends"] * 2]
        assert nodes.log[2:4] == ["reread", "reread ends"] and stages(roster) == {"b": "running"}

    nodes.run(tmp_path, act, wanted("a"), wanted("b"))


def test_a_node_that_ends_while_it_is_judged_is_one_that_does_not_run(
    nodes: RunsNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def judge(node: FakeNode, *_: object) -> None:
        await node.reread()

    monkeypatch.setattr("gtfs.daemon.overview.judge_node", judge)

    async def act(service: Service, roster: Roster) -> None:
        found: list[Any] = []

        async def look() -> None:
            found.extend(await RosterOverview(roster, Thresholds()).judge())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await trio.testing.wait_all_tasks_blocked()
            await roster.want([])
        assert [each.name for each in found] == ["a"] and nodes.log[1:] == ["reread", "reread ends", "closes"]

    nodes.run(tmp_path, act, wanted("a"))


def test_a_fault_in_one_that_reads_its_settings_again_hinders_no_other(nodes: RunsNodes, tmp_path: Path) -> None:
    async def act(service: Service, roster: Roster) -> None:
        nodes.nodes["a"].fault = KeyError("oid")
        nodes.nodes["b"].turn.set()
        await roster.reread()
        assert nodes.log[2:] == ["reread", "reread ends"] * 2 and stages(roster) == {"a": "running", "b": "running"}

    nodes.run(tmp_path, act, wanted("a"), wanted("b"))


def test_one_that_a_fault_ends_again_and_again_is_tried_less_and_less_often_unless_it_ran_for_long(
    nodes: RunsNodes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(service: Service, roster: Roster) -> None:
        await trio.sleep(500)
        rests = [later - earlier - 1 for earlier, later in itertools.pairwise(nodes.opened)]
        assert len(rests) >= 4
        for tries, rest in enumerate(rests):
            assert rest == pytest.approx(FIRST_S * 2**tries, rel=0.21)
        nodes.runs_s, count = 2 * LONGEST_S, len(nodes.opened)
        await trio.sleep(6 * LONGEST_S)
        first, second = nodes.opened[count : count + 2]
        assert second - first - 2 * LONGEST_S == pytest.approx(FIRST_S, rel=0.21)

    nodes.runs_s = 1.0
    nodes.run(tmp_path, act, wanted("a"))
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [KeyError] * 3  # the first, and after a long run


def test_one_that_a_fault_ends_after_long_in_use_by_another_process_is_tried_as_soon_as_any(
    nodes: RunsNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(service: Service, roster: Roster) -> None:
        await trio.sleep(LONGEST_S)
        assert stages(roster) == {"a": "trouble"} and not nodes.opened
        is_in_use.clear()
        await trio.sleep(200)
        first, second = nodes.opened[:2]
        assert second - first - 100 == pytest.approx(FIRST_S, rel=0.21)

    open_, is_in_use = Roster._open, [True]

    async def open_once_free(roster: Roster, its: WantedRepository, stack: AsyncExitStack) -> Any:
        if is_in_use:
            raise Busy(Path("/srv/a.git/gtfs/lock"), 7, is_node=True)
        return await open_(roster, its, stack)

    monkeypatch.setattr(Roster, "_open", open_once_free)
    nodes.runs_s = 100.0
    nodes.run(tmp_path, act, wanted("a"))


def test_a_node_whose_disk_hangs_hides_no_other_and_no_second_look_at_it_is_begun(
    nodes: RunsNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    answers = trio.Event()

    async def judge(node: FakeNode, _: object, name: str) -> RepositoryHealth:
        looks.append(name)
        if name == "a":
            with trio.CancelScope(shield=True):  # as a thread is
                await answers.wait()
        return RepositoryHealth(name, "fresh")

    monkeypatch.setattr("gtfs.daemon.overview.judge_node", judge)

    async def act(service: Service, roster: Roster) -> None:
        overview = RosterOverview(roster, Thresholds())

        async def told() -> dict[str, tuple[str, ...]]:
            return {one.name: (one.standing, *one.trouble) for one in await overview.judge()}

        away = {"a": ("unreachable", "its node does not answer"), "b": ("fresh",)}
        with trio.fail_after(2 * ANSWER_S):
            assert await told() == away
        with trio.fail_after(ANSWER_S / 2):  # it is known by now
            assert await told() == away
        assert sorted(looks) == ["a", "b", "b"]
        answers.set()
        await trio.testing.wait_all_tasks_blocked()
        assert await told() == {"a": ("fresh",), "b": ("fresh",)}

    nodes.run(tmp_path, act, wanted("a"), wanted("b"))


def test_a_fault_as_one_is_judged_hides_no_other_and_is_logged_once(
    nodes: RunsNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def judge(node: FakeNode, _: object, name: str) -> RepositoryHealth:
        await trio.lowlevel.checkpoint()
        if name == "a":
            raise KeyError("oid")
        return RepositoryHealth(name, "fresh")

    monkeypatch.setattr("gtfs.daemon.overview.judge_node", judge)

    async def act(service: Service, roster: Roster) -> None:
        overview = RosterOverview(roster, Thresholds())
        for _ in range(2):
            a, b = await overview.judge()
            assert (a.standing, b.standing) == ("unreachable", "fresh") and "KeyError: 'oid'" in a.trouble[0]
        assert stages(roster) == {"a": "running", "b": "running"}

    nodes.run(tmp_path, act, wanted("a"), wanted("b"))
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [KeyError]


def test_an_error_of_the_only_one_is_one_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(roster: Roster, _: trio.Nursery) -> None:
        await roster.want([wanted("bad")])
        await trio.sleep_forever()

    with pytest.raises(ExceptionGroup, match="nursery"):
        with_roster(monkeypatch, Runs({"bad": [BadRepository("x")]}), act, goes_on=False)


def test_one_that_hangs_as_it_reads_its_settings_again_hinders_no_other(
    nodes: RunsNodes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gtfs")

    async def act(service: Service, roster: Roster) -> None:
        nodes.nodes["b"].turn.set()
        with trio.fail_after(2 * REREAD_S):
            await roster.reread()
        assert nodes.log[2:] == ["reread", "reread", "reread ends"]
        nodes.nodes["a"].turn.set()
        await trio.sleep(10)
        assert nodes.log[5:] == ["reread ends"] and caplog.text.count("the settings of /srv/x.git were read") == 2

    nodes.run(tmp_path, act, wanted("a"), wanted("b"))


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

    trio.run(main, clock=clock_that_waits_for_threads(monkeypatch))
    assert max(opening) == roster_module.AT_ONCE


# -- disks that do not answer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", [True, False], ids=["late", "never"])
@pytest.mark.parametrize("look", ["forks.git_dir_at", "service.real_path"])
def test_a_disk_that_does_not_answer_where_a_repository_lies_stops_nobody_and_takes_no_thread_of_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: str, answers: bool
) -> None:
    may_answer = threading.Event()
    asks = trio.Event()

    def hangs(path: Path) -> Path:
        if path.name == "hangs.git":
            trio.from_thread.run_sync(asks.set)
            assert may_answer.wait(WAIT_S)
        return path

    monkeypatch.setattr(f"gtfs.daemon.{look}", hangs)
    configuration = Configuration(repositories=(wanted("good"),))

    async def act(service: Service, roster: Roster) -> None:
        service.configuration = Configuration(repositories=(wanted("good"), wanted("hangs")))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service._fill)
            try:
                with trio.fail_after(WAIT_S):
                    await asks.wait()
                assert stages(roster) == {"good": "running"}
                assert not trio.to_thread.current_default_thread_limiter().borrowed_tokens
                if answers:
                    may_answer.set()
                else:
                    clock = trio.lowlevel.current_clock()
                    assert isinstance(clock, trio.testing.MockClock)
                    clock.jump(LOOK_S)
            except BaseException:
                may_answer.set()
                raise
        await roster.wait_tried()
        assert stages(roster) == {"good": "running", "hangs": "running"}
        may_answer.set()

    with_service(tmp_path, monkeypatch, configuration, act)


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


def test_nothing_that_runs_waits_for_a_look_at_where_directories_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []

    def look(work: Callable[[Path], Path], path: Path) -> Path:
        trio.from_thread.run(trio.lowlevel.checkpoint)  # the loop goes on meanwhile
        seen.append(path)
        return work(path)

    monkeypatch.setattr(service_module, "real_path", partial(look, service_module.real_path))
    monkeypatch.setattr("gtfs.daemon.forks.git_dir_at", partial(look, git_dir_at))

    async def act(service: Service, roster: Roster) -> None:
        await service.handlers()["add"]({"source": "https://example.org/new/"}, tell)
        assert stages(roster) == {"a": "running", "new": "running"}
        await service.handlers()["remove"]({"name": "new"}, tell)
        assert stages(roster) == {"a": "running"}

    with_service(tmp_path, monkeypatch, Configuration(repositories=(wanted("a"),), mirrors=tmp_path), act)
    assert set(seen) == {wanted("a").directory, tmp_path / "new.git"}


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


def test_of_two_that_read_the_configuration_again_the_later_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = threading.Event()
    reads = 0

    def read() -> Configuration:
        nonlocal reads
        reads += 1
        if reads > 1:
            return Configuration(repositories=(wanted("new"),))
        assert may_go_on.wait(WAIT_S)
        return Configuration(repositories=(wanted("old"),))

    async def act(service: Service, roster: Roster) -> None:
        service._read = read
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(service.reread)
                await trio.testing.wait_all_tasks_blocked(0.05)
            may_go_on.set()
        assert set(stages(roster)) == {"new"}

    with_service(tmp_path, monkeypatch, Configuration(), act)


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

    def describe(self) -> dict[str, Any]:
        return {"name": self.settings.name, "stage": "running", "trouble": None}


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


@pytest.mark.parametrize("where", ["open", "run_task"])
def test_a_fault_in_one_collection_ends_nothing_else_is_told_and_tried_again_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    log: list[str] = []
    monkeypatch.setattr(Follower, "log", log)

    class Faulty(Follower):
        async def open(self) -> None:
            await super().open()
            if where == "open" and len(log) < 4:
                raise KeyError("oid")

        async def run_task(self) -> None:
            if where == "run_task" and len(log) < 4:
                self.ended.set()
                raise KeyError("oid")
            await super().run_task()

    monkeypatch.setattr("gtfs.daemon.service.CollectionFollower", Faulty)
    followed = FollowSettings("kernel", "list", tmp_path / "mirrors")

    async def act(service: Service, roster: Roster) -> None:
        overview = RosterOverview(roster, Thresholds())
        for tries in (1, 2, 3):
            await trio.testing.wait_all_tasks_blocked()
            assert log == ["reads list"] * tries and stages(roster) == {"a": "running"}
            (told,) = (await service.handlers()["list"]({}, tell))["collections"]
            assert told["stage"] == "trouble" and "KeyError: 'oid'" in told["trouble"]
            (one,) = [one for one in await overview.judge() if one.name != "a"]
            assert one.name == "collection kernel" and one.trouble == (told["trouble"],)
            if tries == 1:
                await service._follow(service.configuration.collections)  # SIGHUP tries it at once
                continue
            rest_s = FIRST_S * 2 ** (tries - 1)
            await trio.sleep(rest_s - 0.5)
            assert len(log) == tries
            await trio.sleep(1)
        await trio.testing.wait_all_tasks_blocked()
        (told,) = (await service.handlers()["list"]({}, tell))["collections"]
        assert log == ["reads list"] * 4 and (told["stage"], told["trouble"]) == ("running", None)

    with_service(tmp_path, monkeypatch, Configuration(repositories=(wanted("a"),), collections=(followed,)), act)
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [KeyError]


def test_a_fault_in_what_a_collection_wants_as_it_is_tried_again_ends_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log: list[str] = []
    monkeypatch.setattr(Follower, "log", log)

    class Faulty(Follower):
        async def run_task(self) -> None:
            if len(log) == 1:
                raise KeyError("first")
            await super().run_task()

        def wanted(self) -> list[WantedRepository]:
            if len(log) == 2:
                raise KeyError("then")
            return []

    monkeypatch.setattr("gtfs.daemon.service.CollectionFollower", Faulty)
    followed = FollowSettings("kernel", "list", tmp_path / "mirrors")

    async def act(service: Service, roster: Roster) -> None:
        await trio.sleep(2 * FIRST_S)
        assert log == ["reads list"] * 2 and stages(roster) == {"a": "running"}

    with_service(tmp_path, monkeypatch, Configuration(repositories=(wanted("a"),), collections=(followed,)), act)
    assert [str(r.exc_info[1]) for r in caplog.records if r.exc_info] == ["'first'", "'then'"]


def test_a_fault_in_one_collection_that_is_looked_at_again_hinders_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Faulty(Follower):
        async def look(self) -> None:
            self.log.append(f"looks at {self.settings.source}")
            if self.settings.name == "a":
                raise KeyError("oid")

    monkeypatch.setattr("gtfs.daemon.service.CollectionFollower", Faulty)
    log: list[str] = []
    monkeypatch.setattr(Follower, "log", log)
    followed = tuple(FollowSettings(name, name, tmp_path / name) for name in "ab")

    async def act(service: Service, roster: Roster) -> None:
        await service.reread()
        assert sorted(log[2:]) == ["looks at a", "looks at b"]

    with_service(tmp_path, monkeypatch, Configuration(collections=followed), act)


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
        service.configuration = Configuration(collections=collections("second"))
        with trio.move_on_after(hangs_up_s) as scope:
            await service._follow(service.configuration.collections)
        assert scope.cancelled_caught
        for source in ("first", "third"):
            service.configuration = Configuration(collections=collections(source))
            with trio.fail_after(100):
                await service._follow(service.configuration.collections)

    with_service(tmp_path, monkeypatch, Configuration(collections=collections("first")), act)
    second = ["reads second", "has written second"] if hangs_up_s == 15 else []
    assert log == ["reads first", "has written first", *second, "reads first", "has written first", "reads third"]


def test_a_collection_is_followed_though_who_asked_for_its_end_has_hung_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gtfs.daemon.service.CollectionFollower", Follower)
    log: list[str] = []
    monkeypatch.setattr(Follower, "log", log)

    async def act(service: Service, roster: Roster) -> None:
        await trio.testing.wait_all_tasks_blocked()
        service.configuration = followed(tmp_path, "second")
        with trio.move_on_after(5):  # it takes ten
            await service._follow(service.configuration.collections)
        await trio.sleep(10)
        assert log == ["reads first", "has written first", "reads second"] and not service._staying

    with_service(tmp_path, monkeypatch, followed(tmp_path, "first"), act)


class Hanging(Follower):
    """One on a disk that answers at a call of ``may_go_on`` only, where ``hangs`` says so."""

    may_go_on = trio.Event()
    hangs = ""

    async def _wait(self, what: str) -> None:
        if self.settings.source == "dead" and self.hangs == what:
            with trio.move_on_after(1000, shield=True):  # as a thread that does not return
                await self.may_go_on.wait()

    async def open(self) -> None:
        await self._wait("open")
        await super().open()
        self.is_open = True

    async def look(self) -> None:
        if self.settings.source == "dead" and self.hangs == "look":
            await self.may_go_on.wait()
        self.log.append(f"has looked at {self.settings.source}")

    def wanted(self) -> list[WantedRepository]:
        return [wanted(f"of-{self.settings.source}")] if hasattr(self, "is_open") else []


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> type[Hanging]:
    monkeypatch.setattr("gtfs.daemon.service.CollectionFollower", Hanging)
    monkeypatch.setattr(Hanging, "log", [])
    monkeypatch.setattr(Hanging, "may_go_on", trio.Event())
    return Hanging


def followed(tmp_path: Path, *sources: str) -> Configuration:
    collections = tuple(FollowSettings(f"c{n}", source, tmp_path / f"{n}") for n, source in enumerate(sources))
    return Configuration(repositories=(wanted("a"),), collections=collections)


def test_a_collection_on_a_disk_that_does_not_answer_keeps_no_other_from_its_start_and_comes_when_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hanging: type[Hanging]
) -> None:
    monkeypatch.setattr(hanging, "hangs", "open")

    async def act(service: Service, roster: Roster) -> None:
        await trio.sleep(1)
        assert stages(roster) == {"a": "running", "of-good": "running"}
        hanging.may_go_on.set()
        await trio.sleep(1)
        assert stages(roster) == {"a": "running", "of-good": "running", "of-dead": "running"}
        assert not service._late

    with_service(tmp_path, monkeypatch, followed(tmp_path, "dead", "good"), act)


@pytest.mark.warns
def test_a_collection_that_does_not_end_stays_until_it_has_and_its_settings_count_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hanging: type[Hanging], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hanging, "hangs", "open")

    async def act(service: Service, roster: Roster) -> None:
        service._read = lambda: followed(tmp_path, "better", "other")
        began_s = trio.current_time()
        await service.reread()
        assert trio.current_time() - began_s < 4 * LEAVE_S
        await trio.sleep(1)
        assert stages(roster) == {"a": "running", "of-other": "running"}
        await service.reread()  # again and again
        hanging.may_go_on.set()
        await trio.sleep(30)
        assert stages(roster) == {"a": "running", "of-other": "running", "of-better": "running"}
        assert not service._late and not service._staying

    with_service(tmp_path, monkeypatch, followed(tmp_path, "dead", "good"), act)
    assert [r.getMessage() for r in caplog.records if "collection" in r.getMessage()] == [
        f"collection c0: {NodeStays()}"
    ]


def test_a_look_at_a_collection_that_does_not_return_keeps_no_other_from_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hanging: type[Hanging]
) -> None:
    monkeypatch.setattr(hanging, "hangs", "look")

    async def act(service: Service, roster: Roster) -> None:
        service._read = lambda: followed(tmp_path, "dead", "good", "new")
        for _ in range(2):
            with trio.fail_after(2 * LEAVE_S):
                await service.reread()
        assert hanging.log.count("has looked at good") == 2 and "of-new" in stages(roster)

    with_service(tmp_path, monkeypatch, followed(tmp_path, "dead", "good"), act)
