"""One look at a contract finds every fault, each in its line; whatever a file holds, nothing else is raised."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from seeds import SEED
from shopware_pipelines.contracts import Contract, load_file
from shopware_pipelines.contracts.loader import FOLDER, Reading, read
from shopware_pipelines.errors import ContractError

CONTRACT = """\
apiVersion: v3.2.0
kind: DataContract
id: urn:x
name: orders
version: 1.0.0
schema:
  - name: orders
    properties:
      - name: sku
        logicalType: string
        examples: 5
        primaryKey: true
        primaryKeyPosition: '1'
        logicalTypeOptions: {maxLength: -1, minLength: 1.5}
      - name: count
        logicalType: integer
        logicalTypeOptions: {maximum: .inf, minimum: .nan}
      - name: price
        logicalType: number
        logicalTypeOptions: {minimum: 1}
        required: true
        logicalTypeOptions: {maximum: 2}
      - name: day
        logicalType: date
        description: [when]
    quality:
      - {type: custom, engine: sql-row, name: positive, implementation: price > 0 AND amount > 0}
servers:
  - {server: lake, type: s3, format: csv, location: /tmp, customProperties: [{property: catalogTable, value: d.t}]}
team: [{username: ada}]
"""


def reading_of(text: str, folder: Path) -> Reading:
    path = folder / "mine.odcs.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return read(path)


def faults_of(text: str, folder: Path) -> list[str]:
    """The faults, without the file's name."""
    return [str(fault).removeprefix(f"{fault.file}:").strip() for fault in reading_of(text, folder).faults]


def test_every_fault_at_once_each_with_its_line(tmp_path: Path) -> None:
    assert faults_of(CONTRACT, tmp_path) == [
        "11: property 'sku'.examples: must be a list, not 5",
        "13: property 'sku'.primaryKeyPosition: must be a whole number of at least 1, not '1'",
        "14: property 'sku'.logicalTypeOptions.minLength: must be a whole number of at least 0, not 1.5",
        "14: property 'sku'.logicalTypeOptions.maxLength: must be a whole number of at least 0, not -1",
        "17: property 'count'.logicalTypeOptions.minimum: must be a finite number, not nan",
        "17: property 'count'.logicalTypeOptions.maximum: must be a finite number, not inf",
        "22: schema[0].properties[2]: the key 'logicalTypeOptions' stands twice, first in line 20",
        "25: property 'day'.description: must be text, not ['when'] (put it in quotes)",
        "27: quality 'positive': implementation: names the unknown column 'amount'; known are sku, count, price, day",
        "29: server 'lake': location must be like s3://bucket/folder/, not '/tmp'",
        "29: server 'lake': format must be parquet or delta, not 'csv'",
    ]


def test_one_line_where_the_contract_is_only_needed(tmp_path: Path) -> None:
    path = tmp_path / "mine.odcs.yaml"
    path.write_text(CONTRACT, encoding="utf-8")

    with pytest.raises(ContractError) as refused:
        load_file(path)

    assert str(refused.value) == (
        f"{path}:11: property 'sku'.examples: must be a list, not 5 (and 10 more faults: swp contract lint shows all)"
    )
    assert len(refused.value.faults) == 11


