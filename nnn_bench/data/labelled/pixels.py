"""Images and sounds as sequences of whole numbers, for a net that reads them as it reads text: a value at a place.

A grey image has one value a place, a colour image three (its channels, read and told together), a sound one. Places of an image
go row by row; a sound is an image of one row. `to_arrays` gives the image back, exactly or up to the levels it was told in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

IMAGE_VALUES, SOUND_VALUES = 256, 65536


@dataclass(frozen=True)
class Sequences:
    """`tokens` `(N, P, channels)` int64, 0 to `levels - 1`; `rows` and `columns` `(P,)` int64 say where each place lies.

    `shape` and `dtype` are those of one array, `values` how many different ones it could hold.
    """

    tokens: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    levels: int
    values: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.unsignedinteger]


def to_sequences(
    arrays: NDArray[np.unsignedinteger], *, values: int | None = None, levels: int | None = None
) -> Sequences:
    """Sequences of `arrays`: `(N, samples)`, `(N, rows, columns)` or `(N, rows, columns, channels)`, uint8 or uint16.

    `values` is how many different ones there may be, 256 or 65,536 by their type unless it is less (17 in scikit-learn's digits).
    Fewer `levels` than that share them out evenly: value `v` becomes level `v * levels // values`. Raises `ValueError` for other
    sizes, a value that is too high, or more levels than values.
    """
    if not 2 <= arrays.ndim <= 4 or arrays.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"not images or sounds: {arrays.dtype} of {arrays.ndim} dimensions")
    values = values or (IMAGE_VALUES if arrays.dtype == np.uint8 else SOUND_VALUES)
    levels = levels or values
    if not 2 <= levels <= values:
        raise ValueError(f"{levels} levels of {values} values; 2 to {values} are possible")
    if arrays.max(initial=0) >= values:
        raise ValueError(f"a value of {arrays.max()}, where there are {values}, from 0")
    shape = arrays.shape[1:]
    height, width = shape[:2] if len(shape) > 1 else (1, shape[0])
    tokens = torch.from_numpy(arrays.astype(np.int64)).mul_(levels).floor_divide_(values)
    places = torch.arange(height * width)
    return Sequences(
        tokens=tokens.reshape(len(arrays), height * width, -1),
        rows=places // width,
        columns=places % width,
        levels=levels,
        values=values,
        shape=shape,
        dtype=arrays.dtype,
    )


def to_arrays(sequences: Sequences) -> NDArray[np.unsignedinteger]:
    """The arrays `(N, *shape)` of `sequences`; of each level the middle one of its values, which becomes that level again."""
    level = sequences.tokens.numpy().reshape(-1, *sequences.shape)
    lowest = -(-level * sequences.values // sequences.levels)
    highest = -(-(level + 1) * sequences.values // sequences.levels) - 1
    return ((lowest + highest) // 2).astype(sequences.dtype)
