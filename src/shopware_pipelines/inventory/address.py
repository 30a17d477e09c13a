"""Where a user says that a lake or a file lies: taken as written, or refused in one line before anything is made.

A table's address becomes a URL inside delta-rs, which reads some characters otherwise than a folder or a key has them:
`q#1` and `q#2` would be one table. What was tried and comes back as written is allowed, the rest is refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from shopware_pipelines.errors import UsageError

NOT_IN_A_FOLDER: Final = re.compile(r"[\x00-\x1f\x7f\[\]\\^|]|%[0-9A-Fa-f]{2}")
NOT_IN_A_PREFIX: Final = re.compile(r"[\x00-\x1f\x7f\[\]\\^|#?%]")
BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def lake_folder(text: str) -> Path:
    """The absolute path of a lake's folder. Raises UsageError where no table can lie in it."""
    path = Path(text).expanduser().absolute()
    if not _utf8(str(path)):
        raise UsageError(f"--lake {_shown(text)}: the name is not UTF-8; rename the folder or choose another")
    if found := NOT_IN_A_FOLDER.search(str(path)):
        raise UsageError(f"--lake {text!r}: a Delta table cannot lie below a folder with {found[0]!r} in its name")
    if path.exists() and not path.is_dir():
        raise UsageError(f"--lake {text}: that is a file; name a folder or an s3:// URL")
    return path


def lake_prefix(url: str) -> tuple[str, str]:
    """Bucket and prefix (empty, or ending in `/`) of a lake in S3. Raises UsageError for what is no such URL."""
    bucket, key = s3_parts(url)
    prefix = key.strip("/")
    if found := NOT_IN_A_PREFIX.search(prefix):
        raise UsageError(f"--lake {url!r}: {found[0]!r} cannot be in the prefix of a lake; choose another")
    if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
        raise UsageError(f"--lake {url}: a prefix has no empty part and none named . or ..")
    return bucket, f"{prefix}/" if prefix else ""


def s3_parts(url: str) -> tuple[str, str]:
    """Bucket and key, the key exactly as written. Raises UsageError."""
    scheme = urlsplit(url, allow_fragments=False).scheme if _utf8(url) else ""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if scheme != "s3" or not url.startswith("s3://") or not BUCKET.fullmatch(bucket):
        raise UsageError(f"{_shown(url)}: expected s3://bucket/key")
    return bucket, key


def input_path(text: str) -> Path:
    """A file that a user named. Raises UsageError for a name that cannot be written down."""
    if not _utf8(text):
        raise UsageError(f"{_shown(text)}: the file's name is not UTF-8; rename it")
    return Path(text).expanduser()


def _utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(text: str) -> str:
    """With what cannot be printed as escapes."""
    return text.encode(errors="backslashreplace").decode()
