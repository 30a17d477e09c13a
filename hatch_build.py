"""Build hook: compiles `quality/scan/*.c` with the C compiler that `ziglang` brings from the package index.

So a machine with nothing but Python and pip can build the package, and one machine can build for others: set
SWP_TARGET to a target triple such as `aarch64-linux-gnu.2.17` (AWS Graviton). Functions and jobs run on other versions
of Python than whoever builds for them.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FLAGS = [
    "-std=c11",
    "-O3",
    "-shared",
    "-fPIC",
    "-ffp-contract=off",
    "-fno-sanitize=undefined",
    "-Wall",
    "-Wextra",
    "-Werror",
]
# The oldest C library that matters: Amazon Linux 2 has glibc 2.26, manylinux2014 2.17.
LINUX = {"x86_64": "x86_64-linux-gnu.2.17", "aarch64": "aarch64-linux-gnu.2.17"}


class CompileScanner(BuildHookInterface):  # type: ignore[type-arg]
    """Puts `_scan.so` beside its source and into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder = Path(self.root) / "src" / "shopware_pipelines" / "quality" / "scan"
        library = folder / "_scan.so"
        target = os.environ.get("SWP_TARGET")
        if target is None and sys.platform == "linux":
            target = LINUX.get(platform.machine())
        command = [sys.executable, "-m", "ziglang", "cc", *(["-target", target] if target else []), *FLAGS]
        made = library.with_suffix(".new")
        subprocess.run([*command, "-o", str(made), *map(str, sorted(folder.glob("*.c")))], check=True)
        made.replace(library)  # at once: the old one may be in use
        build_data["pure_python"] = False
        # The library is loaded by ctypes: one wheel is for every Python.
        arch, _, libc = (target or "").partition("-linux-gnu.")
        if libc:
            build_data["tag"] = f"py3-none-manylinux_{libc.replace('.', '_')}_{arch}"
        else:
            build_data["infer_tag"] = True
        build_data["artifacts"].append("src/shopware_pipelines/quality/scan/_scan.so")
