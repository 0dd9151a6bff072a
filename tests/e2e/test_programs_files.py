# SPDX-License-Identifier: GPL-3.0-or-later
"""Everyday programs × (reads from the mount, writes into the mount).

mount.fuse.gtfs(8) has the table of which each test here is a cell. One mount serves the whole module;
each program writes a pack of its own.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from house import Done, House, Key, Mount
from ports import free_port
from waiting import WAIT_S, wait_for

# Run by sh -e in a directory of its own. $D is the mount, $P the name of a pack there, $S the directory of the same
# packs in plain files, $R a repository that has the parent of $P.
READERS = {
    "cat": 'cat "$D/$P" | cmp - "$S/$P"',
    "less": 'LESSOPEN= less -f "$D/$P" | cmp - "$S/$P"',
    "sha256sum": '(cd "$D"; sha256sum *.pack) | (cd "$S"; sha256sum --quiet -c -)',
    "cp": 'cp "$D/$P" x; cmp x "$S/$P"',
    "cp -a": 'cp -a "$D/." x; diff -r x "$S"; test "$(stat -c %Y "x/$P")" = "$(stat -c %Y "$D/$P")"',
    "cp --reflink=auto": 'cp --reflink=auto "$D/$P" x; cmp x "$S/$P"',
    "rsync -aX": 'rsync -aX "$D/" x; diff -r x "$S"; test -z "$(rsync -ani --omit-dir-times "$D/" x)"',
    "tar c": 'mkdir x; tar -C "$D" -c . | tar -C x -x; diff -r x "$S"',
    "dd iflag=direct": 'dd status=none iflag=direct bs=64k if="$D/$P" | cmp - "$S/$P"',
    "dd skip": """n=$(stat -c %s "$D/$P"); i=$((n / 4096))
        while [ $i -ge 0 ]; do dd status=none bs=4096 skip=$i count=1 if="$D/$P" of=x seek=$i conv=notrunc
        i=$((i - 16)); done
        for i in 5000 3 0; do dd status=none bs=100 skip=$i count=1 if="$D/$P" >a
        dd status=none bs=100 skip=$i count=1 if="$S/$P" >b; cmp a b; done
        test -z "$(dd status=none bs=1 skip=$((n + 10)) count=1 if="$D/$P" 2>/dev/null)" """,
    "tail": 'tail -c 20 "$D/$P" | cmp - "$T"; tail -c +100 "$D/$P" | head -c 50 >a; test "$(stat -c %s a)" = 50',
    "grep -r": 'test "$(grep -rl PACK "$D" | wc -l)" = 3; test "$(grep -c . "$D/$P")" = "$(grep -c . "$S/$P")"',
    "find -newer": """touch -d 2019-01-01 old; touch -d 2033-01-01 new
        test "$(find "$D" -type f -newer old | wc -l)" = 3; test -z "$(find "$D" -type f -newer new)"
        test "$(find "$D" -name "$P" -size +1000k -perm 0444 -links 1)" = "$D/$P" """,
    "du": """test "$(du -b "$D/$P" | cut -f1)" = "$(stat -c %s "$S/$P")"
        test "$(du -B1 "$D/$P" | cut -f1)" -ge "$(stat -c %s "$S/$P")" """,
    "ls": """test "$(ls -l --time-style=+%s "$D/$P" | cut -d' ' -f5)" = "$(stat -c %s "$S/$P")"
        test "$(ls -f "$D" | grep -c pack)" = 3; test "$(ls -A "$D" | wc -l)" = 3; ls -laR "$D" >x
        ls -laR "$D/.gtfs" >x; test -z "$(ls -a "$D" | grep gtfs)" """,
    "stat": 'test "$(stat -c "%s %a %h %F" "$D/$P")" = "$(stat -c %s "$S/$P") 444 1 regular file"; stat -f "$D" >x',
    "file": 'file "$D/$P" | grep -q "Git pack, version 2"',
    "df": 'df --output=fstype,used "$D" | grep -q fuse.gtfs',
    "getfattr": 'getx user.gtfs.state "$D/$P" | grep -q unpacked',
    "git index-pack": """git -C "$R" index-pack --fix-thin --stdin <"$D/$P" | grep -q pack
        git -C "$R" cat-file commit "${P%.pack}" >x""",
    "git verify-pack": 'cp "$D/$Q" x.pack; git index-pack x.pack >y; git verify-pack x.idx',
    "mmap": """python3 - "$D/$P" "$S/$P" <<'END'
