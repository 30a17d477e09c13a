"""The structure that CONTRIBUTING promises: imports run one way, between rooms and inside them; modules are small; a
function starts light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median
from typing import Final

import pytest

from places import REPOSITORY

PACKAGE: Final = REPOSITORY / "src" / "shopware_pipelines"
MODULES: Final = sorted(PACKAGE.rglob("*.py"))
FOLDERS: Final = sorted({m.parent for m in MODULES})
BASE: Final = ("errors", "settings", "aws", "metrics", "storage", "__init__")
"""They import nothing but each other, and everybody may import them."""
PIPELINES: Final = (
    "contracts quality quality.scan quality.files quality.batches streaming streaming.lake streaming.poller "
    "streaming.landing web interactions inventory analytics trust"
).split()
MAY_IMPORT: Final[Mapping[str, str]] = {
    "contracts": "",
    "quality": "contracts",
    "quality.scan": "contracts quality",
    "quality.files": "contracts quality quality.scan",
    "quality.batches": "contracts quality quality.scan",
    "streaming": "contracts quality",
    "streaming.lake": "contracts quality streaming",
    "streaming.poller": "contracts quality quality.files quality.batches streaming streaming.lake",
    "streaming.landing": "contracts quality quality.scan quality.batches streaming streaming.lake",
    "web": "contracts quality streaming streaming.lake streaming.poller streaming.landing",
    "interactions": "contracts quality streaming streaming.lake streaming.poller streaming.landing analytics",
    "inventory": "contracts quality quality.files",
    "analytics": "contracts quality",
    "trust": "contracts quality quality.files quality.batches streaming streaming.lake streaming.landing inventory",
    "local": " ".join([*PIPELINES, "local.emulator", "local.source_api"]),
    "local.athena": "quality",
    "local.emulator.functions": "",
    "local.emulator.kinesis": "local",
    "local.emulator": "local local.athena local.emulator.functions local.emulator.kinesis",
    "local.compute": "local local.emulator local.emulator.kinesis",
    "local.source_api": "contracts quality streaming streaming.poller local",
    "local.status": "streaming local local.emulator local.compute local.source_api",
    "local.demo": " ".join([*PIPELINES, "local", "local.source_api"]),
    "cli": " ".join([*PIPELINES, "local", "local.source_api", "local.status", "local.demo"]),
    "__main__": "cli",
}
"""The rooms, and what each may import beyond the base and itself. A room is a folder; `local` holds both the ground of
the stack (home, clients) and its top (stack, deploy), so its single modules are held to run one way below."""
MAX_LINES: Final = 400
MAX_MEDIAN_LINES: Final = 150
MAX_FILES: Final = 17


def dotted(module: Path) -> str:
    """As it is imported, without the package's name; a folder's `__init__` is the folder."""
    parts = module.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def room_of(module: Path) -> str:
    """Its folder; for a module beside the folders, itself."""
    folder = module.parent.relative_to(PACKAGE).parts
    return ".".join(folder) or module.stem


NAMES: Final = {dotted(module): module for module in MODULES}


def imports(module: Path) -> Iterator[str]:
    """Modules of ours that a module imports, also inside functions."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name.partition(".")[2] in NAMES else node.module for name in inside]
        for name in names:
            if name.partition(".")[2] in NAMES:
                yield name.partition(".")[2]


def test_every_room_is_on_the_plan() -> None:
    rooms = {room_of(module) for module in MODULES} - set(BASE)
    assert rooms == set(MAY_IMPORT)


@pytest.mark.parametrize("module", MODULES, ids=[str(m.relative_to(PACKAGE)) for m in MODULES])
def test_imports_run_one_way(module: Path) -> None:
    room = room_of(module)
    allowed = {*BASE, room, *MAY_IMPORT.get(room, "").split()}
    assert {room_of(NAMES[name]) for name in imports(module)} <= allowed


def test_the_plan_itself_runs_one_way() -> None:
    TopologicalSorter(
        {room: set(may.split()) - {room} for room, may in MAY_IMPORT.items() if room != "local"}
    ).prepare()


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter({name: set(imports(module)) - {name} for name, module in NAMES.items()}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("module", MODULES, ids=[str(m.relative_to(PACKAGE)) for m in MODULES])
def test_a_module_says_what_it_is_for_and_stays_small(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)) or not text.strip()
    assert text.count("\n") <= MAX_LINES


def test_modules_are_small_on_the_whole() -> None:
    assert median(m.read_text(encoding="utf-8").count("\n") for m in MODULES) <= MAX_MEDIAN_LINES


def test_no_room_becomes_a_hall() -> None:
    tracked = [path for folder in ("src", "tests") for path in (REPOSITORY / folder).rglob("*") if path.is_file()]
    files: defaultdict[Path, int] = defaultdict(int)
    for path in tracked:
        if "__pycache__" not in path.parts and path.suffix not in (".so", ".pyc"):
            files[path.parent.relative_to(REPOSITORY)] += 1
    assert {str(folder): count for folder, count in files.items() if count > MAX_FILES} == {}


def test_tests_lie_where_their_room_is() -> None:
    """A folder of tests has the name of the room it tests."""
    rooms = {folder.relative_to(PACKAGE) for folder in FOLDERS}
    beside = {Path("infra"), Path("events"), Path("worlds"), Path()}
    folders = {path.parent.relative_to(REPOSITORY / "tests") for path in (REPOSITORY / "tests").rglob("*.py")}
    assert folders - beside <= rooms


def test_the_trigger_function_starts_without_heavy_libraries() -> None:
    heavy = ("pyarrow", "pandas", "numpy", "duckdb", "deltalake", "rich", "typer", "yaml")
    code = (
        "import sys, shopware_pipelines.inventory.trigger, shopware_pipelines.inventory.errored;"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
