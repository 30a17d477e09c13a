"""Contracts to the data dictionary page of the docs, for the people who read the numbers."""

from __future__ import annotations

from collections.abc import Iterable

from shopware_pipelines.contracts.model import Contract, Field

HEAD = """# Data dictionary

What each table holds. Generated from the contracts by `swp contract docs`; do not edit by hand.
"""


def dictionary(contracts: Iterable[Contract]) -> str:
    """The page as Markdown."""
    return "\n".join([HEAD, *(_section(c) for c in contracts)])


def _section(contract: Contract) -> str:
    lines = [
        f"## {contract.name}",
        "",
        contract.description,
        "",
        f"Table `{contract.table}` ({'Delta' if contract.table_format == 'delta' else 'Parquet'}), "
        f"contract version {contract.version}"
        + (f", owner {contract.owner}" if contract.owner else "")
        + (f", partitioned by {', '.join(f'`{p}`' for p in contract.partition_by)}" if contract.partition_by else "")
        + (f", key ({', '.join(f'`{k}`' for k in contract.primary_key)})" if contract.primary_key else "")
        + ".",
        "",
        "| column | type | always there | allowed | meaning |",
        "|---|---|---|---|---|",
    ]
    lines += [_row(f) for f in contract.fields]
    lines += [f"| `{d.column}` | {d.physical_type} | yes | | {_cell(d.description)} |" for d in contract.derived]
    for c in contract.lineage:
        always = "no" if c.role == "extra_fields" else "yes"
        lines.append(f"| `{c.column}` | {c.physical_type} | {always} | | {_cell(c.description)} |")
    if contract.rules:
        lines += ["", "Rules over whole records:", ""]
        lines += [f"- **{r.name}** ({r.severity}): {r.description}. `{r.expression}`" for r in contract.rules]
    return "\n".join([*lines, ""])


def _row(f: Field) -> str:
    received = f" Received as `{f.name}`." if f.name != f.column else ""
    personal = " Personal data." if f.classification == "restricted" and "ersonal data" not in f.description else ""
    always = "yes" if f.required or f.default else "no"
    return (
        f"| `{f.column}` | {f.physical_type} | {always} | {_allowed(f)} | {_cell(f.description)}{received}{personal} |"
    )


def _allowed(f: Field) -> str:
    parts = []
    if f.minimum is not None and f.maximum is not None:
        parts.append(f"{f.minimum} to {f.maximum}")
    elif f.minimum is not None:
        parts.append(f"at least {f.minimum}")
    elif f.maximum is not None:
        parts.append(f"at most {f.maximum}")
    if f.max_length is not None:
        parts.append(f"up to {f.max_length:,} characters")
    if f.pattern:
        parts.append(f"like `{f.pattern}`")
    if f.enum:
        parts.append(", ".join(f.enum))
    if f.logical_type == "timestamp":
        parts.append("2000-01-01 to 24 hours ahead")
    return _cell("; ".join(parts))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
