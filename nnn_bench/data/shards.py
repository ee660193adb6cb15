"""Write the shards of a token store, as a stream that can be taken up where it was left.

Ids are appended as they come, so memory does not grow with the data. Every so often the shard is made durable and a note of what
was done is left beside it; a process that was killed goes on from the last note, to the same bytes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from nnn_bench.config.files import read_json, sha256_of_file, write_json
from nnn_bench.data.names import SplitName
from nnn_bench.data.parts import Encoded
from nnn_bench.data.store import Split

NOTE_EVERY = 1 << 24  # tokens

_COUNTED = ("tokens", "characters", "bytes", "unknown")


class ShardWriter:
    """One split of a store in the making in `folder`: ids of `dtype`, and a mask beside them where it is `masked`.

    `place` says where in the content to go on, None at its start; `done` is what the split holds, once it is whole.
    """

    def __init__(self, folder: Path, split: SplitName, dtype: str, *, masked: bool):
        self._note, self._dtype = folder / f"{split}.note.json", np.dtype(dtype).newbyteorder("<")
        note: dict[str, Any] = read_json(self._note) or {}
        self.done = Split(**note["done"]) if "done" in note else None
        self.place: int | None = note.get("place")
        self._counts = {key: note.get(key, 0) for key in (*_COUNTED, *(["targets"] if masked else []))}
        self._noted = self._counts["tokens"]
        self._widths = {
            folder / f"{split}.bin": self._dtype.itemsize,
            **({folder / f"{split}.targets": 1} if masked else {}),
        }
        self._files = [] if self.done else [self._opened(path, width) for path, width in self._widths.items()]

    def _opened(self, path: Path, width: int) -> Any:
        """The file, cut to what the note speaks of."""
        file = path.open("ab")
        file.truncate(self._noted * width)
        return file

    def append(self, more: Encoded) -> None:
        """Add the tokens of a piece, and its mask if there is one."""
        self._files[0].write(more.ids.astype(self._dtype).tobytes())
        if more.targets is not None:
            self._files[1].write(more.targets.tobytes())
            self._counts["targets"] += int(more.targets.sum())
        told = (len(more.ids), more.characters, more.size, more.unknown)
        for key, count in zip(_COUNTED, told, strict=True):
            self._counts[key] += count

    def reached(self, place: int) -> None:
        """All of the content before `place` is written."""
        if self._counts["tokens"] - self._noted >= NOTE_EVERY:
            self._make_durable()
            write_json(self._note, {"place": place, **self._counts})
            self._noted = self._counts["tokens"]

    def close(self) -> Split:
        """End the split, and what it holds."""
        self._make_durable()
        self.abandon()
        ids, *targets = map(sha256_of_file, self._widths)
        self.done = Split(**self._counts, sha256=ids, targets_sha256=targets[0] if targets else None)
        write_json(self._note, {"done": self.done.model_dump(mode="json")})
        return self.done

    def abandon(self) -> None:
        """Close the files as they are."""
        for file in self._files:
            file.close()

    def _make_durable(self) -> None:
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
