"""IDX, the format MNIST was published in: a few numbers about an array, then its values, plain or compressed by gzip.

    0, 0, type, dimensions (a byte each); the size of each dimension (4 bytes); the values in row-major order      all big-endian

Two types are read and written, and each has one meaning here:

- 0x08, unsigned bytes: `uint8`;
- 0x0B, signed shorts: `uint16`, where the file holds the value less 32,768. A sound of 16 bits, which is signed, so becomes its
  65,536 values in their order, silence in the middle, and every `uint16` array comes back as it was.

Other types (floats, longs) are refused: what is labelled here is counted, not measured.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from nnn_bench.config.errors import UserError
from nnn_bench.config.files import write_atomically

_BYTES, _SHORTS = 0x08, 0x0B
_STORED: dict[int, np.dtype[np.unsignedinteger]] = {_BYTES: np.dtype(np.uint8), _SHORTS: np.dtype(">u2")}

_MOST_DIMENSIONS = 4  # example, row, column, colour
_MOST_BYTES = 1 << 32
_MOST_EXPANSION = 1032  # gzip can make a byte of no more than this many
_AT_ONCE = 1 << 24

_GZIP = b"\x1f\x8b"


def read_idx(path: Path, shown: str) -> NDArray[np.unsignedinteger]:
    """The array in an IDX file, `uint8` or `uint16`. `shown` is what to call the file.

    Nothing is allocated before the sizes in the file are checked against the file. Raises `UserError` for anything that is not
    exactly one whole array of at most 4 GiB.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            packed = file.read(len(_GZIP)) == _GZIP
            file.seek(0)
            if not packed:
                return _read(file, size, shown)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _read(cast(BinaryIO, unpacked), size * _MOST_EXPANSION, shown)
    except EOFError:
        raise UserError("ends before its gzip data does; fetch or copy it again", file=shown) from None
    except (gzip.BadGzipFile, zlib.error):
        raise UserError("holds damaged gzip data; fetch or copy it again", file=shown) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=shown) from None


def write_idx(path: Path, array: NDArray[np.unsignedinteger]) -> None:
    """Write `array`, `uint8` or `uint16`, of 1 to 4 dimensions, so that `read_idx` returns it; whole or not at all."""
    if not 1 <= array.ndim <= _MOST_DIMENSIONS or array.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"IDX holds uint8 or uint16 of 1 to 4 dimensions here, not {array.dtype} of {array.ndim}")
    kind, stored = (_BYTES, array) if array.dtype == np.uint8 else (_SHORTS, _turned(array).astype(">u2"))
    header = bytes([0, 0, kind, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    write_atomically(path, header + stored.tobytes())


def _read(file: BinaryIO, most: int, shown: str) -> NDArray[np.unsignedinteger]:
    """Read from a stream that cannot hold more than `most` bytes."""
    dtype, shape = _header(file, shown)
    expected = math.prod(shape) * dtype.itemsize
    if expected > min(most, _MOST_BYTES):
        raise UserError(
            f"claims {_times(shape)} values, more than {'it' if expected > most else 'an array here'} can hold",
            file=shown,
        )
    array = np.empty(shape, dtype)
    into = array.reshape(-1).view(np.uint8).data
    filled = 0
    while filled < expected:
        got = file.readinto(into[filled : filled + _AT_ONCE])  # type: ignore[attr-defined]
        if not got:
            raise UserError(
                f"ends after {filled:,} of {expected:,} bytes of values; fetch or copy it again", file=shown
            )
        filled += got
    if file.read(1):
        raise UserError(f"goes on after its {_times(shape)} values; it is not one IDX array", file=shown)
    return array if dtype == np.uint8 else _turned(array.astype(np.uint16))


def _turned(array: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    """Between a value and the bits of that value less 32,768: the highest bit is turned over, and nothing else."""
    return array ^ np.uint16(1 << 15)


def _header(file: BinaryIO, shown: str) -> tuple[np.dtype[np.unsignedinteger], tuple[int, ...]]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise UserError(
            "is not an IDX file: those begin with two zero bytes, a type and a number of dimensions", file=shown
        )
    kind, dimensions = magic[2:]
    if kind not in _STORED:
        raise UserError(
            f"holds IDX type 0x{kind:02X}; convert it to unsigned bytes (0x08) or signed shorts (0x0B)", file=shown
        )
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise UserError(f"has {dimensions} dimensions; 1 to {_MOST_DIMENSIONS} can be used", file=shown)
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise UserError("ends within the sizes of its dimensions; fetch or copy it again", file=shown)
    shape = tuple(int(size) for size in np.frombuffer(sizes, dtype=">u4"))
    if 0 in shape:
        raise UserError(f"holds no values: its sizes are {_times(shape)}", file=shown)
    return _STORED[kind], shape


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(f"{size:,}" for size in shape)
