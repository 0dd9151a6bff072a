# SPDX-License-Identifier: GPL-3.0-or-later
"""What contrib/ gives to the system: units that systemd accepts, finds little exposed, and runs when booted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from booted import machine
from house import ROOT, Key

UNITS = ROOT / "contrib" / "systemd"
MOST_EXPOSED = {"gtfs-seed.service": 2.0, "gtfs-sync@.service": 2.0, "gtfs-fsck.service": 2.0, "gtfs@.service": 7.5}
NEVER_WITH_FUSE = (
    "NoNewPrivileges", "SystemCall", "Restrict(?!PreventExitStatus)", "MemoryDeny", "Lock", "Private", "Protect",
    "ReadOnly", "ReadWrite", "DynamicUser",
)  # fmt: skip


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The tree that contrib/system makes, and a program where its units say."""
    program = tmp_path / "opt" / "gtfs"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    subprocess.run(["sh", ROOT / "contrib" / "system", program, tmp_path / "tree"], check=True)
    return tmp_path / "tree"


def units_of(installed: Path) -> list[Path]:
    return sorted((installed / "usr/local/lib/systemd/system").iterdir())


def test_systemd_accepts_every_unit(installed: Path, tmp_path: Path) -> None:
    assert shutil.which("systemd-analyze"), "this test needs systemd-analyze (package systemd)"
    found = [*units_of(installed), *UNITS.glob("srv-demo.*")]
    assert {unit.suffix for unit in found} == {".service", ".timer", ".mount", ".automount"}
    units = [tmp_path / unit.name.replace("@.", "@demo.") for unit in found]
    for unit, copy in zip(found, units, strict=True):
        copy.write_text(unit.read_text())
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_person_s_own_daemon_has_a_unit_that_systemd_accepts(installed: Path, tmp_path: Path) -> None:
    [unit] = (installed / "usr/local/lib/systemd/user").iterdir()
    assert f"ExecStart={tmp_path}/opt/gtfs " in unit.read_text()
    command = ["systemd-analyze", "--user", "verify", "--man=no", unit]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")


def test_no_service_is_more_exposed_than_its_work_needs(installed: Path, tmp_path: Path) -> None:
    found = {unit.name: unit for unit in units_of(installed) if unit.suffix == ".service"}
    assert found.keys() == MOST_EXPOSED.keys()
    for name, most in MOST_EXPOSED.items():
        unit = tmp_path / name.replace("@.", "@demo.")
        unit.write_text(found[name].read_text())
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--no-pager", unit], capture_output=True, text=True
        )
        level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
        assert level and float(level[1]) <= most, done.stdout + done.stderr


def test_every_service_runs_as_a_user_of_its_own() -> None:
    for unit in UNITS.glob("gtfs*.service"):
        assert "\nUser=gtfs\n" in unit.read_text(), unit.name


def test_a_mount_s_service_has_nothing_that_fuse_forbids() -> None:
    settings = [line.partition("=")[0] for line in (UNITS / "gtfs@.service").read_text().splitlines() if "=" in line]
    wrong = [s for s in settings if any(re.match(each, s) for each in NEVER_WITH_FUSE)]
    assert wrong == []


def test_timers_do_not_begin_together() -> None:
    for unit in UNITS.glob("*.timer"):
        text = unit.read_text()
        assert "RandomizedDelaySec=" in text and "FixedRandomDelay=yes" in text and "Persistent=true" in text


def test_one_source_serves_a_package_and_a_machine(installed: Path, tmp_path: Path) -> None:
    subprocess.run(["sh", ROOT / "contrib" / "system", "/usr/bin/gtfs", tmp_path / "package"], check=True)
    for unit in (tmp_path / "package" / "usr/lib/systemd/system").iterdir():
        assert unit.read_text() == (UNITS / unit.name).read_text()
    assert not any("/usr/bin/gtfs" in unit.read_text() for unit in units_of(installed))


