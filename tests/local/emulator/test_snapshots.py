"""What is saved, and above all what is not: a state is replaced only by one that was made from it.

Each test fails with the plain emulator.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shopware_pipelines.local import durable
from shopware_pipelines.local.emulator import snapshots
from shopware_pipelines.local.emulator.snapshots import Snapshots

WAIT_SECONDS = 60.0


class Service:
    """As a module of the emulator: what it holds, and how it is filled."""

    def __init__(self) -> None:
        self.state: Any = {}
        self.looks = 0

    def get_state(self) -> Any:
        self.looks += 1
        return self.state

    def load_persisted_state(self, state: Any) -> None:
        if state == {"refused": True}:
            raise KeyError("refused")
        self.state = state


@dataclass
class World:
    """An emulator that has started."""

    folder: Path
    services: dict[str, Service] = field(default_factory=lambda: {"glue": Service(), "sqs": Service()})

    def __post_init__(self) -> None:
        from ministack.core import persistence

        self.app: Any = SimpleNamespace(
            _state_map={name: name for name in self.services},
            _get_module=self.services.__getitem__,
            _build_persistence_save_dict=lambda: {n: s.get_state for n, s in self.services.items()},
        )
        self.snapshots = Snapshots(self.app, persistence, self.folder)

    @property
    def glue(self) -> Service:
        return self.services["glue"]

    def payload(self, name: str = "glue.json") -> Any:
        return json.loads((self.folder / name).read_text())["payload"]

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}


@pytest.fixture
def begun(tmp_path: Path) -> Callable[[], World]:
    def begin() -> World:
        world = World(tmp_path)
        world.snapshots.load()
        world.snapshots.found_whole.set()
        return world

    return begin


@pytest.fixture
def saved(begun: Callable[[], World]) -> Callable[[], World]:
    """A folder in which the catalog has been saved twice; what it returns starts from there."""
    world = begun()
    for hours in (27, 28):
        world.glue.state = {"hours": hours}
        assert world.snapshots.save() == {}
    return begun


# -- what is not saved ------------------------------------------------------------------------------------------------


def test_nothing_is_saved_nor_looked_at_before_all_is_loaded(saved: Callable[[], World], tmp_path: Path) -> None:
    before = saved().files()
    world = World(tmp_path)
    world.snapshots.found_whole.set()

    assert set(world.snapshots.save()) == {"glue", "sqs"}
    world.snapshots.save_all({"glue": world.glue.get_state})  # as the emulator does when it is stopped

    assert world.files() == before
    assert world.glue.looks == 0, "looking at functions removes the code that none of them has"


def test_nothing_is_saved_while_it_is_loaded(saved: Callable[[], World], tmp_path: Path) -> None:
    before = saved().files()
    world = World(tmp_path)
    world.snapshots.found_whole.set()
    reached, go_on = threading.Event(), threading.Event()

    def slowly(state: Any) -> None:
        reached.set()
        assert go_on.wait(WAIT_SECONDS)
        world.glue.state = state

    world.glue.load_persisted_state = slowly  # type: ignore[method-assign]  # it is a test's own object
    loading = threading.Thread(target=world.snapshots.load)
    loading.start()
    assert reached.wait(WAIT_SECONDS)
    try:
        assert set(world.snapshots.save()) == {"glue", "sqs"}
        assert world.files() == before
    finally:
        go_on.set()
        loading.join()

    assert world.snapshots.save() == {}
    assert world.payload() == {"hours": 28}


def test_nothing_is_saved_before_somebody_has_found_it_whole(saved: Callable[[], World], tmp_path: Path) -> None:
    """Or an emptied state would take the place of the generation before, which is not."""
    before = saved().files()
    world = World(tmp_path)
    world.snapshots.load()
    world.glue.state = {"hours": 0}

    assert set(world.snapshots.save()) == {"glue", "sqs"}
    assert world.files() == before

    assert ask(snapshots._answering(world.snapshots, inner), snapshots.SAVE_PATH)[0] == 204
    assert world.payload() == {"hours": 0}


def test_a_service_that_cannot_be_loaded_is_never_written_over(saved: Callable[[], World]) -> None:
    world = saved()
    for name in ("glue.json", "glue.json.previous"):
        (world.folder / name).write_text('{"payl')
    before = world.files()

    world = saved()
    world.glue.state, world.services["sqs"].state = {"hours": 0}, {"queues": 1}
    assert world.snapshots.save() == {}

    after = world.files()
    assert {name: after[name] for name in before if "glue" in name} == {n: t for n, t in before.items() if "glue" in n}
    assert world.payload("sqs.json") == {"queues": 1}
    assert "glue.json is damaged" in world.snapshots.unreadable["glue"]


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", '{"payl', '{"__ministack_format__": 99, "payload": {}}', '{"payload": {}} x', "\0\0\0\0"],
    ids=repr,
)
def test_a_damaged_state_gives_way_to_the_generation_before(saved: Callable[[], World], text: str) -> None:
    (saved().folder / "glue.json").write_text(text)

    world = saved()

    assert world.glue.state == {"hours": 27}
    (note,) = world.snapshots.notes
    assert note.startswith("glue.json is damaged: ")
    assert note.endswith("; its previous generation is used")
    assert (world.folder / "glue.json.damaged-1").read_text() == text
    world.glue.state = {"hours": 29}
    assert world.snapshots.save() == {}
    assert (world.payload(), world.payload("glue.json.previous")) == ({"hours": 29}, {"hours": 27})
    assert not saved().snapshots.notes


def test_a_state_that_the_service_does_not_take_gives_way_too(saved: Callable[[], World]) -> None:
    (saved().folder / "glue.json").write_text('{"__ministack_format__": 2, "payload": {"refused": true}}')

    world = saved()

    assert world.glue.state == {"hours": 27}
    assert not world.snapshots.unreadable


def test_a_state_that_is_gone_gives_way_too(saved: Callable[[], World]) -> None:
    (saved().folder / "glue.json").unlink()

    world = saved()

    assert world.glue.state == {"hours": 27}
    assert world.snapshots.notes == ["glue.json is missing; its previous generation is used"]


def test_a_state_that_somebody_else_has_written_is_not_replaced(saved: Callable[[], World]) -> None:
    """An emulator that was stopped (SIGSTOP) wakes up beside its successor."""
    old, new = saved(), saved()
    new.glue.state = {"hours": 40}
    assert new.snapshots.save() == {}

    old.glue.state = {"hours": 29}

    assert old.snapshots.save() == {"glue": "glue.json is not what was loaded; somebody else has written it"}
    assert new.payload() == {"hours": 40}
    new.glue.state = {"hours": 41}
    assert new.snapshots.save() == {}


def test_a_state_that_appears_where_none_was_is_not_replaced(begun: Callable[[], World]) -> None:
    world = begun()
    (world.folder / "glue.json").write_text('{"payload": {"hours": 28}}')

    world.glue.state = {"hours": 0}

    assert set(world.snapshots.save()) == {"glue"}
    assert world.payload() == {"hours": 28}


# -- what is saved ----------------------------------------------------------------------------------------------------


def test_a_state_is_written_when_it_has_changed(saved: Callable[[], World]) -> None:
    world = saved()
    world.snapshots.save()
    first = (world.folder / "glue.json").stat().st_mtime_ns
    world.snapshots.save()
    assert (world.folder / "glue.json").stat().st_mtime_ns == first

    world.glue.state = {"hours": 29}
    world.snapshots.save()

    assert world.payload() == {"hours": 29}


def test_a_start_changes_no_generation(saved: Callable[[], World]) -> None:
    world = saved()
    before = world.files()

    assert world.snapshots.save() == {}

    assert world.files() == before


def test_a_state_that_takes_long_is_saved_less_often_but_always_when_asked(
    begun: Callable[[], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = begun()
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(snapshots, "time", clock)

    def slow() -> dict[str, int]:
        world.glue.looks += 1
        clock.now += 0.2
        return {}

    quick = world.services["sqs"]
    for _ in range(3):
        world.snapshots.save_all({"glue": slow, "sqs": quick.get_state}, only_due=True)
        clock.now += 0.05
    assert (world.glue.looks, quick.looks) == (1, 3)
    world.snapshots.save_all({"glue": slow})
    assert world.glue.looks == 2


def test_a_state_that_cannot_be_saved_keeps_the_others(begun: Callable[[], World]) -> None:
    world = begun()

    def broken() -> dict[str, int]:
        raise ValueError("nothing to see")

    failed = world.snapshots.save_all({"glue": broken, "sqs": lambda: {"a": 1}, "sns": lambda: None})

    assert failed == {"glue": "nothing to see"}
    assert sorted(world.files()) == ["sqs.json"]


def test_a_state_that_changes_while_it_is_copied_is_copied_again(begun: Callable[[], World]) -> None:
    world = begun()
    answers: Iterator[Any] = iter([RuntimeError("dictionary changed size during iteration"), {"a": 1}])

    def restless() -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert world.snapshots.save_all({"glue": restless}) == {}
    assert world.payload() == {"a": 1}


def test_dates_among_results_of_queries_can_be_saved(begun: Callable[[], World]) -> None:
    world = begun()
    world.glue.state = {"day": date(2026, 1, 31)}

    assert world.snapshots.save() == {}
    assert world.payload() == {"day": "2026-01-31"}


def test_code_of_functions_goes_when_no_generation_of_their_state_names_it(tmp_path: Path) -> None:
    folder = tmp_path / "lambda-blobs"
    folder.mkdir()
    for name in ("now", "saved", "before", "gone"):
        (folder / f"{name}.zip").touch()
    durable.replace(tmp_path / "lambda.json", b'{"code": "before"}')
    durable.replace(tmp_path / "lambda.json", b'{"code": "saved"}')

    snapshots._prune(folder, {"now"})

    assert sorted(path.stem for path in folder.iterdir()) == ["before", "now", "saved"]


# -- over the emulator's port -----------------------------------------------------------------------------------------


def ask(app: Any, path: str) -> tuple[int, Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app({"type": "http", "path": path}, None, send))
    return sent[0]["status"], json.loads(sent[1]["body"] or b"null")


async def inner(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b""})


def test_it_is_not_healthy_before_all_is_loaded(tmp_path: Path) -> None:
    world = World(tmp_path)
    app = snapshots._answering(world.snapshots, inner)
    for path in ("/_ministack/health", snapshots.SAVE_PATH, snapshots.LOADED_PATH):
        assert ask(app, path)[0] == 503

    world.snapshots.load()

    assert ask(app, "/_ministack/health")[0] == 200
    assert ask(app, snapshots.SAVE_PATH)[0] == 204
    assert ask(app, snapshots.LOADED_PATH) == (200, {"process": os.getpid(), "notes": [], "unreadable": {}})


def test_whoever_asks_is_told_what_could_not_be_saved(saved: Callable[[], World]) -> None:
    world = saved()
    world.glue.state = {"hours": {1, 2}}

    status, failed = ask(snapshots._answering(world.snapshots, inner), snapshots.SAVE_PATH)

    assert status == 500
    assert failed == {"glue": "Object of type set is not JSON serializable"}
    assert world.payload() == {"hours": 28}


def test_the_emulator_loads_and_saves_through_it(tmp_path: Path) -> None:
    """The names that we replace are those that the pinned emulator calls at its start and its stop."""
    code = """if True:
        import asyncio, json, sys
        from ministack import app
        from shopware_pipelines.local.emulator import snapshots
        made = snapshots.apply(app)
        made.found_whole.set()
        said = []
        async def receive(messages=iter(["startup", "shutdown"])):
            if not said:
                assert not made.loaded.is_set()
            return {"type": f"lifespan.{next(messages)}"}
        async def send(message):
            said.append([message["type"], made.loaded.is_set()])
        asyncio.run(app.app({"type": "lifespan"}, receive, send))
        print(json.dumps([said, made.unreadable, made.notes]))
    """
    (tmp_path / "sqs.json").write_text('{"broken')
    (tmp_path / "sns.json").write_text('{"broken')
    (tmp_path / "sns.json.previous").write_text('{"payload": {}}')
    environ = {**os.environ, "PERSIST_STATE": "1", "STATE_DIR": str(tmp_path), "IOT_MTLS_ENABLED": "0"}
    environ |= {"SFTP_ENABLED": "0", "S3_DATA_DIR": str(tmp_path / "s3"), "LOG_LEVEL": "ERROR"}

    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)

    said, unreadable, notes = json.loads(done.stdout.splitlines()[-1])
    assert said == [["lifespan.startup.complete", True], ["lifespan.shutdown.complete", True]]
    assert list(unreadable) == ["sqs"]
    assert len(notes) == 1
    assert (tmp_path / "sqs.json").read_text() == '{"broken'
    assert (tmp_path / "eventbridge.json").exists(), "saved at the stop"
