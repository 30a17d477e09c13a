"""`swp contract` and `swp sample`: what they print and what their exit codes mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from places import REPOSITORY
from shopware_pipelines.cli import main
from shopware_pipelines.contracts import load, names
from shopware_pipelines.contracts.loader import FOLDER
from shopware_pipelines.quality.check import Checker
from shopware_pipelines.quality.sample import breaks
from shopware_pipelines.quality.schema import columns

NOW = datetime(2025, 6, 1, tzinfo=UTC)
Change = Callable[[dict[str, Any]], object]


class Done(NamedTuple):
    code: int
    out: str
    err: str


Swp = Callable[..., Done]


@pytest.fixture
def swp(capfdbinary: pytest.CaptureFixture[bytes]) -> Swp:
    """The command line in this process, which spares starting Python a hundred times."""

    def run(*arguments: object) -> Done:
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        assert isinstance(ended.value.code, int)
        out, err = capfdbinary.readouterr()
        # A broken sample may end in half a character: what is no text comes through unchanged all the same.
        return Done(ended.value.code, out.decode(errors="surrogateescape"), err.decode())

    return run


def fields(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {p["name"]: p for p in document["schema"][0]["properties"]}


def changed(folder: Path, change: Change, name: str = "inventory") -> Path:
    """A copy of a built-in contract with one change."""
    document = yaml.safe_load((FOLDER / f"{name}.odcs.yaml").read_text(encoding="utf-8"))
    change(document)
    path = folder / "changed.odcs.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


# ---------------------------------------------------------------- lint


def test_lint_without_arguments_checks_every_built_in_contract(swp: Swp) -> None:
    assert swp("contract", "lint") == (0, "".join(f"{name}: ok\n" for name in names()), "")


def test_lint_names_file_line_and_place_of_every_fault_and_goes_on(swp: Swp, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        fields(document)["stock_level"]["requird"] = True
        fields(document)["warehouse_id"]["examples"] = 5
        document["support"] = [{"channel": "#stock"}]

    broken = changed(tmp_path, change)
    done = swp("contract", "lint", broken, "nope.yaml", "web_events")

    lines = {text.strip(): i for i, text in enumerate(broken.read_text(encoding="utf-8").splitlines(), 1)}
    assert done.code == 1
    assert done.out.splitlines() == [
        f"{broken}:{lines['examples: 5']}: property 'warehouse_id'.examples: must be a list, not 5",
        f"{broken}:{lines['requird: true']}: property 'stock_level': unknown key 'requird'; did you mean required?",
        f"{broken}:{lines['support:']}: warning: document: support is ignored: nothing here uses it",
        "nope.yaml: no contract file nope.yaml",
        "web_events: ok",
    ]


def test_a_warning_is_no_fault(swp: Swp, tmp_path: Path) -> None:
    path = changed(tmp_path, lambda d: d.update(roles=[{"role": "reader"}]))
    warning, fine = swp("contract", "lint", path).out.splitlines()

    assert warning.endswith(": warning: document: roles is ignored: access is given by the templates in infra")
    assert fine == f"{path}: ok (1 warning)"
    assert swp("contract", "lint", path).code == 0
    assert swp("contract", "show", path).out.endswith(
        "nothing is done about:\n  document: roles is ignored: access is given by the templates in infra\n"
    )
    assert swp("contract", "diff", path, path).out == "no change that a writer or reader would notice\n"  # said once


def test_lint_as_json(swp: Swp, tmp_path: Path) -> None:
    broken = changed(tmp_path, lambda d: d.update(version="one", price={"priceAmount": 1}))
    done = swp("contract", "lint", "inventory", broken, "--json")

    good, bad = json.loads(done.out)
    assert done.code == 1
    assert good == {"contract": "inventory", "ok": True, "faults": [], "warnings": []}
    assert (bad["contract"], bad["ok"]) == (str(broken), False)
    (fault,) = bad["faults"]
    assert fault == {"line": None, "place": "document", "what": "version must be like 1.0.0, not 'one'"}
    (warning,) = bad["warnings"]
    assert (warning["place"], warning["what"]) == ("document", "price is ignored: nothing here uses it")
    assert isinstance(warning["line"], int)


def test_a_broken_contract_is_refused_by_whoever_needs_it(swp: Swp, tmp_path: Path) -> None:
    """Elsewhere it is not the question but a mistake: exit code 2 and one line on stderr."""

    def change(document: dict[str, Any]) -> None:
        fields(document)["stock_level"]["logicalType"] = "integr"
        document["version"] = "1"

    broken = changed(tmp_path, change)
    for command in (["contract", "show"], ["contract", "ddl"], ["contract", "diff", "inventory"], ["sample"]):
        done = swp(*command, broken)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), command
        assert done.err == (
            f"error: {broken}: document: version must be like 1.0.0, not '1' "
            "(and 1 more fault: swp contract lint shows all)\n"
        ), command


# ---------------------------------------------------------------- show, ddl, docs


@pytest.mark.parametrize("name", names())
def test_show_tells_people_every_column(swp: Swp, name: str) -> None:
    contract = load(name)
    done = swp("contract", "show", name)

    first_words = {line.split()[0]: line for line in done.out.splitlines() if line.strip()}
    assert done.code == 0
    assert done.out.startswith(f"{name} {contract.version} ({contract.id}), table {contract.table}\n")
    for column in columns(contract):
        assert column.physical_type in first_words[column.name]
    for field in contract.fields:
        assert field.name in first_words[field.column]
        assert (" yes " in first_words[field.column]) == field.required
    for rule in contract.rules:
        assert f"rule {rule.name} ({rule.severity}): {rule.expression}" in done.out


@pytest.mark.parametrize("name", names())
def test_show_as_json_is_the_contract(swp: Swp, name: str) -> None:
    contract = load(name)
    shown = json.loads(swp("contract", "show", name, "--json").out)

    assert [(f["name"], f["column"], f["required"]) for f in shown["fields"]] == [
        (f.name, f.column, f.required) for f in contract.fields
    ]
    assert {r["name"]: set(r["columns"]) for r in shown["rules"]} == {r.name: set(r.columns) for r in contract.rules}
    assert (shown["version"], tuple(shown["primary_key"])) == (contract.version, contract.primary_key)


@pytest.mark.parametrize("name", names())
def test_ddl_creates_the_table_with_every_column(swp: Swp, name: str) -> None:
    contract = load(name)
    done = swp("contract", "ddl", name)

    assert done.code == 0
    assert done.out.startswith(
        f"CREATE EXTERNAL TABLE IF NOT EXISTS {'.'.join(f'`{part}`' for part in contract.table.split('.'))}"
    )
    assert f"LOCATION '{contract.location}'" in done.out
    declared = [line.split()[0].strip("`") for line in done.out.splitlines() if line.startswith("  ")]
    if contract.table_format == "delta":
        assert "'table_type' = 'DELTA'" in done.out
        assert declared == []  # Athena refuses columns here: the table's log has them
    else:
        assert sorted(declared) == sorted(c.name for c in columns(contract))
        assert declared[-len(contract.partition_by) :] == list(contract.partition_by)


@pytest.mark.parametrize("name", [name for name in names() if load(name).table_format == "parquet"])
def test_the_glue_table_has_every_column_once(swp: Swp, name: str) -> None:
    done = swp("contract", "ddl", name, "--format", "glue", "--location", "s3://elsewhere/t/")

    table = json.loads(done.out)
    found = [c["Name"] for c in [*table["StorageDescriptor"]["Columns"], *table["PartitionKeys"]]]
    assert sorted(found) == sorted(c.name for c in columns(load(name)))
    assert [c["Name"] for c in table["PartitionKeys"]] == list(load(name).partition_by)
    assert table["StorageDescriptor"]["Location"] == "s3://elsewhere/t/"


def test_a_delta_table_is_registered_by_athena_and_not_by_glue(swp: Swp) -> None:
    done = swp("contract", "ddl", "inventory", "--format", "glue")

    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: inventory is a Delta table, which only Athena can register: "
        "run there what `swp contract ddl inventory` prints\n"
    )


def test_ddl_at_another_place(swp: Swp) -> None:
    assert (
        "LOCATION 's3://elsewhere/it\\'s/'"
        in swp("contract", "ddl", "web_events", "--location", "s3://elsewhere/it's/").out
    )


def test_a_contract_without_a_lake_has_no_table_to_make(swp: Swp, tmp_path: Path) -> None:
    path = changed(tmp_path, lambda d: d.pop("servers"))
    message = f"error: {path} has no server called lake, so there is no table to make\n"
    assert swp("contract", "ddl", path) == (2, "", message)


def test_an_unknown_ddl_format_is_a_mistake(swp: Swp) -> None:
    done = swp("contract", "ddl", "web_events", "--format", "oracle")
    assert done == (2, "", "error: --format must be athena or glue, not 'oracle'\n")


def test_docs_are_the_committed_data_dictionary(swp: Swp, tmp_path: Path) -> None:
    committed = (REPOSITORY / "docs" / "data-dictionary.md").read_text(encoding="utf-8")
    page = tmp_path / "page.md"

    assert swp("contract", "docs") == (0, committed, "")
    assert swp("contract", "docs", "--output", page) == (0, "", "")
    assert page.read_text(encoding="utf-8") == committed


# ---------------------------------------------------------------- diff


def test_a_contract_does_not_differ_from_itself(swp: Swp) -> None:
    done = swp("contract", "diff", "inventory", "inventory")
    assert done == (0, "no change that a writer or reader would notice\n", "")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda d: d["schema"][0]["properties"].pop(1), "field product_id is gone"),
        (lambda d: fields(d)["restock_threshold"].update(required=True), "restock_threshold: required now"),
        (
            lambda d: fields(d)["stock_level"].update(logicalTypeOptions={"minimum": 1}),
            "stock_level: minimum is 1, was 0",
        ),
        (
            lambda d: d["servers"][0].update(location="s3://elsewhere/"),
            "the location is (s3://elsewhere/), was (s3://misc-gtp-proj/landing_zone/processed/inventory/)",
        ),
    ],
)
def test_a_breaking_change_exits_1(swp: Swp, tmp_path: Path, change: Change, what: str) -> None:
    done = swp("contract", "diff", "inventory", changed(tmp_path, change))

    assert (done.code, done.err) == (1, "")
    assert done.out.splitlines() == [f"breaking  {what}", "the version is 1.0.0; these changes ask for 2.0.0 at least"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda d: fields(d)["product_id"].update(required=False), "product_id: no longer required"),
        (lambda d: fields(d)["stock_level"].pop("logicalTypeOptions"), "stock_level: minimum is none, was 0"),
    ],
)
def test_a_harmless_change_exits_0(swp: Swp, tmp_path: Path, change: Change, what: str) -> None:
    def and_a_new_version(document: dict[str, Any]) -> None:
        change(document)
        document["version"] = "1.1.0"

    done = swp("contract", "diff", "inventory", changed(tmp_path, and_a_new_version))
    assert done == (0, f"fine      {what}\n", "")


def test_a_lowered_version_is_an_error(swp: Swp, tmp_path: Path) -> None:
    done = swp("contract", "diff", "inventory", changed(tmp_path, lambda d: d.update(version="0.9.0")))
    assert done == (1, "error     the version is 0.9.0, lower than 1.0.0\n", "")


def test_a_change_without_a_new_version_is_said(swp: Swp, tmp_path: Path) -> None:
    done = swp("contract", "diff", "inventory", changed(tmp_path, lambda d: d["slaProperties"].pop()))
    assert done.code == 0
    assert done.out.splitlines() == [
        "fine      the retention promised is none, was 5 y",
        "the version is 1.0.0; these changes ask for 1.1.0 at least",
    ]


def test_diff_as_json(swp: Swp, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        fields(document)["stock_level"]["logicalTypeOptions"] = {"minimum": 5}
        fields(document)["product_id"]["required"] = False

    done = swp("contract", "diff", "inventory", changed(tmp_path, change), "--json")
    assert done.code == 1
    assert json.loads(done.out) == {
        "breaking": True,
        "version_fits": False,
        "wanted_version": "2.0.0",
        "version_falls": False,
        "changes": [
            {"breaking": True, "step": "major", "what": "stock_level: minimum is 5, was 0"},
            {"breaking": False, "step": "minor", "what": "product_id: no longer required"},
        ],
    }


# ---------------------------------------------------------------- sample


def reasons_of(name: str, lines: list[str]) -> list[tuple[str, ...]]:
    """The reasons of each rejected record, in order."""
    with Checker(load(name), now=NOW) as checker:
        checked = checker.check_lines([line.encode(errors="surrogateescape") for line in lines])
    return [tuple(reason.code for reason in r.reasons) for r in checked.rejected]


@pytest.mark.parametrize("name", names())
def test_samples_hold_and_the_same_seed_gives_the_same_bytes(swp: Swp, name: str) -> None:
    first, again, other = (swp("sample", name, "-n", 200, "--seed", seed).out for seed in (7, 7, 8))

    assert first == again
    assert first != other
    assert (len(first.splitlines()), reasons_of(name, first.splitlines())) == (200, [])


@pytest.mark.parametrize("name", names())
def test_each_listed_way_breaks_every_record_in_this_way_alone(swp: Swp, name: str) -> None:
    ways = swp("sample", name, "--list").out.split()
    assert ways == list(breaks(load(name)))
    lines = [line for way in ways for line in swp("sample", name, "--broken", way, "-n", 5).out.splitlines()]
    assert reasons_of(name, lines) == [(way,) for way in ways for _ in range(5)]


def test_about_the_wanted_share_is_broken(swp: Swp) -> None:
    lines = swp("sample", "inventory", "-n", 2000, "--broken-share", 0.1, "--seed", 3).out.splitlines()
    assert len(lines) == 2000
    assert 120 < len(reasons_of("inventory", lines)) < 280


def test_samples_begin_when_they_are_told_to(swp: Swp) -> None:
    lines = swp("sample", "inventory", "-n", 3, "--start-epoch", 1_700_000_000).out.splitlines()
    assert [json.loads(line)["last_updated"] for line in lines] == [1_700_000_000.0 + i for i in range(3)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--broken", "late"], "inventory has no break 'late'; it has duplicate_field, "),
        (["--broken", "malformed_json", "--broken-share", 0.5], "--broken and --broken-share exclude each other"),
        (["--broken-share", 2], "Invalid value for '--broken-share'"),
        (["-n", -1], "Invalid value for '--count'"),
    ],
)
def test_samples_that_cannot_be(swp: Swp, arguments: list[object], message: str) -> None:
    done = swp("sample", "inventory", *arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"error: {message}")
