"""One run on disk: a lock, a configuration, a growing record, checkpoints, and a result written last.

Every file but the record appears whole or not at all. The record is appended line by line; on resume it is cut back to the
checkpoint, so that no line stands in it twice.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnn_bench.config.errors import RunBusy
from nnn_bench.config.files import disk_error, finite, read_json, write_json


class RunDirectory:
    """The files of one run. Use `locked()` around any writing."""

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.json"
        self.record = path / "record.jsonl"
        self.result = path / "result.json"
        self.checkpoints = path / "checkpoints"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run; raises `RunBusy` at once when another process does. The lock dies with its process."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / "lock").open("w")
        except OSError as error:
            raise disk_error(self.path, error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunBusy(f"{self.path} is held by another process; wait for it, or stop it") from None
            yield

    def clear(self) -> None:
        """Forget the run; raises `RunBusy` when another process holds it."""
        if self.path.is_dir():
            with self.locked():
                self._empty()
                self.config.unlink(missing_ok=True)

    def _empty(self) -> None:
        self.result.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)
        if self.checkpoints.exists():
            shutil.rmtree(self.checkpoints)

    def finished(self, fingerprint: str) -> dict[str, Any] | None:
        """The result, if this directory holds one for the same fingerprint."""
        result = read_json(self.result)
        return result if isinstance(result, dict) and result.get("fingerprint") == fingerprint else None

    def begin(self, config: dict[str, Any]) -> None:
        """Make the directory this configuration's own: anything of another fingerprint is cleared."""
        before = read_json(self.config)
        if not isinstance(before, dict) or before.get("fingerprint") != config["fingerprint"]:
            self._empty()
            write_json(self.config, config)

    def cut_record(self, length: int) -> None:
        """Keep the first `length` bytes of the record."""
        with self.record.open("ab") as file:
            file.truncate(length)

    def write_result(self, result: dict[str, Any]) -> None:
        """Write the result; from here on the run is finished."""
        write_json(self.result, finite(result))

    def append(self, row: dict[str, Any]) -> None:
        """Add one line. Non-finite numbers become null."""
        try:
            with self.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(finite(row), allow_nan=False) + "\n")
        except OSError as error:
            raise disk_error(self.record, error) from error

    @property
    def record_length(self) -> int:
        return self.record.stat().st_size if self.record.exists() else 0
