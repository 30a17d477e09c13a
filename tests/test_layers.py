"""The structure that CONTRIBUTING promises: imports run one way, modules are small, a function starts light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from places import REPOSITORY

PACKAGE = REPOSITORY / "src" / "shopware_pipelines"
MODULES = sorted(PACKAGE.rglob("*.py"))
BASE = {"errors", "settings", "aws", "metrics", "storage", "__init__"}
EVERY_PIPELINE = {"contracts", "quality", "streaming", "web", "interactions", "inventory", "analytics", "trust"}
MAY_IMPORT = {
    "contracts": {"contracts"},
    "quality": {"contracts", "quality"},
    "inventory": {"contracts", "quality", "inventory"},
    "streaming": {"contracts", "quality", "streaming"},
    "web": {"contracts", "quality", "streaming", "web"},
    "interactions": {"contracts", "quality", "streaming", "analytics", "interactions"},
    "analytics": {"contracts", "quality", "analytics"},
    "trust": {"contracts", "quality", "streaming", "inventory", "trust"},
    "local": EVERY_PIPELINE | {"local"},
    "cli": EVERY_PIPELINE | {"local", "cli"},
    "__main__": {"cli"},
}
"""Beyond the base modules, which import nothing but each other."""
MAX_LINES = 400
MAX_MEDIAN_LINES = 150


def part_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(module: Path) -> Iterator[str]:
    """Parts of the package that a module imports, also inside functions."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.startswith("shopware_pipelines."):
                yield name.split(".")[1]


@pytest.mark.parametrize("module", MODULES, ids=[str(m.relative_to(PACKAGE)) for m in MODULES])
def test_imports_run_one_way(module: Path) -> None:
    part = part_of(module)
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir()}
    imported = {name for name in imports(module) if name in folders}
    assert imported <= (BASE if part in BASE else BASE | MAY_IMPORT[part])


@pytest.mark.parametrize("module", MODULES, ids=[str(m.relative_to(PACKAGE)) for m in MODULES])
def test_a_module_says_what_it_is_for_and_stays_small(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)) or not text.strip()
    assert text.count("\n") <= MAX_LINES


def test_modules_are_small_on_the_whole() -> None:
    assert median(m.read_text(encoding="utf-8").count("\n") for m in MODULES) <= MAX_MEDIAN_LINES


def test_the_trigger_function_starts_without_heavy_libraries() -> None:
    heavy = ("pyarrow", "pandas", "numpy", "duckdb", "deltalake", "rich", "typer", "yaml")
    code = (
        "import sys, shopware_pipelines.inventory.trigger, shopware_pipelines.inventory.errored;"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
