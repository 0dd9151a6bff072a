# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the real programs for a test: gtfs, git, mounts. It ends what it starts, and every node must be sound at last.

One `House` a test. Its teardown unmounts, looks at the logs and runs ``gtfs fsck`` on every repository that was used.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ports import free_port
from waiting import WAIT_S, wait_for

ROOT = Path(__file__).resolve().parents[2]
SWARMING = ("mount", "sync", "seed", "inbox")
TROUBLE = re.compile(r" (?:WARNING|ERROR|CRITICAL) |Traceback|BaseExceptionGroup")


def environment(home: Path) -> dict[str, str]:
    """Ours without what could lead a program to the user's own keys, settings or repositories, or to another gtfs."""
    left_out = ("GIT_", "GNUPG", "GPG", "XDG_", "OTHERZLIB", "PYTHON")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    person = {"NAME": "A U Thor", "EMAIL": "author@example.org", "DATE": "1700000000 +0100"}
    git = {f"GIT_{who}_{key}": value for who in ("AUTHOR", "COMMITTER") for key, value in person.items()}
    return {
        **kept,
        **git,
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C.UTF-8",
    }


def mounted_at(directory: Path) -> bool:
    """Whether something is mounted there, without touching it."""
    return f" {directory} " in Path("/proc/self/mountinfo").read_text()


def open_files(pid: int) -> list[str]:
    """What a process has open, by the names of its links; nothing of one that has ended."""
    found = []
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):  # closed meanwhile
                found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def without_folders(line: str) -> str:
    """A message with its paths cut to their last name: how long it is does not depend on where a test is run."""
    return re.sub(r"(?<![\w.:/])/(?:[^\s/,;:]+/)+", "/", line)


@dataclass(frozen=True)
class Done:
    """How a program ended."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one clear line that it must have said on stderr, and nothing else."""
        lines = self.err.splitlines()
        assert len(lines) == 1, f"not one line but {len(lines)}:\n{self.err}"
        assert lines[0].startswith("gtfs: ")
        assert len(without_folders(lines[0])) < 600, lines[0]
        return lines[0]

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Mount:
    """A mounted node. ``expected`` are patterns of log lines that are no trouble in this test."""

    house: House
    dir: Path
    repository: Path
    port: int
    log: Path
    pid: int
    expected: list[str] = field(default_factory=list)
    ended: bool = False

    def status(self) -> Any:
        return json.loads((self.dir / ".gtfs" / "status").read_bytes())

    def fresh_status(self) -> Any:
        """The same by the control socket, counters brought up to date."""
        return self.house.gtfs("status", "--json", self.dir).json()

    def names(self) -> list[str]:
        return sorted(os.listdir(self.dir))

    def packs(self) -> set[str]:
        """The ids shown."""
        return {name.removesuffix(".pack") for name in self.names() if name.endswith(".pack")}

    def pack(self, oid: str) -> Path:
        return self.dir / f"{oid}.pack"

    def attribute(self, oid: str, name: str) -> str:
        return os.getxattr(self.pack(oid), f"user.gtfs.{name}").decode()

    def state(self, oid: str) -> str:
        """A pack's state, "" while there is none of that name."""
        try:
            return self.attribute(oid, "state")
        except OSError:
            return ""

    def wait_listed(self) -> None:
        """Of a new mirror: until the tables of its reels are here. It stands before, and they come from others."""
        wait_for(self.packs, lambda: f"it lists packs; log:\n{self.text()}")

    def wait_unpacked(self, *oids: str) -> None:
        for oid in oids:
            what = f"{oid} unpacked; log:\n"
            wait_for(lambda oid=oid: self.state(oid) == "unpacked", lambda what=what: what + self.text())

    def text(self) -> str:
        return os.fsdecode(self.log.read_bytes()) if self.log.exists() else ""

    def alive(self) -> bool:
        return Path(f"/proc/{self.pid}").exists() and not _is_zombie(self.pid)

    def is_mounted(self) -> bool:
        return mounted_at(self.dir)

    def unmount(self) -> None:
        done = self.house.gtfs("umount", self.dir)
        assert done.err == ""
        self.ended = True
        assert not self.is_mounted()
        wait_for(lambda: not self.alive(), f"process {self.pid} ended")

    def kill(self) -> None:
        """As a power failure does, for the process."""
        self.kill_without_detaching()
        self.detach()

    def kill_without_detaching(self) -> None:
        """The same, and the dead mount stays."""
        os.kill(self.pid, signal.SIGKILL)
        wait_for(lambda: not self.alive(), f"process {self.pid} ended")

    def detach(self) -> None:
        """Take a dead mount away."""
        self.ended = True
        if self.is_mounted():
            subprocess.run(["fusermount3", "-uz", self.dir], check=True, capture_output=True)

    def close(self) -> list[str]:
        """For teardown, after `gtfs umount`: gone in any case; gives what went wrong."""
        wrong = []
        if not self.ended:
            for how in ("-u", "-uz"):
                if self.is_mounted():
                    subprocess.run(["fusermount3", how, self.dir], capture_output=True)
            with suppress(AssertionError):
                wait_for(lambda: not self.alive(), "it ended")
            if self.alive():
                wrong.append(f"process {self.pid} did not end after unmount")
                os.kill(self.pid, signal.SIGKILL)
        for line in self.text().splitlines():
            if TROUBLE.search(line) and not any(re.search(p, line) for p in self.expected):
                wrong.append(f"{self.log.name}: {line}")
        if "Traceback" in self.text():
            wrong.append(self.text()[-6000:])
        return wrong