import mmap, sys
a, b = (open(n, "rb") for n in sys.argv[1:])
m = mmap.mmap(a.fileno(), 0, prot=mmap.PROT_READ)
assert m[:] == b.read() and m[-20:] == m[:][-20:]
END""",
    "200 readers": """i=0; while [ $i -lt 200 ]; do cmp "$D/$P" "$S/$P" || touch bad & i=$((i + 1)); done
        wait; test ! -e bad""",
    "stat storm": 'for i in 1 2 3 4 5 6 7 8 9 10; do find "$D" "$D/.gtfs" -ls >/dev/null & done; wait',
}

# The same, with $F a pack in a plain file, which $D/$P is to become, and $N its size.
WRITERS = {
    "cp": 'cp "$F" "$D/"',
    "cp -a": 'cp -a "$F" "$D/"',
    "cp --reflink=auto": 'cp --reflink=auto "$F" "$D/"',
    "cp --sparse=always": 'cp --sparse=always "$F" "$D/"',
    "cp --preserve=xattr": 'setx "$F"; cp --preserve=xattr "$F" "$D/"',
    "rsync -a": 'rsync -a "$F" "$D/"',
    "rsync -a --inplace": 'rsync -a --inplace "$F" "$D/"',
    "rsync -a --partial": 'rsync -a --partial --timeout=300 "$F" "$D/"',
    "rsync -a --append-verify": 'head -c 5000 "$F" >"$D/$P" 2>/dev/null || true; rsync -a --append-verify "$F" "$D/"',
    "rsync -aX": 'setx "$F"; rsync -aX "$F" "$D/"',
    "rsync -a --sparse": 'rsync -a --sparse "$F" "$D/"',
    "rsync -a --fsync": 'rsync -a --fsync "$F" "$D/"',
    "dd": 'dd status=none bs=8k if="$F" of="$D/$P"',
    "dd oflag=direct": 'dd status=none bs=4k oflag=direct if="$F" of="$D/$P"',
    "dd oflag=sync": 'dd status=none bs=16k oflag=sync conv=fsync if="$F" of="$D/$P"',
    "dd conv=notrunc seek": """truncate -s "$N" "$D/$P"
        for i in 2 0 1; do dd status=none bs=4k seek=$i skip=$i count=1 conv=notrunc if="$F" of="$D/$P"; done
        dd status=none bs=4k seek=3 skip=3 conv=notrunc if="$F" of="$D/$P" """,
    "tar x": 'tar -C "$(dirname "$F")" -c "$P" | tar -C "$D" -x',
    "mv": 'cp "$F" /dev/shm/"$P"; mv /dev/shm/"$P" "$D/"; test ! -e /dev/shm/"$P"',
    "install": 'install -m 600 "$F" "$D/$P"',
    "tee": 'tee "$D/$P" <"$F" >x',
    "cat >": 'cat "$F" >"$D/$P"',
    "cat >>": '{ head -c 3000 "$F"; tail -c +3001 "$F"; } >>"$D/$P"',
    "split": 'split -b 4096 "$F" "$D/part-"; cat "$D"/part-* >"$D/$P"; rm "$D"/part-*',
    "mv of a temporary name": 'cp "$F" "$D/#$P#"; sync "$D/#$P#"; mv "$D/#$P#" "$D/$P"',
    "git cat-file": 'git hash-object -w --stdin <"$F" >x; git cat-file blob "$(cat x)" >"$D/$P"',
    "mmap": """python3 - "$F" "$D/$P" <<'END'
