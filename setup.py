# SPDX-License-Identifier: GPL-3.0-or-later
"""All but the compiled modules is in setup.cfg.

Where one cannot be compiled, and with GTFS_PURE in the environment, gtfs is made without it and is all Python.
"""

import os

from setuptools import Extension, setup


def compiled(name: str, *libraries: str) -> Extension:
    return Extension(
        f"gtfs.pack.{name}",
        [f"gtfs/pack/{name}.c"],
        libraries=list(libraries),
        extra_compile_args=["-std=c11", "-Wextra", "-Wno-missing-field-initializers"],
        py_limited_api=True,
        optional=True,
    )


setup(ext_modules=[] if os.environ.get("GTFS_PURE") else [compiled("_compiled", "z"), compiled("_deltas")])
