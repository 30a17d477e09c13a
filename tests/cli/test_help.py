"""The help is complete, and what is generated from the program is up to date."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from typer.main import get_command

from cli_page import commands, page
from places import REPOSITORY
from shopware_pipelines.cli import build
from shopware_pipelines.contracts import load, names
from shopware_pipelines.quality.dictionary import dictionary

COMMANDS = list(commands(get_command(build()), "swp"))


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[path for path, _ in COMMANDS])
def test_every_command_shows_an_example_of_itself(path: str, command: Any) -> None:
    example = re.search(r"Example: (.*)", command.help)
    assert example is not None
    assert example.group(1).startswith(path)
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    used = set(re.findall(r"(?<=\s)--?[a-z-]+", example.group(1)))
    assert used <= known


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[path for path, _ in COMMANDS])
def test_every_option_says_what_it_does(path: str, command: Any) -> None:
    silent = [p.name for p in command.params if not (getattr(p, "help", "") or "").strip()]
    assert not silent


def test_the_command_line_page_is_up_to_date() -> None:
    assert (REPOSITORY / "docs/cli.md").read_text(encoding="utf-8") == page(), "run: make docs"


def test_the_data_dictionary_is_up_to_date() -> None:
    written = (REPOSITORY / "docs/data-dictionary.md").read_text(encoding="utf-8")
    assert written == dictionary([load(name) for name in names()]), "run: make docs"


FOLDERS = ("bench", "docs", "infra", "src", "tests")
MARKDOWN = sorted([*REPOSITORY.glob("*.md"), *(p for folder in FOLDERS for p in (REPOSITORY / folder).rglob("*.md"))])


@pytest.mark.parametrize("document", MARKDOWN, ids=[str(p.relative_to(REPOSITORY)) for p in MARKDOWN])
def test_links_between_documents_lead_somewhere(document: Any) -> None:
    text = document.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", text)
    assert [t for t in targets if not (document.parent / t).exists()] == []


def test_the_help_is_there_before_heavy_libraries_are() -> None:
    """They are imported by the command that needs them."""
    heavy = ("rich", "duckdb", "pyarrow", "numpy", "deltalake", "boto3", "yaml", "psutil", "sqlglot")
    code = (
        "import sys; from shopware_pipelines.cli import command, run; run(command(), ['--help']);"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: swp" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
