"""The shop's two APIs, played: endless realistic records or a replayed file, faults on demand, and a journal of what
was served. `python -m shopware_pipelines.local.source_api --help`."""

from shopware_pipelines.local.source_api.server import SourceServer

__all__ = ["SourceServer"]
