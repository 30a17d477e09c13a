"""The runner plays what AWS does between a source of events and a function.

It reads the event source mappings of the deployed stack and serves each in a thread of its own; a mapping that appears
later is taken up, one that is changed or deleted is let go. Functions run in the emulator's worker processes. And it
plays ECS: the stack's services run as processes of this machine.
Run as `python -m shopware_pipelines.local.compute.runner`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from shopware_pipelines.errors import PipelineError
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.compute.heartbeat import FILE, Heartbeat, Progress
from shopware_pipelines.local.compute.kinesis_source import KinesisSource
from shopware_pipelines.local.compute.positions import Positions, common_floors, tell
from shopware_pipelines.local.compute.queue_source import QueueSource
from shopware_pipelines.local.compute.services import Services
from shopware_pipelines.local.home import BELONGS_TO, Home
from shopware_pipelines.local.log import log

LOOK_AGAIN_SECONDS: Final = 1.0
AFTER_AN_ERROR_SECONDS: Final = 1.0
SERVED_STATES: Final = ("Enabled", "Creating", "Updating")


class Source(Protocol):
    """Something that delivers events to a function until told to stop."""

    def run(self, stop: threading.Event) -> None: ...


SOURCES: Final[Mapping[str, Callable[[Clients, Mapping[str, Any], Positions, Progress], Source]]] = {
    "sqs": lambda clients, mapping, _, progress: QueueSource(clients, mapping, progress),
    "kinesis": KinesisSource,
}
"""Service in the ARN of a mapping's source, to what serves it."""


@dataclass
class _Served:
    """A mapping that is being served."""

    settings: Mapping[str, Any]
    thread: threading.Thread
    stop: threading.Event
    progress: Progress


class Runner:
    """Serves every enabled mapping of the stack, and runs its services. `home`: where it remembers how far streams are
    read."""

    def __init__(self, clients: Clients, home: Home) -> None:
        self.clients = clients
        self.folder = home.folder / "positions"
        self.services = Services(clients, home)
        self.served: dict[str, _Served] = {}
        self.sources: dict[str, str] = {}
        """Mapping to the ARN of its source, also of those that are switched off."""
        self._positions: dict[str, Positions] = {}
        self._looked_at: float | None = None
        self._error: str | None = None
        self._heartbeat = Heartbeat(home.folder / FILE, self.report)

    def run(self, stop: threading.Event) -> None:
        """Until told to stop; batches in hand are finished."""
        self._heartbeat.start()
        while not stop.is_set():
            try:
                self.look()
                tell(self.clients.endpoint_url, self.floors())
                self.services.look()
                self._looked_at, self._error = time.time(), None
            except (BotoCoreError, ClientError, OSError) as error:
                self._error = f"the emulator does not answer: {error}"
                log(self._error)
            except PipelineError as error:  # a damaged file; the other mappings are served
                self._error = str(error)
                log(self._error)
            stop.wait(LOOK_AGAIN_SECONDS)
        self.services.stop()  # first: what it puts away should still be delivered
        for served in self.served.values():
            served.stop.set()
        for served in self.served.values():
            served.thread.join()
        self._heartbeat.stop()

    def report(self) -> dict[str, Any]:
        """For the heartbeat; times in epoch seconds."""
        return {
            "pid": os.getpid(),
            "looked_at": self._looked_at,
            "error": self._error,
            "mappings": {
                uuid: {**served.progress.to_json(), "serves": served.thread.is_alive()}
                for uuid, served in list(self.served.items())
            },
            "tasks": self.services.report(),
        }

    def look(self) -> None:
        """Start what is new, let go what has changed or is gone."""
        every = self._mappings()
        self.sources = {m["UUID"]: m["EventSourceArn"] for m in every}
        mappings = {m["UUID"]: _settings(m) for m in every if m.get("State") in SERVED_STATES}
        for uuid in [u for u, served in self.served.items() if mappings.get(u) != served.settings]:
            self.served.pop(uuid).stop.set()
        for uuid in mappings.keys() - self.served.keys():
            settings = mappings[uuid]
            service = settings["EventSourceArn"].split(":")[2]
            if service not in SOURCES:
                continue
            stop = threading.Event()
            progress = Progress(settings["EventSourceArn"], settings["FunctionArn"])
            arguments = (service, settings, self.positions(uuid), progress, stop)
            thread = threading.Thread(target=self._serve, args=arguments, daemon=True)
            self.served[uuid] = _Served(settings, thread, stop, progress)
            thread.start()

    def floors(self) -> dict[str, dict[str, str]]:
        """What of each stream all its mappings have, also those that are switched off; to be asked after `look`."""
        consumers: dict[str, list[Positions]] = defaultdict(list)
        for uuid, source in self.sources.items():
            if ":kinesis:" in source:
                consumers[source].append(self.positions(uuid))
        return common_floors(consumers)

    def positions(self, uuid: str) -> Positions:
        """Of a mapping; always the same object, so that a mapping that is changed goes on where it was."""
        return self._positions.setdefault(uuid, Positions(self.folder / f"{uuid}.json"))

    def _mappings(self) -> list[Mapping[str, Any]]:
        pages = self.clients.functions.get_paginator("list_event_source_mappings").paginate()
        return [m for page in pages for m in page["EventSourceMappings"]]

    def _serve(
        self,
        service: str,
        settings: Mapping[str, Any],
        positions: Positions,
        progress: Progress,
        stop: threading.Event,
    ) -> None:
        log(f"serving {settings['EventSourceArn']} -> {settings['FunctionArn']}")
        while not stop.is_set():
            try:
                SOURCES[service](self.clients, settings, positions, progress).run(stop)
            except (BotoCoreError, ClientError) as error:  # the emulator restarts, a function is being updated
                progress.failed(error)
                log(f"{settings['EventSourceArn']}: {error}")
                stop.wait(AFTER_AN_ERROR_SECONDS)


def _settings(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """What of a mapping decides how it is served."""
    changing = ("LastModified", "LastProcessingResult", "State", "StateTransitionReason", "ResponseMetadata")
    return {name: value for name, value in mapping.items() if name not in changing}


def main() -> None:
    """Serve until terminated."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Runner(Clients(os.environ["AWS_ENDPOINT_URL"]), Home(Path(os.environ[BELONGS_TO]))).run(stop)


if __name__ == "__main__":
    main()