import mmap, os, sys
data = open(sys.argv[1], "rb").read()
fd = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
os.ftruncate(fd, len(data))
m = mmap.mmap(fd, len(data))
os.close(fd)
for at in range((len(data) - 1) // 4096 * 4096, -1, -4096):
    m[at : at + 4096] = data[at : at + 4096]
m.close()
END""",
    "posix_fallocate, locks, overlapping writes": """python3 - "$F" "$D/$P" <<'END'
import fcntl, os, sys
data = open(sys.argv[1], "rb").read()
fd = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
os.posix_fallocate(fd, 0, len(data))
os.pwrite(fd, b"nothing" * 500, 1000)
os.pwrite(fd, data[2000:], 2000)
os.pwrite(fd, data[:2500], 0)
os.fchmod(fd, 0o640)
os.utime(fd, ns=(10**18, 10**18))
os.fsync(fd)
assert os.pread(fd, len(data), 0) == data
os.close(fd)
END""",
}
FUNCTIONS = """getx() { python3 -c 'import os,sys; print(os.getxattr(sys.argv[2], sys.argv[1]))' "$1" "$2"; }
setx() { python3 -c 'import os,sys; os.setxattr(sys.argv[1], "user.origin", b"elsewhere")' "$1"; }
"""


@dataclass
class Field:
    """Two mounts for the module: ``a`` to read from, ``b`` to write into; ``unused`` packs, plain, of no parents."""

    house: House
    a: Mount
    b: Mount
    packs: Path
    unused: list[Path]
    last: str
    first: str
    parent_only: Path
    runs: int = field(default=0)

    def sh(self, script: str, **values: object) -> Done:
        self.runs += 1
        directory = self.house.root / f"run{self.runs}"
        directory.mkdir()
        self.house.run(["git", "init", "--quiet", directory])
        env = {name: str(value) for name, value in values.items()}
        return self.house.run(["sh", "-ec", f'cd "{directory}"\n{FUNCTIONS}{script}'], env=env, code=None)


def _fast_import(house: House, repository: Path, branches: int) -> None:
    """``main`` with three commits, the second large, and so many branches of one commit each."""
    rng = random.Random(7)
    out: list[bytes] = []

    def commit(branch: str, data: bytes) -> None:
        out.append(f"commit refs/heads/{branch}\ncommitter A <a@example.org> 1600000000 +0000\ndata 2\nx\n".encode())
        out.append(b"M 100644 inline %d\ndata %d\n%s\n" % (rng.randrange(1 << 40), len(data), data))

    for size in (1000, 300 << 10, 1 << 20):
        commit("main", rng.randbytes(size))
    for i in range(branches):
        commit(f"b{i}", rng.randbytes(15_000 + i))
    house.git(repository, "fast-import", "--quiet", stdin=b"".join(out))


@pytest.fixture(scope="module")
def field_(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Iterator[Field]:
    house = House(tmp_path_factory.mktemp("files") / "h", key)
    origin = house.empty("origin.git")
    _fast_import(house, origin, len(WRITERS) + 8)
    main = house.git(origin, "rev-list", "--reverse", "main").split()
    branches = house.git(origin, "for-each-ref", "--format=%(objectname)", "refs/heads/b*").split()
    all_of_it = house.mount(origin, "all", "offline")
    packs, plain = house.root / "packs", house.root / "plain"
    for directory, oids in ((packs, main), (plain, branches)):
        directory.mkdir()
        for oid in oids:
            shutil.copy2(all_of_it.pack(oid), directory)
    all_of_it.unmount()
    three = house.empty("three.git")
    house.git(three, "fetch", "--quiet", origin, "main:main")
    parent_only = house.empty("parent.git")
    house.git(three, "branch", "parent", "main~1")
    house.git(parent_only, "fetch", "--quiet", three, "parent:main")
    house.forgive(parent_only)
    a = house.mount(three, "A", "offline")
    b = house.mount(house.empty("b.git"), "B", "offline", expected=["over the limit incoming"])
    yield Field(house, a, b, packs, [plain / f"{oid}.pack" for oid in branches], main[2], main[0], parent_only)
    house.close()


@pytest.mark.parametrize("program", READERS)
def test_program_reads_from_the_mount(field_: Field, program: str) -> None:
    tail = field_.house.root / "tail"
    tail.write_bytes((field_.packs / f"{field_.last}.pack").read_bytes()[-20:])
    values = {"D": field_.a.dir, "S": field_.packs, "P": f"{field_.last}.pack", "Q": f"{field_.first}.pack", "T": tail}
    done = field_.sh(READERS[program], R=field_.parent_only, **values)
    assert (done.code, done.err) == (0, ""), done


def test_nginx_reads_from_the_mount_by_sendfile(field_: Field) -> None:
    port, root = free_port(), field_.house.root / "nginx"
    root.mkdir()
    (root / "conf").write_text(
        f"""daemon off; master_process off; pid {root}/pid; error_log {root}/error.log; user root;
events {{}}
http {{ access_log off; sendfile on; tcp_nopush on;
{"".join(f"{kind}_temp_path {root}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))}
server {{ listen 127.0.0.1:{port}; location / {{ root {field_.a.dir}; }} }} }}
"""
    )
    nginx = field_.house.start(["/usr/sbin/nginx", "-c", root / "conf", "-e", root / "error.log"], uses_mount=True)

    def listens() -> bool:
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    wait_for(listens, "nginx listens")
    url = f"http://127.0.0.1:{port}/{field_.last}.pack"
    data = (field_.packs / f"{field_.last}.pack").read_bytes()
    with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
        assert answer.read() == data
    part = urllib.request.Request(url, headers={"Range": "bytes=70000-90000"})
    with urllib.request.urlopen(part, timeout=WAIT_S) as answer:
        assert (answer.status, answer.read()) == (206, data[70_000:90_001])
    nginx.terminate()
    nginx.wait(WAIT_S)


@pytest.mark.parametrize("program", WRITERS)
def test_program_writes_into_the_mount(field_: Field, program: str) -> None:
    path = field_.unused.pop()
    data = path.read_bytes()
    done = field_.sh(WRITERS[program], D=field_.b.dir, F=path, P=path.name, N=len(data))
    assert (done.code, done.err) == (0, ""), done
    field_.b.wait_unpacked(path.stem)
    assert (field_.b.dir / path.name).read_bytes() == data
    assert [n for n in field_.b.names() if not n.endswith(".pack")] == []
    incoming = field_.b.repository / "gtfs" / "incoming"
    wait_for(lambda: not list(incoming.iterdir()), "nothing is left of it")


def test_an_editor_saves_into_the_mount(field_: Field) -> None:
    path = field_.b.dir / "notes.txt"
    for text in ("first", "second"):  # by writing anew, and by renaming the old and writing anew
        done = field_.house.run(
            [
                "vim.tiny",
                "-u",
                "NONE",
                "-es",
                "-c",
                "set backup backupcopy=no backupskip=",
                "-c",
                f"1s/.*/{text}/",
                "-c",
                "wq",
                path,
            ],
            env={"TERM": "xterm"},
        )
        assert done.err == ""
        assert path.read_text() == f"{text}\n"
    assert {"notes.txt", "notes.txt~"} <= set(field_.b.names())
    subprocess.run(["rm", path, f"{path}~"], check=True)
    assert [n for n in field_.b.names() if not n.endswith(".pack")] == []


def test_no_program_leaves_a_pack_half_accepted(field_: Field) -> None:
    path = field_.unused.pop()
    data = bytearray(path.read_bytes())
    half, place = field_.house.root / path.name, field_.b.dir / path.name
    half.write_bytes(data[: len(data) // 2])
    for command in (
        ["cp", half, place],
        ["dd", "status=none", f"if={half}", f"of={place}"],
        ["rsync", "-a", "--ignore-times", half, place],
    ):
        done = field_.house.run(command, code=None)
        assert done.code != 0, command
        assert "Bad message" in done.err, done
        assert field_.b.state(path.stem) in ("incoming", "")
    # What is continued in place has not failed yet: its state tells.
    field_.house.run(["rsync", "-a", "--inplace", "--ignore-times", half, place])
    assert field_.b.state(path.stem) == "incoming"
    subprocess.run(["rm", "-f", place], check=True)
    assert path.name not in field_.b.names()
    assert path.stem not in field_.house.objects(field_.b.repository)


def test_what_a_mount_does_not_have_fails_clearly(field_: Field) -> None:
    path = field_.unused.pop()
    first = f"{field_.first}.pack"
    shutil.copyfile(field_.packs / first, field_.b.dir / first)
    field_.b.wait_unpacked(field_.first)
    refused = "Operation not permitted"
    for script, error in (
        ('mkdir "$D/directory"', refused),
        ('ln "$D/$Q" "$D/link"', refused),
        ('ln -s x "$D/link"', refused),
        ('rm -f "$D/$Q"', refused),
        ('echo >"$D/$Q"', "cannot create"),
        ('cp --reflink=always "$F" "$D/"', "Invalid cross-device link"),
        ('fallocate -l 10000 "$D/f"', "Operation not supported"),
        ('truncate -s 1T "$D/sparse"', "Disk quota exceeded"),
    ):
        done = field_.sh(script, D=field_.b.dir, F=path, P=path.name, Q=first)
        assert done.code != 0, script
        assert error in done.err, done
    for name in field_.b.names():
        if not name.endswith(".pack") or (field_.b.dir / name).stat().st_size == 0:
            os.unlink(field_.b.dir / name)