def _is_zombie(pid: int) -> bool:
    """Whether nothing of it runs any more: its other threads, and with them its files, may outlive the first."""
    try:
        tasks = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):
        return False  # one has just gone: look again
    return all(task.rpartition(")")[2].split()[0] in "ZX" for task in tasks)


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


class House:
    """Where a test's nodes live; made by the fixture ``house``."""

    def __init__(self, root: Path, key: Key) -> None:
        self.root = root
        self.key = key
        self.home = root / "home"
        self.home.mkdir(parents=True)
        self.environment = environment(self.home)
        self.enter: list[str] = []  # before every gtfs, to run it in another network say
        self.calls_neighbours = False  # LSD, for a test in a network of its own
        self.mounts: list[Mount] = []
        self.repositories: dict[Path, bool] = {}  # whether fsck must find it sound
        self._other_processes: list[subprocess.Popen[bytes]] = []
        self._users: list[subprocess.Popen[bytes]] = []

    # -- programs -----------------------------------------------------------------------------------------------

    def run(
        self,
        command: list[Any],
        *,
        code: int | None = 0,
        env: dict[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float = 2 * WAIT_S,
    ) -> Done:
        done = subprocess.run(
            [str(part) for part in command],
            input=stdin,
            capture_output=True,
            env={**self.environment, **(env or {})},
            cwd=self.root,
            timeout=timeout,
        )
        result = Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
        assert code is None or result.code == code, f"{command} ended with {result.code}:\n{result.out}{result.err}"
        return result

    def gtfs(self, *words: Any, code: int | None = 0, env: dict[str, str] | None = None, stdin: bytes = b"") -> Done:
        if words and words[0] in SWARMING and not self.calls_neighbours:
            # Every test publishes the same reels: nodes of others must not join in, and nothing leaves the machine.
            words = (*words, "-o", "nolsd")
        return self.run([*self.enter, "gtfs", *words], code=code, env=env, stdin=stdin)

    def start(
        self,
        command: list[Any],
        env: dict[str, str] | None = None,
        out: IO[bytes] | None = None,
        terminal: int | None = None,
        uses_mount: bool = False,
    ) -> subprocess.Popen[bytes]:
        """A process in a group of its own; ended with the house. It speaks to pipes, a file or a terminal.

        One that ``uses_mount`` is ended before the mounts are.
        """
        process = subprocess.Popen(
            [str(part) for part in command],
            env={**self.environment, **(env or {})},
            cwd=self.root,
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=terminal if terminal is not None else out if out is not None else subprocess.PIPE,
            stderr=terminal if terminal is not None else subprocess.STDOUT if out is not None else subprocess.PIPE,
            start_new_session=True,
        )
        (self._users if uses_mount else self._other_processes).append(process)
        return process

    def git(self, repository: Path, *words: Any, code: int | None = 0, stdin: bytes = b"") -> str:
        return self.run(["git", "-C", repository, *words], code=code, stdin=stdin).out.strip()

    # -- what git holds -----------------------------------------------------------------------------------------

    def objects(self, repository: Path) -> set[str]:
        """Every object that git has there, reachable or not."""
        out = self.git(repository, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
        return set(out.split())

    def refs(self, repository: Path) -> dict[str, str]:
        """Every ref with its id, and HEAD with the branch it names; without gtfs's own."""
        out = self.git(repository, "for-each-ref", "--format=%(refname) %(objectname)")
        found = dict(line.split(" ") for line in out.splitlines())
        found["HEAD"] = self.git(repository, "symbolic-ref", "HEAD")
        return {name: oid for name, oid in found.items() if not name.startswith("refs/gtfs/")}

    def history(self, repository: Path) -> list[str]:
        """Every commit and annotated tag object that a ref reaches."""
        commits = self.git(repository, "rev-list", "--all", "--topo-order", "--reverse").split()
        lines = self.git(repository, "for-each-ref", "--format=%(objectname) %(objecttype)").splitlines()
        tags = dict.fromkeys(line.split()[0] for line in lines if line.endswith(" tag"))
        for tag in list(tags):
            inner = tag
            while "\ntype tag\n" in (text := self.git(repository, "cat-file", "tag", inner)):
                inner = text.split("\n")[0].removeprefix("object ")
                tags[inner] = None
        return [*commits, *tags]

    def acknowledged(self, repository: Path) -> dict[str, str]:
        """What a node has said that it holds: packs that are unpacked, and refs. All of it must be in git."""
        found = {}
        database = repository / "gtfs" / "node.db"
        if database.exists():
            with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
                try:
                    rows = db.execute("SELECT oid FROM packs WHERE state = 'unpacked'").fetchall()
                except sqlite3.OperationalError:  # killed before the tables were made
                    rows = []
            db.close()
            oids = [oid.hex() for (oid,) in rows]
            found = dict.fromkeys(oids, "unpacked")
            said = self.run(["git", "-C", repository, "cat-file", "--batch-check"], stdin="\n".join(oids).encode()).out
            assert "missing" not in said
        refs = self.refs(repository)
        del refs["HEAD"]  # stands somewhere from the first
        return found | refs

    def commit(self, repository: Path, message: str, files: dict[str, bytes], branch: str = "main") -> str:
        """One more commit on a branch of a bare repository."""
        ref = f"refs/heads/{branch}"
        parent = self.git(repository, "rev-parse", "--verify", "--quiet", ref, code=None)
        out = [b"commit %s\ncommitter A U Thor <author@example.org> %d +0100\n" % (ref.encode(), 1700100000)]
        out.append(b"data %d\n%s\n" % (len(message.encode()), message.encode()))
        if parent:
            out.append(b"from %s\n" % parent.encode())
        for name, data in files.items():
            out.append(b"M 100644 inline %s\ndata %d\n%s\n" % (name.encode(), len(data), data))
        self.git(repository, "fast-import", "--quiet", stdin=b"".join(out))
        return self.git(repository, "rev-parse", ref)

    # -- nodes --------------------------------------------------------------------------------------------------

    def keep_sound(self, *repositories: Path) -> None:
        """Let `gtfs fsck` look at them at the end."""
        self.repositories.update(dict.fromkeys(repositories, True))

    def forgive(self, repository: Path) -> None:
        """No `gtfs fsck` at the end: the test broke it on purpose, or it is no node."""
        self.repositories[repository] = False

    def empty(self, name: str = "b.git") -> Path:
        """An empty bare repository."""
        path = self.root / name
        self.run(["git", "init", "--quiet", "--bare", "-b", "main", path])
        return path

    def mount(
        self,
        source: Any,
        name: str,
        *options: str,
        repository: Path | None = None,
        expected: list[str] | None = None,
        env: dict[str, str] | None = None,
    ) -> Mount:
        """Mount in the background, as users do. ``source`` is a repository unless ``repository`` is given."""
        directory = self.root / name
        directory.mkdir(exist_ok=True)
        log = self.root / f"{name}.log"
        port = free_port()
        all_options = [f"listen=127.0.0.1:{port}", f"logfile={log}", *options]
        if repository is not None:
            all_options.append(f"repo={repository}")
        done = self.gtfs("mount", source, directory, "-o", ",".join(all_options), env=env)
        mount = self.adopt(directory, repository or Path(source), port, log, expected)
        assert done.out == ""
        return mount

    def adopt(
        self, directory: Path, repository: Path, port: int, log: Path, expected: list[str] | None = None
    ) -> Mount:
        """A mount that something else made, from now on this house's."""
        pid = int((repository / "gtfs" / "lock").read_text().split()[0])
        mount = Mount(self, directory, repository, port, log, pid, list(expected or ()))
        self.mounts.append(mount)
        self.repositories.setdefault(repository, True)
        assert mount.is_mounted()
        return mount

    def mirror_options(self, *publishers: Mount) -> list[str]:
        """What a mirror of ours is told."""
        quiet = [] if self.calls_neighbours else ["nolsd"]
        return [f"keyring={self.key.public}", *quiet, *(f"peer=127.0.0.1:{p.port}" for p in publishers)]

    def mount_mirror(self, publisher: Mount, name: str, *options: str, **more: Any) -> Mount:
        """A mirror of a mounted publisher."""
        source = publisher.repository / "gtfs" / "catalogue" / "latest.asc"
        repository = self.root / f"{name}.git"
        return self.mount(source, name, *self.mirror_options(publisher), *options, repository=repository, **more)

    # -- the end ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        wrong: list[str] = []
        _end(self._users)
        mounted = [str(m.dir) for m in self.mounts if not m.ended and m.is_mounted()]
        wrong += self._all([["gtfs", "umount", directory] for directory in mounted])
        for mount in self.mounts:
            wrong += mount.close()
        _end(self._other_processes)
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            place = line.split(" ")[4]
            if place.startswith(f"{self.root}/"):
                wrong.append(f"{place} was still mounted")
                subprocess.run(["umount", "-l", place], capture_output=True)
        sound = [str(r) for r, sound in self.repositories.items() if sound and r.exists()]
        wrong += self._all([["gtfs", "fsck", repository] for repository in sound])
        shutil.rmtree(self.root, ignore_errors=True)
        assert not wrong, "\n".join(wrong)

    def _all(self, commands: list[list[str]]) -> list[str]:
        """Run them side by side; what did not end well and silently."""
        started = [(command, self.start(command)) for command in commands]
        wrong = []
        for command, process in started:
            out, err = process.communicate(timeout=WAIT_S)
            if process.returncode or err:
                said = (out + err).decode(errors="replace")
                wrong.append(f"{' '.join(command)} ended with {process.returncode}:\n{said}")
        return wrong


class Key:
    """An OpenPGP key in a GnuPG home of its own, at a path short enough for its agent's socket."""

    def __init__(self, directory: Path, name: str) -> None:
        self.gnupg_home = Path(tempfile.mkdtemp(prefix=name[0], dir=directory))
        self.public = directory / f"{name}.gpg"
        self.gpg("--quick-gen-key", f"{name} <{name}@example.org>", "ed25519", "sign", "never")
        listing = self.gpg("--list-keys", "--with-colons").decode()
        self.fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))
        self.public.write_bytes(self.gpg("--export", self.fingerprint))

    def gpg(self, *args: str, data: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", str(self.gnupg_home), "--batch", "--yes", "--no-tty"]
        command += ["--pinentry-mode", "loopback", "--passphrase", "", *args]
        done = subprocess.run(command, input=data, capture_output=True, env={"PATH": "/usr/bin:/bin"}, timeout=WAIT_S)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def clearsign(self, text: bytes) -> bytes:
        return self.gpg("--digest-algo", "SHA256", "--clearsign", data=text)

    def close(self) -> None:
        """End its agent, which takes its sockets away while its home goes."""
        subprocess.run(["gpgconf", "--homedir", str(self.gnupg_home), "--kill", "all"], check=False)
        shutil.rmtree(self.gnupg_home, ignore_errors=True)


@contextmanager
def tmpfs(directory: Path, size: str) -> Iterator[Path]:
    """A small disk of its own."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        if subprocess.run(["umount", directory], capture_output=True).returncode:
            subprocess.run(["umount", "-l", directory], check=True)
