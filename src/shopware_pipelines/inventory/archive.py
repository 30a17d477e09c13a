"""Moving a file without ever being able to lose it: copy, compare, and only then remove the original."""

from __future__ import annotations

from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.storage import Storage, Stored, same_content


def move(source: Storage, stored: Stored, target: Storage, key: str) -> None:
    """Move `stored` from `source` to `key` in `target`; doing it again after any interruption finishes the
    move.

    A target that already holds the same bytes is not copied to again. Raises InfrastructureError, with the
    original untouched, when the copy fails or differs; FileNotFoundError when the original has vanished or
    changed meanwhile.
    """
    if not _holds(source, stored, target, key):
        source.copy(stored, target, key)
        if not _holds(source, stored, target, key):
            raise InfrastructureError(
                f"the copy {target.url(key)} differs from {source.url(stored.key)}; the original was kept"
            )
    source.delete(stored)


def _holds(source: Storage, stored: Stored, target: Storage, key: str) -> bool:
    found = target.head(key)
    return found is not None and same_content(source, stored, target, found)
