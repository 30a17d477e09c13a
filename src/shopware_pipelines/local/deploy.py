"""The shipped templates to the emulator: package the code, upload it, create or update each stack.

Names of uploads come from their content, so nothing is uploaded or updated twice for the same code. The stacks need
nothing of each other and are deployed at the same time.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

import shopware_pipelines
from shopware_pipelines.errors import InfrastructureError, UsageError
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.home import REGION

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import ParameterTypeDef

ARTIFACTS_BUCKET: Final = "shopware-artifacts-local"
STACKS: Final = ("inventory", "web", "interactions")
"""Folders of `infra/`."""
DEPLOY_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.05
API_URL: Final = "ApiUrl"
"""Parameter of a stream's stack; empty: no poller."""
NOT_SHIPPED: Final = ("local", "cli", "__pycache__")
"""Parts of the package that no function needs."""
ZIP_TIME: Final = (2020, 1, 1, 0, 0, 0)
"""Of every file in the package: the same code gives the same bytes."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A stack as it stands."""

    name: str
    outputs: dict[str, str]


def infra_folder() -> Path:
    """Where the templates lie: in the repository, or in the installed package. Raises UsageError if nowhere."""
    package = Path(shopware_pipelines.__file__).parent
    for folder in (package.parents[1] / "infra", package / "_infra"):
        if (folder / STACKS[0] / "template.yaml").exists():
            return folder
    raise UsageError("the templates (folder infra/) are not beside the package; install it from the repository")


def deploy_all(clients: Clients, api_urls: Mapping[str, str] | None = None) -> list[Deployed]:
    """Every stack, created or updated. `api_urls` says by stack what its poller polls (left out: no poller); None
    leaves that as it is. Raises InfrastructureError with the resource that failed."""
    if unknown := (api_urls or {}).keys() - set(STACKS):
        raise UsageError(f"there is no stack {min(unknown)}; there are {', '.join(STACKS)}")
    _make_bucket(clients)
    package_key = _upload(clients, "function.zip", function_package())
    names = {name: stack_name(name) for name in STACKS}
    for name in STACKS:
        _begin(clients, name, names[name], package_key, api_urls)
    return [_finish(clients, name, names[name]) for name in STACKS]


def stack_name(name: str) -> str:
    """The stack of a folder of `infra/`."""
    return f"shopware-{name}"


def function_package() -> bytes:
    """The functions' code as a zip file, byte for byte the same for the same code. Libraries are not in it: on AWS
    they are a layer, here they are installed."""
    root = Path(shopware_pipelines.__file__).parent
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*")):
            inside = path.relative_to(root)
            if path.is_file() and path.suffix in (".py", ".yaml", ".so") and not set(inside.parts) & set(NOT_SHIPPED):
                info = zipfile.ZipInfo(f"{root.name}/{inside.as_posix()}", ZIP_TIME)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o644 << 16
                archive.writestr(info, path.read_bytes())
    return packed.getvalue()


def _make_bucket(clients: Clients) -> None:
    try:
        clients.s3.create_bucket(Bucket=ARTIFACTS_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    except (clients.s3.exceptions.BucketAlreadyOwnedByYou, clients.s3.exceptions.BucketAlreadyExists):
        return


def _upload(clients: Clients, name: str, content: bytes) -> str:
    key = f"{hashlib.sha256(content).hexdigest()[:16]}/{name}"
    clients.s3.put_object(Bucket=ARTIFACTS_BUCKET, Key=key, Body=content)
    return key


def _begin(clients: Clients, name: str, deployed_as: str, package_key: str, api_urls: Mapping[str, str] | None) -> None:
    """Start to create or update a stack, unless it is as it should be."""
    folder = infra_folder() / name
    template = (folder / "template.yaml").read_text(encoding="utf-8")
    found = _stack(clients, deployed_as)
    available = {"Stage": "local", "ArtifactsBucketName": ARTIFACTS_BUCKET, "FunctionPackageKey": package_key}
    # Glue's packages come with the job on AWS; here the job runs with what is installed.
    available["JobPackageKey"] = package_key
    available[API_URL] = _parameter(found, API_URL) if api_urls is None else api_urls.get(name, "")
    definition = folder / "state_machine.asl.json"
    if definition.exists():
        available["DefinitionKey"] = _upload(clients, definition.name, definition.read_bytes())
    declared = clients.cloudformation.validate_template(TemplateBody=template)["Parameters"]
    parameters: list[ParameterTypeDef] = [
        {"ParameterKey": key, "ParameterValue": available[key]}
        for key in (p["ParameterKey"] for p in declared)
        if key in available
    ]
    digest = hashlib.sha256((template + json.dumps(parameters)).encode()).hexdigest()
    arguments: Any = {
        "StackName": deployed_as,
        "TemplateBody": template,
        "Parameters": parameters,
        "Capabilities": ["CAPABILITY_IAM"],
        "Tags": [{"Key": "digest", "Value": digest}],
    }
    if found is None:
        clients.cloudformation.create_stack(**arguments)
    elif {"Key": "digest", "Value": digest} not in found.get("Tags", []):
        clients.cloudformation.update_stack(**arguments)


def _finish(clients: Clients, name: str, deployed_as: str) -> Deployed:
    """Wait until a stack is deployed, and bring it what its template cannot."""
    end = time.monotonic() + DEPLOY_SECONDS
    while (stack := _stack(clients, deployed_as))["StackStatus"].endswith("_IN_PROGRESS") and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    if stack["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise InfrastructureError(f"stack {deployed_as} cannot be deployed: {_why(clients, deployed_as)}")
    outputs = {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])}
    for script in sorted((infra_folder() / name / "scripts").glob("*.py")):
        clients.s3.put_object(Bucket=outputs["ProjectBucket"], Key=f"scripts/{script.name}", Body=script.read_bytes())
    return Deployed(deployed_as, outputs)


def _parameter(stack: Any, name: str) -> str:
    """Its value in a deployed stack; empty where there is none."""
    found = [p["ParameterValue"] for p in (stack or {}).get("Parameters", []) if p["ParameterKey"] == name]
    return str(found[0]) if found else ""


def _stack(clients: Clients, name: str) -> Any:
    try:
        (stack,) = clients.cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return stack


def _why(clients: Clients, name: str) -> str:
    """The first resource that failed, with its reason."""
    events = clients.cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    for event in reversed(events):
        if event.get("ResourceStatus", "").endswith("FAILED"):
            return f"{event.get('LogicalResourceId')}: {event.get('ResourceStatusReason', 'no reason given')}"
    return "no reason given"
