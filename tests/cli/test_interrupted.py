"""Ctrl-C is one line and exit code 130, at whatever moment it comes: while modules are imported, while a command works,
and where Python or a library would make something else of it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from shopware_pipelines import cli

SECONDS = 120
SWP = textwrap.dedent(
    """
    import os, runpy, signal, sys

    class CtrlC:
        '''Pressed when a certain module is looked for.'''

        def find_spec(self, name, path=None, target=None):
            if name == moment and self in sys.meta_path:
                sys.meta_path.remove(self)
                os.kill(os.getpid(), signal.SIGINT)

    moment = sys.argv.pop(1)
    sys.meta_path.insert(0, CtrlC())
    runpy.run_module("shopware_pipelines", run_name="__main__", alter_sys=True)
    """
)
LOST = textwrap.dedent(
    """
    import os, signal, sys, time
    from shopware_pipelines import __main__, cli

    class Callback:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)  # the exception comes here, where none can be raised

    def work(*_, **__):
        Callback()
        time.sleep(60)

    cli.command = lambda: work
    __main__.main()
    """
)


def python(program: str, *arguments: str, cwd: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("moment", "arguments"),
    [
        ("shopware_pipelines.cli", ["--help"]),
        ("typer", ["--help"]),
        ("shopware_pipelines.cli.partitions", ["status"]),
        ("psutil", ["status"]),
        ("duckdb", ["check", "inventory", "a.jsonl"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_while_modules_are_imported(tmp_path: Path, moment: str, arguments: list[str]) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")

    assert python(SWP, moment, *arguments, cwd=tmp_path) == (130, "", "error: stopped\n")


def test_where_no_exception_can_be_raised(tmp_path: Path) -> None:
    assert python(LOST, cwd=tmp_path) == (130, "", "error: stopped\n")


def test_what_a_library_makes_of_it_is_still_ctrl_c(capfd: pytest.CaptureFixture[str]) -> None:
    def broken(**_: object) -> int:
        raise ImportError("numpy.core.multiarray failed to import")

    pressed: list[bool] = []
    assert cli.run(broken, interrupted=lambda: bool(pressed)) == 1  # type: ignore[arg-type]  # all that is called
    assert "a fault in swp" in capfd.readouterr().err

    pressed.append(True)
    assert cli.run(broken, interrupted=lambda: bool(pressed)) == 130  # type: ignore[arg-type]
    assert capfd.readouterr().err == "error: stopped\n"
