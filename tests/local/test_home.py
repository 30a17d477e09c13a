"""The ground of the stack: versions, addresses, environments, the memory of its processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from shopware_pipelines.errors import UsageError
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.emulator import launch as emulator
from shopware_pipelines.local.home import BELONGS_TO, Home, Process, aws_environment, clean_environment


def test_another_version_of_the_emulator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator, "VERSION", "0.0.1")
    with pytest.raises(SystemExit, match=r"made for ministack 0\.0\.1, but 1\.5\.33 is installed; run: make setup"):
        emulator.main()


def test_the_emulator_is_not_started_without_its_settings() -> None:
    environ = {k: v for k, v in os.environ.items() if k != "BIND_HOST"}
    done = subprocess.run(
        [sys.executable, "-m", "shopware_pipelines.local.emulator.launch"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "error: start the emulator with: swp up\n")


def test_the_emulator_binds_to_loopback_and_opens_no_second_port() -> None:
    settings = emulator.environment(1234, "/state", "/logs")
    assert settings["BIND_HOST"] == "127.0.0.1"
    assert (settings["IOT_MTLS_ENABLED"], settings["SFTP_ENABLED"]) == ("0", "0")


def test_no_variable_that_leads_to_an_account_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SHARED_CREDENTIALS_FILE", "AWS_ROLE_ARN", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "real")
    passed = clean_environment() | aws_environment("http://127.0.0.1:1")
    assert "real" not in passed.values()
    assert passed["AWS_ACCESS_KEY_ID"] == "test"
    assert passed["STAGE"] == "local"


@pytest.mark.parametrize(
    "address", ["https://s3.eu-central-1.amazonaws.com", "http://10.0.0.1:4566", "http://localhost.example.com", ""]
)
def test_clients_exist_for_this_machine_only(address: str) -> None:
    with pytest.raises(UsageError, match="never"):
        Clients(address)


def test_a_process_id_that_now_belongs_to_somebody_else_is_left_alone() -> None:
    me = psutil.Process()
    assert Process("runner", me.pid, me.create_time()).running() == me
    assert Process("runner", me.pid, me.create_time() - 100).running() is None


def test_what_outlived_the_one_that_started_it_is_ended_and_nobody_else(tmp_path: Path) -> None:
    """Processes with nobody left who knows them; one belongs to this stack, the other to a stack beside it."""
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    ours, others = (
        subprocess.Popen(sleep, env={**os.environ, BELONGS_TO: str(tmp_path / name)}, start_new_session=True)
        for name in ("ours", "others")
    )
    try:
        assert Home(tmp_path / "ours").stop_all() == []
        assert not psutil.pid_exists(ours.pid)
        assert others.poll() is None
    finally:
        for process in (ours, others):
            process.kill()
            process.wait()


@pytest.mark.parametrize("content", ["", "{", "not json"])
def test_an_unreadable_list_of_processes_is_an_empty_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "processes.json").write_text(content)
    assert Home(tmp_path).processes() == []


def test_a_folder_without_a_stack_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no local stack in .*; start one with: swp up"):
        _ = Home(tmp_path).endpoint_url


def test_processes_are_known_though_the_file_that_names_them_is_damaged(tmp_path: Path) -> None:
    """One that is forgotten would be started a second time."""
    home = Home(tmp_path)
    home._record([Process("emulator", 1, 2.0)])
    home._record([Process("emulator", 1, 2.0), Process("runner", 3, 4.0)])
    (tmp_path / "processes.json").write_text('[{"name"')

    assert [process.name for process in home.processes()] == ["emulator"]

    (tmp_path / "processes.json.previous").write_text("")
    assert home.processes() == []
