# SPDX-License-Identifier: GPL-3.0-or-later
"""Long listings: whole, each name once, and resumable, whatever is added meanwhile."""

from __future__ import annotations

import ctypes
import os

from fakefs import make_pack
from written_pack import name_of

MANY = 20_000


class Directory:
    """opendir(3) and its like: Python's own os.scandir has no telldir."""

    class Entry(ctypes.Structure):
        _fields_ = [
            ("d_ino", ctypes.c_uint64),
            ("d_off", ctypes.c_int64),
            ("d_reclen", ctypes.c_ushort),
            ("d_type", ctypes.c_ubyte),
            ("d_name", ctypes.c_char * 256),
        ]

    def __init__(self, path):
        self.c = ctypes.CDLL(None, use_errno=True)
        self.c.opendir.restype = ctypes.c_void_p
        self.c.readdir.restype = ctypes.POINTER(self.Entry)
        self.c.telldir.restype = ctypes.c_long
        for call in (self.c.readdir, self.c.telldir, self.c.closedir):
            call.argtypes = [ctypes.c_void_p]
        self.c.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
        self.dir = self.c.opendir(os.fsencode(path))
        assert self.dir

    def read(self):
        found = self.c.readdir(self.dir)
        return found.contents.d_name if found else None

    def rest(self):
        return list(iter(self.read, None))

    def tell(self):
        return self.c.telldir(self.dir)

    def seek(self, position):
        self.c.seekdir(self.dir, position)

    def close(self):
        self.c.closedir(self.dir)


def test_a_listing_of_20000_is_whole_while_packs_are_added(fake_mount):
    m = fake_mount(many=MANY)
    before = set(os.listdir(m.dir))
    assert len(before) == MANY + 6
    added = []
    seen = []
    with os.scandir(m.dir) as entries:
        for number, entry in enumerate(entries):
            seen.append(entry.name)
            if number % 1000 == 0:
                oid, data = make_pack(b"added %d" % number)
                (m.dir / f"{oid.hex()}.pack").write_bytes(data)
                added.append(oid.hex() + ".pack")
    assert len(seen) == len(set(seen))
    assert before <= set(seen) <= before | set(added)
    m.wait(lambda: set(os.listdir(m.dir)) == before | set(added), "all are listed")


def test_two_listings_of_20000_at_once_do_not_mix(fake_mount):
    m = fake_mount(many=MANY)
    with os.scandir(m.dir) as one, os.scandir(m.dir) as other:
        pairs = [(a.name, a.inode(), b.name, b.inode()) for a, b in zip(one, other, strict=True)]
    assert len(pairs) == MANY + 6
    assert all(pair[:2] == pair[2:] for pair in pairs)
    assert len({pair[1] for pair in pairs}) == len(pairs)


def test_a_listing_goes_on_at_any_place_that_telldir_gave(fake_mount):
    m = fake_mount(many=5000)
    (m.dir / "unfinished").write_bytes(b"x")
    d = Directory(m.dir)
    try:
        places = []
        while (place := d.tell(), name := d.read())[1] is not None:
            places.append((place, name))
        names = [name for _, name in places]
        assert len(names) == len(set(names)) == 5000 + 6 + 1 + 2
        for number in (0, 1, 2, 3, 700, 701, 2500, len(places) - 1, 40, 4999):
            d.seek(places[number][0])
            assert d.tell() == places[number][0]
            assert d.rest() == names[number:]
        # Packs that come do not move the others.
        (m.dir / name_of(b"late")).write_bytes(make_pack(b"late")[1])
        m.wait_verified(name_of(b"late"))
        d.seek(places[1200][0])
        assert [name for name in d.rest() if name != name_of(b"late").encode()] == names[1200:]
    finally:
        d.close()


def test_extended_attributes_of_other_namespaces_are_not_supported_rather_than_absent(fake_mount):
    m = fake_mount()
    path = m.dir / name_of(b"old")
    for name, number in (("security.capability", 95), ("system.posix_acl_access", 95), ("user.other", 61)):
        try:
            os.getxattr(path, name)
        except OSError as error:
            assert error.errno == number, name
        else:
            raise AssertionError(name)
