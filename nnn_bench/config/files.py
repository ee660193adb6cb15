"""Plain data on disk: files that appear whole or not at all, and the hash of their content."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from nnn_bench.config.errors import UserError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, make it durable, and move it into place."""
    waiting = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with waiting.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        waiting.replace(path)
    except OSError as error:
        with suppress(OSError):  # a path that cannot be written can often not be looked at either
            waiting.unlink(missing_ok=True)
        raise disk_error(path, error) from error


def sha256_of_file(path: Path) -> str:
    """Hash of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def finite(data: Any) -> Any:
    """`data` with non-finite numbers, which JSON cannot hold, as None."""
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def write_json(path: Path, data: Any) -> None:
    write_atomically(path, (json.dumps(data, indent=1, allow_nan=False, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any | None:
    """The content of a JSON file, or None when it is absent or damaged (its owner then makes it again)."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def digest(data: Any) -> str:
    """SHA-256 of plain data in canonical JSON."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


_USERS_TO_MEND = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
)


def disk_error(path: Path, error: OSError) -> Exception:
    """Full disks and missing rights are the user's to mend; anything else is ours."""
    if error.errno in _USERS_TO_MEND:
        return UserError(f"cannot be written: {error.strerror}; nothing was lost; mend that and start again", file=path)
    return error
