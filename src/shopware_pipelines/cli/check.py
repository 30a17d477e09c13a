"""`swp check`: what a contract says about some files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from shopware_pipelines.cli.drafts import Output, drafts, remove
from shopware_pipelines.cli.output import aligned, bytes_progress, emit_json, number
from shopware_pipelines.cli.stdin import interruptible_stdin
from shopware_pipelines.errors import UnreadableInputError, UsageError
from shopware_pipelines.quality.reasons import MEANING

if TYPE_CHECKING:
    from shopware_pipelines.contracts.model import Contract
    from shopware_pipelines.quality.check import Checker
    from shopware_pipelines.quality.outcome import Counts

STDIN: Final = "-"
PART: Final = re.compile(r"part-[a-z]+-\d{5,}\.parquet")
FOLDER: Final = re.compile(r"file-\d{4,}")
REJECTION: Final = re.compile(rb'\{"contract":"[^"]*","contract_version":"')
HEAD_BYTES: Final = 4096


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    contract: Annotated[str, typer.Argument(help="Name of a built-in contract, or a YAML file.")],
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="JSONL or a JSON array, maybe gzip or zstd; - is stdin.")
    ],
    valid_dir: Annotated[Path | None, typer.Option(help="Write valid records here, as Parquet.")] = None,
    rejected: Annotated[Path | None, typer.Option(help="Write rejected records here, as JSON lines.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")] = False,
    max_record_bytes: Annotated[int, typer.Option(help="Longer records are rejected.", min=1)] = 1 << 20,
    now: Annotated[str, typer.Option(help="Check as if at this time (ISO 8601); default: the present.")] = "",
    force: Annotated[bool, typer.Option(help="Replace the outputs of an earlier check.")] = False,
) -> None:
    """Check files against a contract: how many records hold, how many do not, and why.

    Exit code 0 when every record is valid, 1 when one is rejected or a file is unreadable, 2 when called wrongly
    or a file is of another format (Parquet, zip, UTF-16, ...).

    Example: swp check inventory stock.jsonl --valid-dir valid --rejected rejected.jsonl
    """
    from shopware_pipelines.contracts import load
    from shopware_pipelines.quality.check import Checker
    from shopware_pipelines.quality.outcome import Counts

    loaded = load(contract)
    moment = _moment(now)
    with ExitStack() as stack:
        sources = [_source(name, stack) for name in files]
        inputs = [source for _, source in sources if isinstance(source, Path)]
        written = stack.enter_context(_drafts(valid_dir, rejected, inputs, force=force))
        checker = stack.enter_context(Checker(loaded, now=moment, max_record_bytes=max_record_bytes))
        results = []
        for i, (name, source) in enumerate(sources):
            own = written.of(i, len(sources))
            results.append((name, _check_one(checker, name, source, own, moment)))
            if own.rejected and written.rejected and own.rejected != written.rejected:
                _append(own.rejected, written.rejected)
    total = sum((counts for _, counts in results), Counts())
    if as_json:
        emit_json(_document(loaded, results, total))
    else:
        _show(loaded, results, total, valid_dir, rejected)
    if total.rejected:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Drafts:
    """Where the outputs are written."""

    valid_dir: Path | None
    rejected: Path | None

    def of(self, index: int, count: int) -> _Drafts:
        """Where those of one of `count` files go."""
        if count == 1:
            return self
        return _Drafts(
            self.valid_dir and self.valid_dir / f"file-{index:04d}",
            self.rejected and self.rejected.with_name(f"rejected-{index}"),
        )


@contextmanager
def _drafts(valid_dir: Path | None, rejected: Path | None, inputs: list[Path], *, force: bool) -> Iterator[_Drafts]:
    wanted = [
        *([] if valid_dir is None else [Output("--valid-dir", valid_dir, _is_valid_dir)]),
        *([] if rejected is None else [Output("--rejected", rejected, _is_rejected)]),
    ]
    with drafts(wanted, inputs, force=force) as made:
        rest = iter(made)
        found = _Drafts(next(rest) if valid_dir else None, next(rest) if rejected else None)
        if found.valid_dir:
            found.valid_dir.mkdir()
        if found.rejected:
            found.rejected.touch()
        yield found


def _is_valid_dir(path: Path) -> bool:
    """Nothing but parts, maybe in folders for each file."""
    return path.is_dir() and all(
        FOLDER.fullmatch(p.name) and all(PART.fullmatch(q.name) for q in p.iterdir())
        if p.is_dir()
        else PART.fullmatch(p.name)
        for p in path.iterdir()
    )


def _is_rejected(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as lines:
        start = lines.read(HEAD_BYTES)
    return not start or bool(REJECTION.match(start))


def _check_one(checker: Checker, name: str, source: BinaryIO | Path, outputs: _Drafts, moment: datetime) -> Counts:
    from shopware_pipelines.quality.files.outputs import RecordContext
    from shopware_pipelines.quality.files.stream import check_file

    total = source.stat().st_size if isinstance(source, Path) else None
    try:
        with bytes_progress(name, total) as report:
            return check_file(
                checker,
                source,
                valid_dir=outputs.valid_dir,
                rejected_path=outputs.rejected,
                context=RecordContext(source=name, record_id_prefix=None, ingested_at=moment),
                on_progress=report,
            )
    except UnreadableInputError as error:
        raise type(error)(f"{name}: {error}") from error


def _append(piece: Path, whole: Path) -> None:
    with piece.open("rb") as lines, whole.open("ab") as together:
        shutil.copyfileobj(lines, together)
    remove(piece)


def _source(name: str, stack: ExitStack) -> tuple[str, BinaryIO | Path]:
    if name == STDIN:
        return "stdin", stack.enter_context(interruptible_stdin())
    path = Path(name)
    if path.is_dir():
        raise UsageError(f"{name} is a folder; name the files in it, for example {name.rstrip('/')}/*.jsonl")
    try:
        with path.open("rb"):
            return name, path
    except FileNotFoundError:
        raise UsageError(f"there is no file {name}") from None
    except OSError as error:
        raise UsageError(f"cannot read {name}: {(error.strerror or str(error)).lower()}") from error


def _moment(text: str) -> datetime:
    if not text:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--now must be a time like 2026-01-31T12:00:00+00:00, not {text!r}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _document(contract: Contract, results: list[tuple[str, Counts]], total: Counts) -> dict[str, object]:
    return {
        "contract": contract.name,
        "contract_version": contract.version,
        "files": [{"file": name, **asdict(counts)} for name, counts in results],
        **asdict(total),
    }


def _show(
    contract: Contract, results: list[tuple[str, Counts]], total: Counts, valid_dir: Path | None, rejected: Path | None
) -> None:
    headings = ("file", "records", "valid", "rejected")
    rows = [*results, *([("all", total)] if len(results) > 1 else [])]
    table = [(name, number(c.records), number(c.valid), number(c.rejected)) for name, c in rows]
    typer.echo(f"{contract.name} {contract.version}")
    typer.echo(aligned([headings, *table], right=(1, 2, 3)))
    if total.blank_lines:
        typer.echo(f"{number(total.blank_lines)} blank lines are no records.")
    _show_counts("Rejected because", total.reasons)
    _show_counts("Valid, but noticed", total.warnings)
    for name, counts in results:
        if counts.hint:
            typer.echo(f"\n{name}: {counts.hint}")
    for what, path in (("valid records", valid_dir), ("rejected records", rejected)):
        if path is not None:
            typer.echo(f"{what}: {path}")


def _show_counts(title: str, counts: dict[str, int]) -> None:
    if not counts:
        return
    noticed = {"unknown_field": "the record has a field that the contract does not know", "rule": MEANING["rule"]}
    table = []
    for code, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        kind = code.partition(":")[0]
        table.append((number(count), code, MEANING.get(kind, noticed.get(kind, ""))))
    typer.echo(f"\n{title}")
    typer.echo(aligned(table, right=(0,)))
