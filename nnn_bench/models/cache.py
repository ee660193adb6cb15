"""What attention remembers when it goes token by token."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Cache(NamedTuple):
    """Keys and values of the positions seen so far, `(B, H, context, D)`, of which the first `length` are filled."""

    keys: Tensor
    values: Tensor
    length: int

    @classmethod
    def empty(cls, like: Tensor, batch: int, heads: int, context: int, width: int) -> Cache:
        """Room for `context` positions of `heads` times `width / heads` features, of the type and on the device of `like`."""
        room = like.new_zeros(2, batch, heads, context, width // heads)
        return cls(room[0], room[1], 0)

    def extended(self, key: Tensor, value: Tensor) -> Cache:
        """With one position more, `key` and `value (B, H, D)`; written in place. Raises `ValueError` when it is full."""
        if self.length >= self.keys.shape[2]:
            raise ValueError(f"the cache holds {self.keys.shape[2]} positions and is full")
        with torch.no_grad():
            self.keys[:, :, self.length] = key
            self.values[:, :, self.length] = value
        return Cache(self.keys, self.values, self.length + 1)

    @property
    def filled(self) -> tuple[Tensor, Tensor]:
        """Keys and values of the positions seen, `(B, H, length, D)`."""
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]
