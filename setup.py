# SPDX-License-Identifier: GPL-3.0-or-later
"""All but the compiled module is in setup.cfg.

Where it cannot be compiled, and with GTFS_PURE in the environment, gtfs is made without it and is all Python.
"""

import os

from setuptools import Extension, setup

compiled = Extension(
    "gtfs.pack._compiled",
    ["gtfs/pack/_compiled.c"],
    libraries=["z"],
    extra_compile_args=["-std=c11", "-Wextra", "-Wno-missing-field-initializers"],
    py_limited_api=True,
    optional=True,
)

setup(ext_modules=[] if os.environ.get("GTFS_PURE") else [compiled])
