# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from gtfs.mount.options import (
    BadMountOption,
    MountOptions,
    escape_value,
    libfuse_options,
    parse_mount_options,
    split_options,
)


def test_no_options_are_the_defaults():
    assert parse_mount_options("", ()) == (MountOptions(), {})


def test_what_fstab_says_for_everybody_is_ignored():
    text = "rw,_netdev,noauto,auto,user,users,nofail,exec,suid,dev,nosuid,nodev,relatime,x-systemd.automount,defaults"
    assert parse_mount_options(text, ()) == (MountOptions(), {})


def test_the_mounts_own_options_are_parsed():
    options, _ = parse_mount_options(
        "ro,allow_other,default_permissions,uid=7,gid=8,read_timeout=5m,read_ahead=512K,incoming_limit=2G,noexec",
        (),
    )
    assert options == MountOptions(True, True, True, 7, 8, 300.0, 512 << 10, 2 << 30, ("noexec",))


def test_node_options_pass_in_order_with_escaped_commas():
    text = r"peer=a:1,tracker=http://x/?a=b\,c,peer=[::1]:2,prefetch,logfile=/a\\b"
    assert parse_mount_options(text, {"peer", "tracker", "prefetch", "logfile"})[1] == {
        "peer": ["a:1", "[::1]:2"],
        "tracker": ["http://x/?a=b,c"],
        "prefetch": [""],
        "logfile": ["/a\\b"],
    }


def test_a_second_list_adds_to_the_first():
    first, _ = parse_mount_options("ro", ())
    assert parse_mount_options("uid=5", (), first)[0] == MountOptions(read_only=True, uid=5)


@pytest.mark.parametrize(
    "text",
    ["nonsense", "peers=x", "ro=1", "uid", "uid=-1", "uid=x", "gid=99999999999", "read_timeout=soon", "read_timeout=",
     "read_ahead=1X", "incoming_limit=-1"],
)  # fmt: skip
def test_unknown_options_and_values_are_refused_as_usage_errors(text):
    with pytest.raises(BadMountOption) as caught:
        parse_mount_options(text, ("peer",))
    assert caught.value.exit_code == 2 and text.split("=")[0] in str(caught.value)


def test_an_unknown_option_lists_what_there_is():
    with pytest.raises(BadMountOption, match=r"unknown mount option 'pear=x'; there are: .*peer.*read_timeout="):
        parse_mount_options("pear=x", ("peer",))


def test_libfuse_gets_ascii_without_bare_separators():
    found = libfuse_options(MountOptions(read_only=True), "/srv/a,b ä\udcff\\")
    assert r"fsname=/srv/a\,b %C3%A4%FF\\" in found and "ro" in found and "subtype=gtfs" in found
    assert all(o.isascii() for o in found) and "allow_other" not in found


def test_an_escaped_value_comes_back_as_it_was() -> None:
    for value in ("a,b", "a\\b", "a\\,b\\\\", "=", "d\udcff", ""):
        assert split_options(f"x={escape_value(value)},y=1") == [("x", value), ("y", "1")]
