"""What we change in the emulator's CloudFormation.

Conformance tests: `tests/local/emulator/test_cloudformation_patches.py`, and with the repair of a stack
`tests/local/test_repair.py`.
"""

from __future__ import annotations

import os
from typing import Any

import yaml

from shopware_pipelines.local.emulator.kinesis.stream_log import ADOPT


def apply() -> None:
    """All of them."""
    templates_are_read_by_libyaml()
    buckets_are_adopted()


def templates_are_read_by_libyaml() -> None:
    """Plain: templates are read by PyYAML's Python, twice each, which takes longer than all else of a deployment.
    Patched: by its C, where PyYAML was built with it."""
    from ministack.services.cloudformation import engine

    plain = engine.CfnLoader
    named = {name: getattr(plain, name) for name in ("yaml_constructors", "yaml_implicit_resolvers")}
    engine.CfnLoader = type("CfnLoader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), named)


def buckets_are_adopted() -> None:
    """Plain: a template whose bucket exists cannot be deployed, and a bucket exists whose objects lie on the disk.
    Patched, where `ADOPT` is set: the template takes the bucket over, and configures it as it says."""
    if os.environ.get(ADOPT) != "1":
        return
    from ministack.services import s3
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]
    create, update = handlers["create"], handlers["update"]

    def create_or_adopt(logical_id: str, properties: Any, stack_name: str) -> Any:
        name = properties.get("BucketName")
        if name in s3._buckets:
            s3._buckets[name]["region"] = provisioners.get_region()
            return update(name, {}, properties, stack_name)
        return create(logical_id, properties, stack_name)

    handlers["create"] = create_or_adopt
    provisioners.s3_bucket_name_conflict = lambda _: None
