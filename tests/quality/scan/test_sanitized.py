"""`scan.c` under the address and undefined-behaviour sanitizers: no input makes it read or write beyond its buffers.

`make fuzz-native` runs each harness for a minute, this file for some thousand inputs. That the sanitizers would see a
fault is shown by taking single guards out of the source.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from fuzz import NOW, fuzz_lines, synthetic_contract, valid_lines
from places import REPOSITORY
from seeds import SEED
from shopware_pipelines.contracts import load
from shopware_pipelines.contracts.model import Contract, Field
from shopware_pipelines.quality.fields import EARLIEST_MS, MILLISECONDS_ABOVE, MS_PER_DAY, epoch_ms
from shopware_pipelines.quality.sample import samples
from shopware_pipelines.quality.scan.native import FUNCTIONS
from shopware_pipelines.quality.scan.scanner import MAX_FIELDS, Scanner

SOURCE: Final = REPOSITORY / "src" / "shopware_pipelines" / "quality" / "scan" / "scan.c"
HARNESS: Final = Path(__file__).with_name("sanitized")
CORPUS: Final = HARNESS / "corpus"
"""Lines that inputs are made of: a file for each contract, written anew by running this module."""
COMPILER: Final = os.environ.get("CC", "cc")
FLAGS: Final = (
    "-std=c11 -O1 -g -ffp-contract=off -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
).split()
SECONDS: Final = int(os.environ.get("SWP_FUZZ_SECONDS", "0"))
"""For each harness; 0: until INPUTS are done."""
INPUTS: Final = 20_000
FAULTY: Final = {"synthetic": b'{"level": 9999999999999999999}\n'}
"""Lines of the corpus on which a fault was found: more digits than a word holds."""
PLANTED: Final = {
    "eight bytes over a record's end": ("for (; end - p >= 8; p += 8)", "for (;; p += 8)"),
    "a layout longer than what is left": ("if (n < 8 || end - p < n) return 0;", "if (n < 8) return 0;"),
    "a number longer than a word": ("p - begin < 18) number", "p - begin < 19) number"),
    "a character cut in the middle": ("if (!more || p[1] < low || p[1] > high) return 0;", "if (!more) return 0;"),
}
"""A guard of scan.c, and what is left without it. All of them are for `make fuzz-native`: each takes the compiler a
second."""


def wide_contract() -> Contract:
    """As many fields as the scanner can see."""
    fields = [
        Field(f"text{k}", f"text{k}", "string", "STRING", trim=k % 2 == 0)
        if k % 3
        else Field(f"number{k}", f"number{k}", "integer", "BIGINT")
        for k in range(MAX_FIELDS)
    ]
    return replace(synthetic_contract(), name="wide", fields=tuple(fields), rules=(), derived=())


def contracts() -> list[Contract]:
    return [*map(load, ("web_events", "customer_interactions", "inventory")), synthetic_contract(), wide_contract()]


def compiled(contract: Contract) -> str:
    """A contract as `fuzz.c` reads it."""
    scanner = Scanner(contract)
    limits = f"{EARLIEST_MS} {epoch_ms(NOW) + MS_PER_DAY} {MILLISECONDS_ABOVE}"
    lines = [f"{contract.name} {len(contract.fields)} {scanner.required} {limits}"]
    for field, kind, low, high in zip(contract.fields, scanner.kinds, scanner.lowest, scanner.highest, strict=True):
        lines.append(f"{kind} {low} {high} {field.name.encode().hex()}")
    return "\n".join(lines) + "\n"


def build(harness: Path, source: str, folder: Path) -> Path:
    """The fuzzer of this scan.c, with the compiled `harness`."""
    (folder / "scan.c").write_text(source, encoding="utf-8")
    compiler("-o", folder / "fuzz", folder / "scan.c", *sorted(harness.glob("*.o")))
    return folder / "fuzz"


def compiler(*arguments: object) -> None:
    done = subprocess.run([COMPILER, *FLAGS, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run(program: Path, harness: Path, name: str, seconds: int, inputs: int) -> subprocess.CompletedProcess[str]:
    arguments = [name, SEED, seconds, inputs, harness / "contracts.txt", CORPUS, program.with_name("found")]
    options = {
        "ASAN_OPTIONS": "abort_on_error=1:quarantine_size_mb=16",
        "UBSAN_OPTIONS": "abort_on_error=1:print_stacktrace=1",
    }
    command = [str(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | options)


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All but scan.c, compiled, and the contracts; needs a C compiler with both sanitizers."""
    folder = tmp_path_factory.mktemp("harness")
    probe = [COMPILER, "-fsanitize=address,undefined", "-x", "c", "-o", str(folder / "probe"), "-"]
    found = shutil.which(COMPILER)
    if (
        not found
        or subprocess.run(probe, input=b"int main(void){return 0;}", capture_output=True, check=False).returncode
    ):
        pytest.skip(
            f"{COMPILER} is no C compiler with sanitizers (on Debian and Ubuntu: apt-get install gcc libc6-dev)"
        )
    for source in HARNESS.glob("*.c"):
        compiler("-c", source, "-o", folder / f"{source.stem}.o")
    (folder / "contracts.txt").write_text("".join(map(compiled, contracts())), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def program(harness: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fuzzer of scan.c as it is."""
    return build(harness, SOURCE.read_text(encoding="utf-8"), tmp_path_factory.mktemp("scan"))


@pytest.mark.parametrize("name", ["frame", "elements", "scan"])
def test_no_input_leads_beyond_a_buffer(name: str, harness: Path, program: Path) -> None:
    done = run(program, harness, name, SECONDS, 0 if SECONDS else INPUTS)
    assert done.returncode == 0, f"SWP_SEED={SEED}\n{done.stderr}"
    facts: dict[str, Any] = json.loads(done.stdout)
    print(done.stdout, end="")  # noqa: T201  # `make fuzz-native` shows what it did
    assert facts["records"] > facts["inputs"] / 20  # it went deep: of many records the scanner was sure


@pytest.mark.parametrize("fault", list(PLANTED)[: len(PLANTED) if SECONDS else 1])
def test_a_planted_fault_is_found_within_a_minute(fault: str, harness: Path, tmp_path: Path) -> None:
    guard, without = PLANTED[fault]
    source = SOURCE.read_text(encoding="utf-8")
    assert source.count(guard) == 1, "plant it anew: the guard looks different now"
    program = build(harness, source.replace(guard, without), tmp_path)
    done = run(program, harness, "scan", 60, 0)
    assert done.returncode != 0
    assert "ERROR: AddressSanitizer" in done.stderr or "signed integer overflow" in done.stderr
    assert (tmp_path / "found").stat().st_size > 0


def test_every_function_that_python_calls_has_a_harness() -> None:
    called = re.findall(r"[=;{}]\s+(swp_\w+)\(", (HARNESS / "harness.c").read_text(encoding="utf-8"))
    defined = re.findall(r"^\w+ (swp_\w+)\(", SOURCE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(FUNCTIONS) == set(defined) == set(called)


def test_the_corpus_has_lines_of_every_contract() -> None:
    for contract in contracts():
        lines = (CORPUS / f"{contract.name}.ndjson").read_bytes().split(b"\n")
        assert lines.pop() == b""
        assert 8 <= len(lines) <= 64


if __name__ == "__main__":  # writes the corpus anew
    for one in contracts():
        plain = itertools.islice(samples(one, seed=1, start_epoch=NOW.timestamp() - 90_000), 8)
        odd = [*valid_lines(one, 1, 60), *fuzz_lines(one, 1, 60)]
        short = [line for line in odd if len(line) < (1_200 if one.name == "wide" else 500)]
        lines = [*plain, *short[:8], *short[-8:]]
        (CORPUS / f"{one.name}.ndjson").write_bytes(
            b"".join(line + b"\n" for line in lines) + FAULTY.get(one.name, b"")
        )
