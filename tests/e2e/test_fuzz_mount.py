# SPDX-License-Identifier: GPL-3.0-or-later
"""A mounted file system and a model of it, driven through the same random steps, with kills in between.

At the end of each run `gtfs fsck` is clean, git has all that was acknowledged and nothing that was refused. Longer
searches: GTFS_FUZZ_EXAMPLES=200 pytest tests/e2e/test_fuzz_mount.py, which is then random, too.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from house import House, Key, Mount, environment
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from waiting import WAIT_S, wait_for

EXAMPLES = int(os.environ.get("GTFS_FUZZ_EXAMPLES", "0"))
STEPS = 50
EXPECTED = [
    "WARNING gtfs.mount.handover: refused",
    "WARNING gtfs.ingest.ingest: git refused",
    "over the limit incoming",
]
LONGEST_S = 2.0 * WAIT_S  # after which a hanging example is ended by killing its daemon
HALF = """
import os, sys, time
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o644)
os.write(fd, sys.stdin.buffer.read())
print("written", flush=True)
time.sleep(3600)
"""
ODD_NAMES = (b"tmp", b".x.pack.AbCdEf", b"\xff\xfe\n", b"a\nb", "ü".encode(), b"n" * 255, b"x.part", b"0" * 40)

numbers = st.integers(0, 10**6)
names = st.sampled_from(ODD_NAMES)
SOME = st.integers(0, 7)  # which of the packs


@dataclass
class Pack:
    """One of the packs that the steps play with."""

    oid: str
    data: bytes
    parents: tuple[str, ...]

    @property
    def name(self) -> bytes:
        return f"{self.oid}.pack".encode()

    def damaged(self, place: int) -> bytes:
        """One byte is another, under a trailer that fits."""
        body = bytearray(self.data[:-20])
        body[12 + place % (len(body) - 12)] ^= 1 << place % 8
        return bytes(body) + hashlib.sha1(body).digest()


@dataclass
class Model:
    """What must be there: whatever the mount shows beside this is wrong."""

    files: dict[bytes, bytes] = field(default_factory=dict)  # unfinished, with their contents
    taken: set[str] = field(default_factory=set)  # packs whose close or rename was 0
    maybe: set[str] = field(default_factory=set)  # may have got in: never acknowledged, or removed by their owner

    def must_show(self) -> set[bytes]:
        return set(self.files) | {f"{oid}.pack".encode() for oid in self.taken}

    def may_show(self) -> set[bytes]:
        return self.must_show() | {f"{oid}.pack".encode() for oid in self.maybe}


def attempt(call: Callable[[], object]) -> int:
    """0 or the errno."""
    try:
        call()
    except OSError as error:
        assert error.errno not in (errno.EIO, errno.ENOSYS, errno.ENOTCONN, errno.ECONNABORTED), error
        return error.errno or -1
    return 0


class MountMachine(RuleBasedStateMachine):
    """The steps."""

    packs: list[Pack]
    root: Path
    key: Key
    runs = 0

    @initialize()
    def mount(self) -> None:
        MountMachine.runs += 1
        self.house = House(self.root / f"run{self.runs}", self.key)
        self.repository = self.house.empty()
        (self.house.root / "m").mkdir()
        self.model = Model()
        self.number = 0
        self.watchdog: threading.Timer | None = None
        self.begin()

    def begin(self) -> None:
        self.number += 1
        options = ["offline", "incoming_limit=64M"]
        log = self.house.root / f"log{self.number}"
        done = self.house.gtfs(
            "mount", self.repository, self.house.root / "m", "-o", ",".join([*options, f"logfile={log}"])
        )
        # After a kill, what is detached is said; nothing else ever is.
        assert done.err == "" or "detached the dead mount" in done.line
        self.m: Mount = self.house.adopt(self.house.root / "m", self.repository, 0, log, EXPECTED)
        self.dir = os.fsencode(self.m.dir) + b"/"
        if self.watchdog is not None:
            self.watchdog.cancel()
        self.watchdog = threading.Timer(LONGEST_S, os.kill, (self.m.pid, signal.SIGKILL))
        self.watchdog.start()
        # A whole file under its own name that a kill kept from being closed is taken in now.
        for pack in self.packs:
            if self.model.files.get(pack.name) is not None and self.is_whole(self.model.files[pack.name]):
                del self.model.files[pack.name]
                self.model.maybe.add(pack.oid)

    @staticmethod
    def is_whole(data: bytes) -> bool:
        return data[:8] == b"PACK\0\0\0\2" and hashlib.sha1(data[:-20]).digest() == data[-20:]

    def teardown(self) -> None:
        if not hasattr(self, "house"):
            return
        try:
            assert self.watchdog is not None and self.watchdog.is_alive(), "it took too long and was killed"
            self.see_everything()
            self.settle()
            self.m.unmount()
            self.see_git()
        finally:
            if self.watchdog is not None:
                self.watchdog.cancel()
            self.house.close()

    # -- looking --------------------------------------------------------------------------------------------------

    @rule()
    def see_everything(self) -> None:
        shown = os.listdir(self.dir)
        assert len(shown) == len(set(shown))
        assert set(shown) <= self.model.may_show()
        assert self.model.must_show() <= set(shown)
        for name, data in self.model.files.items():
            st_ = os.stat(self.dir + name)
            assert st_.st_size == len(data)
            assert Path(os.fsdecode(self.dir + name)).read_bytes() == data
            assert os.getxattr(self.dir + name, "user.gtfs.state") == b"incoming"
        for pack in self.packs:
            if pack.oid in self.model.taken:
                assert Path(os.fsdecode(self.dir + pack.name)).read_bytes() == pack.data
                wait_for(lambda name=pack.name: self.state(name) in (b"queued", b"unpacked"), "it was handed over")
        os.statvfs(self.dir)
        assert self.m.status()["running"] is True

    def state(self, name: bytes) -> bytes:
        """A file is handed over at its release, which the kernel sends at some time after the close."""
        return os.getxattr(self.dir + name, "user.gtfs.state")

    def settle(self) -> None:
        """All whose ancestors are there are unpacked, sooner or later, and their files are gone.

        The files last: after a kill in between they are taken in once more, since a ref may be missing still.
        """
        complete: set[str] = set()
        for pack in self.packs:  # parents first
            if pack.oid in self.model.taken and set(pack.parents) <= complete:
                complete.add(pack.oid)
                self.m.wait_unpacked(pack.oid)
                written = self.repository / "gtfs" / "incoming" / os.fsdecode(pack.name)
                wait_for(lambda written=written: not written.exists(), f"{written} taken away")
        self.complete = complete

    def see_git(self) -> None:
        house, repository = self.house, self.repository
        held = house.objects(repository)
        assert self.complete <= held
        assert held & {p.oid for p in self.packs} <= self.model.taken | self.model.maybe
        left = {os.fsencode(p.name) for p in (repository / "gtfs" / "incoming").iterdir()}
        allowed = {p.name for p in self.packs if p.oid in (self.model.taken | self.model.maybe) - self.complete}
        assert set(self.model.files) <= left <= set(self.model.files) | allowed, (left, self.model, self.m.text())
        house.run(["git", "-C", repository, "fsck", "--strict", "--full"])

    # -- writing --------------------------------------------------------------------------------------------------

    def ended(self, name: bytes, data: bytes, result: int) -> None:
        """A file called ``name`` was closed (or renamed to it) with these contents."""
        pack = next((p for p in self.packs if p.name == name), None)
        if pack is None:
            assert result == 0
            self.model.files[name] = data
        elif not self.is_whole(data):
            assert result in (0, errno.EBADMSG)
            self.model.files[name] = data
        elif data == pack.data:
            assert result == 0
            self.model.files.pop(name, None)
            self.model.taken.add(pack.oid)
        else:
            # What is wrong shows at once, or, where a base is missing, when it comes. A flipped bit that means
            # nothing to zlib changes no object, and the canonical bytes are shown.
            self.model.files.pop(name, None)
            assert result in (0, errno.EBADMSG)
            if result == 0:
                self.model.maybe.add(pack.oid)

    def open(self, name: bytes, flags: int) -> int | None:
        """A descriptor, or None where a pack stands in the way; its content is then what it was."""
        pack = next((p for p in self.packs if p.name == name), None)
        taken = pack is not None and pack.oid in self.model.taken
        maybe = pack is not None and pack.oid in self.model.maybe
        try:
            fd = os.open(self.dir + name, flags | os.O_CREAT, 0o644)
        except OSError as error:
            assert error.errno in (errno.EPERM, errno.EBUSY), error
            assert taken or maybe
            return None
        assert not taken
        if maybe and not os.fstat(fd).st_size:
            self.model.files.setdefault(name, b"")
        return fd

    def write(self, name: bytes, parts: list[tuple[int, bytes]], flags: int, *, sync: bool = False) -> None:
        fd = self.open(name, flags)
        if fd is None:
            return
        content = bytearray(b"" if flags & os.O_TRUNC else self.model.files.get(name, b""))
        try:
            for offset, data in filter(lambda part: part[1], parts):
                assert os.pwrite(fd, data, offset) == len(data)
                content.extend(bytes(max(0, offset + len(data) - len(content))))
                content[offset : offset + len(data)] = data
            if sync:
                os.fsync(fd)
            assert os.fstat(fd).st_size == len(content)
        except BaseException:
            os.close(fd)
            raise
        self.ended(name, bytes(content), attempt(lambda: os.close(fd)))

    @rule(name=names, offset=numbers, length=st.integers(0, 5000), truncate=st.booleans(), sync=st.booleans())
    def write_anything(self, name: bytes, offset: int, length: int, truncate: bool, sync: bool) -> None:
        data = hashlib.sha256(b"%d" % offset).digest() * (length // 32)
        self.write(name, [(offset % 9000, data)], os.O_RDWR | (os.O_TRUNC if truncate else 0), sync=sync)

    @rule(which=SOME, size=st.sampled_from([1, 16384, 131072]), order=numbers, sync=st.booleans())
    def write_pack_in_pieces(self, which: int, size: int, order: int, sync: bool) -> None:
        pack = self.packs[which]
        size = max(size, len(pack.data) // 20)
        parts = [(i, pack.data[i : i + size]) for i in range(0, len(pack.data), size)]
        parts = parts[order % len(parts) :] + parts[: order % len(parts)]
        self.write(pack.name, parts, os.O_RDWR | os.O_TRUNC, sync=sync)

    @rule(which=SOME, program=st.sampled_from([["cp"], ["cp", "-a"], ["rsync", "-a"], ["rsync", "-a", "--inplace"]]))
    def copy_pack(self, which: int, program: list[str]) -> None:
        pack = self.packs[which]
        path = self.house.root / os.fsdecode(pack.name)
        path.write_bytes(pack.data)
        done = subprocess.run([*program, path, self.m.dir], capture_output=True, text=True, timeout=WAIT_S)
        if pack.oid in self.model.taken | self.model.maybe:
            # It stands in the way of cp; rsync takes it for the same, or replaces it, which is checked.
            assert done.returncode == 0 or "Operation not permitted" in done.stderr or "busy" in done.stderr, done
            if done.returncode:
                return
            state = os.getxattr(self.dir + pack.name, "user.gtfs.state")
            if pack.oid in self.model.maybe and state in (b"unpacked", b"queued") and "--inplace" not in program:
                return
            if pack.oid in self.model.maybe:
                return
        assert done.returncode == 0, done.stderr
        self.model.files.pop(pack.name, None)
        self.model.taken.add(pack.oid)

    @rule(which=SOME, other=SOME, how=st.sampled_from(["damaged", "cut", "longer", "another's", "zeros"]), n=numbers)
    def write_bad_pack(self, which: int, other: int, how: str, n: int) -> None:
        pack = self.packs[which]
        data = {
            "damaged": lambda: pack.damaged(n),
            "cut": lambda: pack.data[: n % len(pack.data)],
            "longer": lambda: pack.data + b"x",
            "another's": lambda: self.packs[other].data,
            "zeros": lambda: bytes(len(pack.data)),
        }[how]()
        self.write(pack.name, [(0, data)], os.O_WRONLY | os.O_TRUNC)

    @rule(name=names, which=SOME, damage=st.one_of(st.none(), numbers))
    def write_under_another_name(self, name: bytes, which: int, damage: int | None) -> None:
        pack = self.packs[which]
        data = pack.data if damage is None else pack.damaged(damage)
        self.write(name, [(0, data)], os.O_WRONLY | os.O_TRUNC)

    @rule(old=names, to=st.one_of(names, SOME))
    def rename(self, old: bytes, to: bytes | int) -> None:
        pack = self.packs[to] if isinstance(to, int) else None
        new = pack.name if pack is not None else to
        assert isinstance(new, bytes)
        data = self.model.files.get(old)
        result = attempt(lambda: os.rename(self.dir + old, self.dir + new))
        if data is None:
            assert result == errno.ENOENT
        elif old == new:
            assert result == 0
        elif pack is None:
            assert result == 0
            self.model.files[new] = self.model.files.pop(old)
        elif not self.is_whole(data):
            assert result in (errno.EBADMSG, errno.EBUSY)
        elif result == 0:
            del self.model.files[old]
            self.model.files.pop(new, None)
            (self.model.taken if data == pack.data else self.model.maybe).add(pack.oid)
        elif result == errno.EBADMSG:
            assert data != pack.data
            del self.model.files[old]
        else:
            assert result == errno.EBUSY and pack.oid in self.model.taken | self.model.maybe

    @rule(target_=st.one_of(names, SOME))
    def unlink(self, target_: bytes | int) -> None:
        pack = self.packs[target_] if isinstance(target_, int) else None
        name = pack.name if pack is not None else target_
        assert isinstance(name, bytes)
        result = attempt(lambda: os.unlink(self.dir + name))
        if name in self.model.files:
            assert result == 0
            del self.model.files[name]
        elif pack is not None and pack.oid in self.model.taken:
            # While it waits for its parents it is its owner's still, who may change his mind.
            assert result in (0, errno.EPERM, errno.EBUSY)
            if result == 0:
                self.model.taken.discard(pack.oid)
                self.model.maybe.add(pack.oid)
        elif pack is not None and pack.oid in self.model.maybe:
            assert result in (0, errno.EPERM, errno.EBUSY, errno.ENOENT)
        else:
            assert result == errno.ENOENT

    @rule(name=names, size=st.one_of(st.integers(0, 3000), st.just(1 << 40)))
    def truncate(self, name: bytes, size: int) -> None:
        result = attempt(lambda: os.truncate(self.dir + name, size))
        data = self.model.files.get(name)
        if data is None:
            assert result == errno.ENOENT
        elif size > 1 << 30:
            assert result == errno.EDQUOT
        else:
            assert result == 0
            self.model.files[name] = data[:size].ljust(size, b"\0")

    @rule(name=names)
    def two_writers(self, name: bytes) -> None:
        first = os.open(self.dir + name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(first, b"first")
        assert attempt(lambda: os.open(self.dir + name, os.O_WRONLY | os.O_TRUNC)) == errno.EBUSY
        assert attempt(lambda: os.truncate(self.dir + name, 0)) == errno.EBUSY
        os.close(first)
        self.model.files[name] = b"first"

    @rule(which=SOME)
    def what_is_not_supported(self, which: int) -> None:
        name = self.dir + self.packs[which].name
        assert attempt(lambda: os.mkdir(self.dir + b"directory")) == errno.EPERM
        assert attempt(lambda: os.symlink("x", self.dir + b"link")) == errno.EPERM
        if self.packs[which].oid in self.model.taken:
            assert attempt(lambda: os.link(name, self.dir + b"link")) == errno.EPERM
            assert attempt(lambda: os.truncate(name, 0)) in (errno.EPERM, errno.EBUSY)
            assert attempt(lambda: os.setxattr(name, "trusted.other", b"")) in (0, errno.EOPNOTSUPP, errno.EPERM)
            assert attempt(lambda: os.chmod(name, 0o600)) == 0
            assert os.stat(name).st_size == len(self.packs[which].data)

    # -- ends -----------------------------------------------------------------------------------------------------

    @rule(which=SOME, share=st.floats(0, 1), whole=st.booleans())
    def a_writer_is_killed(self, which: int, share: float, whole: bool) -> None:
        pack = self.packs[which]
        if pack.name in self.model.may_show():
            return
        data = pack.data if whole else pack.data[: int(len(pack.data) * share)]
        with subprocess.Popen(
            [sys.executable, "-c", HALF, self.dir + pack.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdin is not None and writer.stdout is not None
            writer.stdin.write(data)
            writer.stdin.close()
            assert writer.stdout.readline() == b"written\n"
            writer.kill()
        if data == pack.data:
            self.model.taken.add(pack.oid)  # the kernel closed it
        else:
            self.model.files[pack.name] = data

    @rule(which=SOME)
    def a_reader_is_killed(self, which: int) -> None:
        pack = self.packs[which]
        if pack.oid in self.model.taken:
            with subprocess.Popen(
                ["sh", "-c", 'while :; do cat "$0" >/dev/null; done', self.dir + pack.name]
            ) as reader:
                os.read(os.open("/dev/zero", os.O_RDONLY), 1)
                reader.kill()

    @rule()
    @precondition(lambda self: self.number < 5)
    def the_daemon_is_killed(self) -> None:
        self.m.kill_without_detaching()
        self.m.ended = True
        self.begin()

    @rule(which=SOME)
    @precondition(lambda self: self.number < 5)
    def the_daemon_is_killed_under_a_writer(self, which: int) -> None:
        pack = self.packs[which]
        if pack.name in self.model.may_show():
            return
        fd = os.open(self.dir + pack.name, os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(fd, pack.data)
        self.m.kill_without_detaching()
        self.m.ended = True
        with contextlib.suppress(OSError):
            os.close(fd)
        self.model.files[pack.name] = pack.data  # not acknowledged; see `begin`
        self.begin()

    @rule()
    @precondition(lambda self: self.number < 5)
    def remount(self) -> None:
        self.m.unmount()
        self.begin()


@pytest.fixture
def machine(project: Path, key: Key, tmp_path: Path) -> type[MountMachine]:
    env = environment(tmp_path)

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", project, *words], env=env, capture_output=True, text=True, check=True
        ).stdout.strip()

    lines = [line.split() for line in git("rev-list", "--all", "--topo-order", "--reverse", "--parents").splitlines()]
    made = tmp_path / "packs"
    subprocess.run(["gtfs", "pack", project, "--all", "-o", made], check=True, env=env, capture_output=True)
    MountMachine.packs = [Pack(w[0], (made / f"{w[0]}.pack").read_bytes(), tuple(w[1:])) for w in lines[:8]]
    MountMachine.root, MountMachine.key = tmp_path, key
    shutil.rmtree(made)
    return MountMachine


def test_a_mount_is_what_its_model_says(machine: type[MountMachine]) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=EXAMPLES or 4,
            stateful_step_count=STEPS,
            derandomize=not EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )
