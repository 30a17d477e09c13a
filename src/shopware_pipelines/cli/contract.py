"""`swp contract`: look at contracts, and at what is made from them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shopware_pipelines.cli.output import emit_json, stdout
from shopware_pipelines.errors import UsageError

if TYPE_CHECKING:
    from shopware_pipelines.contracts.document import Remark

Name = Annotated[str, typer.Argument(metavar="CONTRACT", help="Name of a built-in contract, or a YAML file.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="[CONTRACT]...", help="Names or YAML files; default: all.")]
AsJson = Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="Contracts, and what is made from them.")
    group.command("lint")(lint)
    group.command("show")(show)
    group.command("ddl")(ddl)
    group.command("docs")(docs)
    group.command("diff")(diff)
    app.add_typer(group, name="contract")


def lint(contracts: Names = None, as_json: AsJson = False) -> None:
    """Check that contracts are understood; one line for each fault, exit code 1 if there is one.

    What a contract says and nothing is done about is a warning, which changes no record's fate.

    Example: swp contract lint inventory my-feed.odcs.yaml
    """
    from shopware_pipelines.contracts.loader import names

    found = {name: _findings(name) for name in contracts or names()}
    if as_json:
        emit_json(
            [
                {"contract": name, "ok": not faults, **_document(faults, warnings)}
                for name, (faults, warnings) in found.items()
            ]
        )
    else:
        for name, (faults, warnings) in found.items():
            for fault in faults:
                typer.echo(str(fault))
            for warning in warnings:
                typer.echo(f"{warning.at}: warning: {warning.place}: {warning.what}")
            if not faults:
                noticed = f" ({len(warnings)} warning{'' if len(warnings) == 1 else 's'})" if warnings else ""
                typer.echo(f"{name}: ok{noticed}")
    if any(faults for faults, _ in found.values()):
        raise typer.Exit(1)


def _findings(name: str) -> tuple[list[Remark], list[Remark]]:
    """Faults and warnings of one contract; its SQL is checked too."""
    from shopware_pipelines.contracts.document import Remark
    from shopware_pipelines.contracts.loader import file_of, read

    try:
        reading = read(file_of(name))
    except UsageError as error:  # no such file; the others are looked at all the same
        return [Remark(name, None, "", str(error))], []
    return reading.faults, reading.warnings


def _document(faults: list[Remark], warnings: list[Remark]) -> dict[str, list[dict[str, Any]]]:
    return {
        kind: [{"line": one.line, "place": one.place, "what": one.what} for one in found]
        for kind, found in (("faults", faults), ("warnings", warnings))
    }


def show(contract: Name, as_json: AsJson = False) -> None:
    """Print a contract: its fields, what each may hold, its rules.

    Example: swp contract show web_events
    """
    from rich.table import Table

    from shopware_pipelines.contracts import load
    from shopware_pipelines.quality.schema import columns

    loaded = load(contract)
    if as_json:
        document = asdict(loaded)
        document["rules"] = [{**asdict(r), "columns": sorted(r.columns)} for r in loaded.rules]
        emit_json(document)
        return
    console = stdout()
    table_name = loaded.table or "none"
    console.print(
        f"{loaded.name} {loaded.version} ({loaded.id}), table {table_name}\n{loaded.description}\n", markup=False
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("column", "type", "received as", "required", "meaning"):
        table.add_column(heading, overflow="fold")
    received = {f.column: f for f in loaded.fields}
    for column in columns(loaded):
        field = received.get(column.name)
        table.add_row(
            column.name,
            column.physical_type,
            field.name if field else "",
            "yes" if field and field.required else "",
            column.description,
        )
    console.print(table)
    for rule in loaded.rules:
        console.print(f"\nrule {rule.name} ({rule.severity}): {rule.expression}", soft_wrap=True, markup=False)
    if loaded.ignored:
        console.print("\nnothing is done about:")
        for what in loaded.ignored:
            console.print(f"  {what}", soft_wrap=True, markup=False)


def ddl(
    contract: Name,
    location: Annotated[str, typer.Option(help="S3 URL of the table; default: the contract's.")] = "",
    form: Annotated[
        str, typer.Option("--format", help="athena (DDL) or glue (TableInput as JSON; not of a Delta table).")
    ] = "athena",
) -> None:
    """Print how to create the table.

    Example: swp contract ddl customer_interactions
    """
    from shopware_pipelines.contracts import load
    from shopware_pipelines.quality.schema import athena_ddl, glue_table

    loaded = load(contract)
    if not loaded.table:
        raise UsageError(f"{contract} has no server called lake, so there is no table to make")
    if form == "glue":
        emit_json(glue_table(loaded, location))
    elif form == "athena":
        typer.echo(athena_ddl(loaded, location), nl=False)
    else:
        raise UsageError(f"--format must be athena or glue, not {form!r}")


def docs(
    contracts: Names = None,
    output: Annotated[Path | None, typer.Option(help="Write here instead of stdout.")] = None,
) -> None:
    """Print the data dictionary as Markdown.

    Example: swp contract docs --output docs/data-dictionary.md
    """
    from shopware_pipelines.contracts import load, names
    from shopware_pipelines.quality.dictionary import dictionary

    page = dictionary(load(name) for name in contracts or names())
    if output is None:
        typer.echo(page, nl=False)
    else:
        output.write_text(page, encoding="utf-8")


def diff(
    old: Annotated[str, typer.Argument(help="Name or YAML file.")],
    new: Annotated[str, typer.Argument(help="Name or YAML file.")],
    as_json: AsJson = False,
) -> None:
    """Say what changed between two contracts; exit code 1 when it breaks writers or readers, or the version falls.

    Example: swp contract diff inventory changed/inventory.odcs.yaml
    """
    from shopware_pipelines.contracts import diff as differences
    from shopware_pipelines.contracts import load

    before, after = load(old), load(new)
    changes = differences.diff(before, after)
    breaking = any(change.breaking for change in changes)
    wanted = differences.wanted_version(before, changes)
    fits = differences.version_fits(before, after, changes)
    falls = differences.version_falls(before, after)
    if as_json:
        emit_json(
            {
                "breaking": breaking,
                "version_fits": fits,
                "wanted_version": wanted,
                "version_falls": falls,
                "changes": [{"breaking": c.breaking, "step": c.step, "what": c.what} for c in changes],
            }
        )
    else:
        for change in changes:
            typer.echo(f"{'breaking' if change.breaking else 'fine    '}  {change.what}")
        if falls:
            typer.echo(f"error     the version is {after.version}, lower than {before.version}")
        elif not fits:
            typer.echo(f"the version is {after.version}; these changes ask for {wanted} at least")
        elif not changes:
            typer.echo("no change that a writer or reader would notice")
    if breaking or falls:
        raise typer.Exit(1)
