"""Records out of parquet: the columns that are asked for, a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow
import pyarrow.parquet

from nnn_bench.config.errors import UserError
from nnn_bench.data.conversations.json_records import Located
from nnn_bench.data.delivery.shelf import RawFile

_ROWS = 256  # at once; a row group may hold a million
_BUFFER = 1 << 20  # bytes; without one, or with `pre_buffer`, each column of a row group is taken in as a whole


def parquet_rows(raw: RawFile, needed: Sequence[tuple[str, ...]], optional: Sequence[str] = ()) -> Iterator[Located]:
    """Rows as mappings, of the first of `needed` whose columns are all there, and of those of `optional` that are.

    Raises `UserError` for a file that is no parquet, is damaged, or holds no rows or none of the columns.
    """
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(
            raw.path, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True
        ) as file:
            there = file.schema_arrow.names
            columns = next((each for each in needed if set(each) <= set(there)), None)
            if columns is None:
                asked = ", or ".join(" and ".join(each) for each in needed)
                raise UserError(f"has no column {asked}; its columns: {', '.join(there)[:500]}", file=raw.shown)
            read = [*columns, *(name for name in optional if name in there)]
            if twice := next((name for name in read if there.count(name) > 1), None):
                raise UserError(f"has two columns {twice!r}", file=raw.shown)
            for batch in file.iter_batches(batch_size=_ROWS, columns=read):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except UnicodeDecodeError:
        raise UserError(f"holds text that is not UTF-8, at row {number + 1} or soon after", file=raw.shown) from None
    except pyarrow.ArrowException as error:
        raise UserError(f"is no parquet file that can be read: {str(error)[:300]}", file=raw.shown) from None
    except OSError as error:  # of the disk, or, without a number, of what the file holds
        reason = error.strerror or f"the parquet file is damaged: {str(error)[:300]}"
        raise UserError(f"cannot be read: {reason}", file=raw.shown) from None
    if not number:
        raise UserError("is empty", file=raw.shown)
