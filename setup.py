"""Builds the Cython modules in place: `python setup.py build_ext --inplace`.

`ARGUS_DEBUG=1` puts bounds checks and assertions back; `ARGUS_ONLY=parsers/can` builds what lies below one folder.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("ARGUS_DEBUG") == "1"

# Every read from a file goes through the checked cursor (parsers/_core/cursor.pxd), so the array checks are only for debugging.
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "cdivision": True,
    "embedsignature": True,
    "freethreading_compatible": False,
}

sources = sorted(Path(os.environ.get("ARGUS_ONLY") or "parsers").rglob("*.pyx"))
extensions = [
    Extension(
        ".".join(source.with_suffix("").parts),
        [str(source)],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        extra_compile_args=["-O1", "-g"] if DEBUG else ["-O3"],
    )
    for source in sources
]

setup(
    name="argus",
    packages=[],
    ext_modules=cythonize(extensions, compiler_directives=DIRECTIVES, build_dir="build/cython", nthreads=2 if extensions else 0),
)
