"""For every test: a clean AWS environment, no network beyond this machine, and the real samples where they are."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from places import SHARED_DATA
from seeds import SEED

# No law depends on how fast the machine is.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

pytest_plugins = ["stack_fixtures"]  # no second conftest.py: two modules of one name are one too many


def pytest_report_header() -> str:
    """What repeats this run's random input."""
    return f"SWP_SEED={SEED}"


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Long bytes name no test: a time stamp in them (gzip has one) would give each worker tests of its own."""
    return argname if isinstance(val, bytes) and len(val) > 64 else None


@pytest.fixture(autouse=True)
def _only_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects to another machine fails at once, whatever library it is."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            pytest.fail(f"a test tried to connect to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "STAGE", "SWP_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real samples, which are not in the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real samples (../shared/data) are not here")
    return SHARED_DATA