PLAIN = """\
apiVersion: v3.2.0
kind: DataContract
id: urn:x
name: orders
version: 1.0.0
schema: [{name: orders, properties: [{name: sku, logicalType: string}]}]
"""


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("name: other\n", "7: document: the key 'name' stands twice, first in line 4"),
        ("tags: [{a: 1, a: 2}]\n", "7: tags[0]: the key 'a' stands twice, first in line 7"),
        ("tags: &t [*t]\n", "7: tags[0]: an alias stands inside of what it repeats"),
        ("description: 2024-13-01\n", "7: description: '2024-13-01' cannot be read: month must be in 1..12"),
        ("description: !!set {a}\n", "7: description: the YAML tag 'tag:yaml.org,2002:set' is not supported"),
        ("description: !!python/name:os.system x\n", "7: description: 'x' cannot be read: could not determine"),
        ('description: {purpose: "a\\0b"}\n', "7: description.purpose: holds a NUL or half a character"),
        ('description: {purpose: "\\ud800"}\n', "7: document: not YAML: found invalid Unicode character"),
        ("? [a]\n: b\n", "7: document: a key must be text"),
        ("5: b\n", "7: document: unknown key 5; known are "),
        ("---\nb: 1\n", "7: document: not YAML: but found another document"),
        ("tags: [\n", "8: document: not YAML: expected the node content, but found '<stream end>'"),
        ("team: 5\n", "7: team: must be a mapping of keys to values, not 5"),
        ("team: {nmae: x}\n", "7: team: unknown key 'nmae'; did you mean name?"),
        ("slaProperties: [{property: retention}]\n", "7: slaProperties[0]: value is required"),
        ("slaProperties: {retention: 1}\n", "7: slaProperties: must be a list, not {'retention': 1}"),
        ("servers: lake\n", "7: servers: must be a list, not 'lake'"),
        ("servers: [5]\n", "7: servers[0]: must be a mapping of keys to values, not 5"),
    ],
)
def test_a_fault_of_the_file(more: str, fault: str, tmp_path: Path) -> None:
    (found,) = faults_of(PLAIN + more, tmp_path)
    assert found.startswith(fault)


def test_merge_keys_and_aliases_are_read(tmp_path: Path) -> None:
    text = PLAIN.replace(
        "[{name: sku, logicalType: string}]", "[&p {name: sku, logicalType: string}, {<<: *p, name: n}]"
    )
    contract = reading_of(text, tmp_path).contract
    assert isinstance(contract, Contract)
    assert [f.name for f in contract.fields] == ["sku", "n"]


def test_aliases_cannot_be_used_to_fill_the_memory(tmp_path: Path) -> None:
    """Each line repeats the one before nine times: 9 to the power of 30 values, were they made."""
    bomb = "".join(f"  - &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(30))
    (fault,) = faults_of(f"{PLAIN}tags:\n  - &a0 [x]\n{bomb}  - x\ndescription: *a30\n", tmp_path)
    assert fault.startswith("40: description: must be a mapping of keys to values, not [[")
    assert len(fault) < 200


@pytest.mark.parametrize("text", ["", "[]", "5", "a", "[" * 999 + "]" * 999, "\x00", "\ufeff", "{" * 99], ids=range(8))
def test_what_is_no_contract_is_one_fault(text: str, tmp_path: Path) -> None:
    assert len(faults_of(text, tmp_path)) == 1


# -- any change at all -----------------------------------------------------------------------------------------------

STRANGE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1.5, 10**400, float("inf"), float("nan"), "", " ", "x", "1", "'", "é\u2028", "a\nb",
    [], [None], [[]], ["x"], [{}], {}, {"x": {}}, {None: 1}, {"property": "trim"}, [{"property": ["x"], "value": 1}],
)  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    for key, child in list(value.items()) if isinstance(value, dict) else list(enumerate(value)):
        yield value, key
        if isinstance(child, dict | list):
            yield from places(child)


@pytest.mark.parametrize("name", ["web_events", "customer_interactions", "inventory"])
def test_whatever_stands_where_nothing_but_faults_comes_of_it(name: str, tmp_path: Path) -> None:
    """Strange values in random places: never an exception, and a contract exactly where there is no fault."""
    draw = random.Random(f"{SEED}:{name}")
    document = yaml.safe_load((FOLDER / f"{name}.odcs.yaml").read_text(encoding="utf-8"))
    for _ in range(25):
        broken = copy.deepcopy(document)
        for _ in range(draw.choice([1, 1, 3])):
            container, key = draw.choice(list(places(broken)))
            if draw.random() < 0.2:
                del container[key]
            elif isinstance(container, dict) and draw.random() < 0.1:
                container[draw.choice(["x", 5, "items", "unique"])] = draw.choice(STRANGE)
            else:
                container[key] = draw.choice(STRANGE)
        reading = reading_of(yaml.safe_dump(broken, allow_unicode=True), tmp_path)
        assert (reading.contract is None) == bool(reading.faults)
        for remark in (*reading.faults, *reading.warnings):
            assert "\n" not in str(remark)
            assert len(str(remark)) < 1_000
