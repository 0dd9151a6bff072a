# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from gtfs.mount.options import (
    BadMountOption,
    MountOptions,
    escape_value,
    libfuse_options,
    read_options,
    split_options,
)


def options(text):
    return MountOptions(**read_options(text)[MountOptions])


def test_no_options_are_the_defaults():
    assert options("") == MountOptions()


def test_what_fstab_says_for_everybody_is_ignored():
    text = "rw,_netdev,noauto,auto,user,users,nofail,exec,suid,dev,nosuid,nodev,relatime,x-systemd.automount,defaults"
    assert options(text) == MountOptions()
    text = "lazytime,nodiratime,nosymfollow,symfollow,X-mount.mkdir=0755,x-gvfs-show,comment=ours,group,owner,silent"
    assert options(text) == MountOptions()


def test_the_mounts_own_options_are_parsed():
    text = "ro,allow_other,default_permissions,uid=7,gid=8,read_timeout=5m,read_ahead=512k,incoming_limit=2GiB,noexec"
    assert options(text) == MountOptions(True, True, True, 7, 8, 300.0, 512 << 10, 2 << 30, ("noexec",))


def test_of_two_that_disagree_the_last_one_counts():
    assert options("ro,rw,uid=5,uid=6,noexec,exec,sync") == MountOptions(uid=6, kernel=("sync",))
    assert options("rw,ro").read_only and not options("ro,ro=no").read_only


@pytest.mark.parametrize("word", ["=yes", "=true", "=ON", "=1", ""])
def test_a_flag_is_on_alone_or_with_a_word_for_yes(word):
    assert options(f"ro{word}").read_only and options(f"noatime{word}").kernel == ("noatime",)


@pytest.mark.parametrize("word", ["no", "False", "off", "0"])
def test_a_flag_is_off_with_a_word_for_no(word):
    assert options(f"allow_other,allow_other={word},noexec={word}") == MountOptions()


@pytest.mark.parametrize(
    "text",
    ["nonsense", "remount", "loop", "peers=x", "ro=perhaps", "ro=", "noexec=x", "uid", "uid=", "uid=-1", "uid=x",
     "uid=4294967295", "gid=99999999999", "read_timeout=soon", "read_timeout=", "read_timeout=0", "read_timeout=999d",
     "read_ahead=1X", "read_ahead=2G", "incoming_limit=-1", "incoming_limit=0"],
)  # fmt: skip
def test_unknown_options_and_values_are_refused_as_usage_errors(text):
    with pytest.raises(BadMountOption) as caught:
        options(text)
    assert caught.value.exit_code == 2 and text.split("=")[0] in str(caught.value)


def test_an_unknown_option_lists_what_there_is_and_what_may_be_meant():
    with pytest.raises(
        BadMountOption, match=r"unknown mount option 'uit=x'; did you mean uid\? there are: .*read_timeout="
    ):
        options("uit=x")


def test_libfuse_gets_ascii_without_bare_separators():
    found = libfuse_options(MountOptions(read_only=True), "/srv/a,b ä\udcff\\")
    assert r"fsname=/srv/a\,b %C3%A4%FF\\" in found and "ro" in found and "subtype=gtfs" in found
    assert all(o.isascii() for o in found) and "allow_other" not in found


def test_contexts_of_selinux_reach_the_kernel_in_quotes_however_mount_8_hands_them_on() -> None:
    whole = "system_u:object_r:httpd_sys_content_t:s0:c1,c2"
    for text in (f'context="{whole}",ro', "context=" + whole.replace(",", "\\,") + ",ro"):
        found = options(text)
        assert found.labels == (("context", whole),) and found.read_only
        assert r'context="system_u:object_r:httpd_sys_content_t:s0:c1\,c2"' in libfuse_options(found, "/s")
    assert options("seclabel,fscontext=a,defcontext=b,rootcontext=c,rootcontext=d").labels == (
        ("fscontext", "a"), ("defcontext", "b"), ("rootcontext", "d")
    )  # fmt: skip


@pytest.mark.parametrize("text", ["context", "context=", 'context=""', 'fscontext="a,ro', "context=a b", 'context=a"b'])
def test_what_is_no_context_is_refused_and_swallows_no_other_option(text: str) -> None:
    with pytest.raises(BadMountOption, match="context"):
        options(text)


def test_a_remount_is_refused_with_what_to_do() -> None:
    with pytest.raises(BadMountOption, match=r"remount: .*; unmount it, and mount it anew"):
        options("remount,ro")


def test_an_escaped_value_comes_back_as_it_was() -> None:
    for value in ("a,b", "a\\b", "a\\,b\\\\", "=", "d\udcff", ""):
        assert split_options(f"x={escape_value(value)},y=1") == [("x", value), ("y", "1")]
