"""Plain data on disk: files that appear whole or not at all, and the hash of their content."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from nnn_bench.config.errors import UserError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, make it durable, and move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with waiting.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        waiting.replace(path)
    except OSError as error:
        waiting.unlink(missing_ok=True)
        raise disk_error(path, error) from error


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


def disk_error(path: Path, error: OSError) -> Exception:
    """Full disks and missing rights are the user's to mend; anything else is ours."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
        return UserError(f"cannot be written: {error.strerror}; nothing was lost, make room and start again", file=path)
    return error