SCRIPT = """
systemd-sysusers gtfs.conf
systemd-tmpfiles --create gtfs.conf
id gtfs
cp -r /pub.git /var/lib/gtfs/pub.git
chown -R gtfs:gtfs /var/lib/gtfs/pub.git
cat >/etc/gtfs/gtfs.conf <<END
[defaults]
	options = nolsd,nodht,listen=127.0.0.1:0
[repository "pub"]
	path = /var/lib/gtfs/pub.git
END
show() { systemctl show --value -p "$1" "$2"; }
said() { journalctl --sync; journalctl -q -o cat -u "$1"; }

echo "== start"
systemctl start gtfs-seed
pid=$(show MainPID gtfs-seed)
stat -c 'runs as %U' /proc/$pid
grep -E '^(NoNewPrivs|CapEff|Seccomp):' /proc/$pid/status
gtfs seed list
runuser -u gtfs -- gtfs status /var/lib/gtfs/pub.git | head -3
echo "== hooks of everybody's repositories"
install -d /etc/gtfs/hooks
printf '#!/bin/sh\\nid -un; env | grep ^GTFS_ | sort; head -1\\n' >/etc/gtfs/hooks/published
chmod 0755 /etc/gtfs/hooks/published
systemctl restart gtfs-seed
for i in $(seq 3000); do test -s /var/lib/gtfs/pub.git/gtfs/hooks.log && break; sleep 0.1; done
cat /var/lib/gtfs/pub.git/gtfs/hooks.log
pid=$(show MainPID gtfs-seed)
echo "== fsck"
systemctl start gtfs-fsck.service
said gtfs-fsck
echo "== reload"
systemctl reload gtfs-seed
test "$(show MainPID gtfs-seed)" = $pid
for i in $(seq 3000); do said gtfs-seed | grep -q 'settings were read again' && break; sleep 0.1; done
echo "== stop"
systemctl stop gtfs-seed
show Result gtfs-seed
said gtfs-seed

echo "== mirror"
install -d /srv/feed
cp -r /pub.git/gtfs/catalogue/. /srv/feed
chmod -R go+rX /srv/feed
chmod 0600 /key.gpg
gtfs mirror --keyring /key.gpg /srv/feed
systemctl is-enabled gtfs-seed
stat -c '%U has %n' /var/lib/gtfs/mirrors/feed.git/gtfs/node.db
ls /etc/gtfs/gtfs.conf.d
grep -c keyring /etc/gtfs/gtfs.conf.d/mirror-feed.conf || true
gtfs mirror /srv/feed
systemctl disable --now gtfs-seed
gtfs mirror --no-enable --keyring /key.gpg /srv/feed /var/lib/gtfs/mirrors/other.git
ls /etc/gtfs/gtfs.conf.d /var/lib/gtfs/mirrors
systemctl start gtfs-seed
gtfs mirror --worktree /var/lib/gtfs/www /srv/feed /var/lib/gtfs/mirrors/other.git
ls /etc/gtfs/gtfs.conf.d
grep -c keyring /etc/gtfs/gtfs.conf.d/mirror-other.conf || true
stat -c '%U has %N' /var/lib/gtfs/www
gtfs mirror --name far --keyring /key.gpg /srv/feed /srv/far.git 2>&1 || true
systemctl stop gtfs-seed

echo "== mount"
install -d -o gtfs -g gtfs /srv/demo
echo user_allow_other >>/etc/fuse.conf
cat >/etc/gtfs/instances/demo.conf <<END
SOURCE=/var/lib/gtfs/pub.git
DIRECTORY=/srv/demo
OPTIONS=offline,allow_other
END
systemctl start gtfs@demo || { said gtfs@demo; false; }
pid=$(show MainPID gtfs@demo)
stat -c 'runs as %U' /proc/$pid
grep -E '^(NoNewPrivs|CapBnd):' /proc/$pid/status
ls /srv/demo | wc -l
systemctl reload gtfs@demo
test "$(show MainPID gtfs@demo)" = $pid
mountpoint /srv/demo
systemctl stop gtfs@demo
show Result gtfs@demo
! mountpoint -q /srv/demo
said gtfs@demo

echo "== logrotate"
runuser -u gtfs -- sh -c 'echo a line >/var/log/gtfs/demo.log'
logrotate --force /etc/logrotate.d/gtfs
ls /var/log/gtfs

echo "== timers"
systemctl start gtfs-fsck.timer gtfs-sync@demo.timer
systemctl list-timers --no-pager --all 'gtfs*'
show NextElapseUSecRealtime gtfs-fsck.timer
systemctl start gtfs-sync@demo.service || true
said gtfs-sync@demo
"""


def test_a_booted_system_starts_reloads_and_stops_the_services(
    tmp_path: Path, programs: Path, published: Path, key: Key
) -> None:
    with machine(tmp_path, programs) as booted:
        shutil.copytree(published, booted.tree / "pub.git")
        shutil.copy(key.public, booted.tree / "key.gpg")
        said = booted.run(SCRIPT)
    parts = dict(part.split("\n", 1) for part in said.split("== ")[1:])
    assert "runs as gtfs\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n" in parts["start"]
    assert "published: published" in parts["hooks of everybody's repositories"]
    assert "all well" in parts["fsck"]
    assert parts["stop"].startswith("success\n") and "gtfs.events: the settings were read again" in parts["stop"]
    mirrored = parts["mirror"]
    assert "/var/lib/gtfs/mirrors/feed.git mirrors /srv/feed from now on" in mirrored
    assert "\nenabled\ngtfs has /var/lib/gtfs/mirrors/feed.git/gtfs/node.db\nmirror-feed.conf\n0\n" in mirrored
    assert "already; nothing changed" in mirrored
    # Without a daemon the ring waits beside its settings for one, which makes the mirror; then it is gone.
    assert "start one: systemctl enable --now gtfs-seed\n/etc/gtfs/gtfs.conf.d:\n" in mirrored
    assert "mirror-other.conf\nmirror-other.gpg\n\n/var/lib/gtfs/mirrors:\nfeed.git\n" in mirrored
    assert "\nmirror-feed.conf\nmirror-other.conf\n0\ngtfs has '/var/lib/gtfs/www' -> 'www.gtfs/" in mirrored
    assert "may write there only if gtfs-seed.service says so" in mirrored
    mounted = parts["mount"]
    assert "runs as gtfs\n" in mounted and "gtfs.events: /srv/demo is unmounted" in mounted
    assert int(mounted.splitlines()[3]) > 60, "everybody sees the mount"
    assert "demo.log.1" in parts["logrotate"]
    assert parts["timers"].count(".timer ") == 2 and "up to date: version 1" in parts["timers"]
