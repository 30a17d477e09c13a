"""The emulator's CloudFormation reads templates faster, and reads the same."""

from __future__ import annotations

import pytest
import yaml

from places import REPOSITORY
from shopware_pipelines.local.emulator import cloudformation

TEMPLATES = {path.parent.name: path for path in sorted(REPOSITORY.glob("infra/*/template.yaml"))}
EVERY_TAG = """
a: !Ref X
b: !GetAtt A.B.C
c: !GetAtt [A, B]
d: !Sub ['${X}', {X: !Select [0, !Split [',', 'a,b']]}]
e: !If [C, !Join ['-', [1, 2.5]], !Base64 'x']
f: [2026-01-01, yes, null, 0x10, '007', !FindInMap [M, a, b], !ImportValue i, !GetAZs '']
g: !And [!Equals [a, b], !Not [!Condition c], !Or [!Condition d, !Condition e]]
"""


@pytest.mark.parametrize(
    "text", [*(p.read_text("utf-8") for p in TEMPLATES.values()), EVERY_TAG], ids=[*TEMPLATES, "tags"]
)
def test_a_template_is_read_as_plain(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    from ministack.services.cloudformation import engine

    monkeypatch.setattr(engine, "CfnLoader", engine.CfnLoader)  # to have it back
    plain = engine._parse_template(text)
    cloudformation.templates_are_read_by_libyaml()

    assert issubclass(engine.CfnLoader, yaml.CSafeLoader)
    assert engine._parse_template(text) == plain
