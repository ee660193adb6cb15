"""Time as a number with several digits, and one step of causal mixing along one of them.

A position t has the digits (t // s_d) mod b_d, with radices b_1..b_D and strides s_1 = 1, s_d = b_1 ... b_{d-1}. One step:

y[t] = sum_{q<b} w[phi(t), q] x[t - q s],  x[t] = 0 for t < 0        x, y: (G, T, N), w: (G, rows, b)

It reaches back by whole strides, never ahead. In axis form, with t = (o b + c) s + r, digit c reads digit c' of its own block of
b s positions where c' <= c (q = c - c') and of the block before where c' > c (q = c + b - c'): a square matrix of which the
lower triangle acts on this block and the rest on the block before.
Source: the radix comb of the specification, in its skewed form; G groups of N features have weights of their own.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from nnn_bench.models.flops import Flops


def balanced(positions: int, axes: int) -> list[int]:
    """The smallest radices, equal or one apart, whose product is at least `positions`; none below two."""
    root = 2
    while root**axes < positions:
        root += 1
    radices = [root] * axes
    for axis in reversed(range(axes)):
        smaller = math.prod(radices) // root * (root - 1)
        if root == 2 or smaller < positions:
            break
        radices[axis] -= 1
    return radices


def strides(radices: list[int]) -> list[int]:
    """How far apart neighbours along each axis are in time."""
    return [math.prod(radices[:axis]) for axis in range(len(radices))]


def combed(x: Tensor, weights: Tensor, stride: int, *, by_position: bool) -> Tensor:
    """One step: `x (G, T, N)` and `weights (G, rows, b)` to `(G, T, N)`.

    `by_position`: a row of weights for each position; otherwise one for each digit, or a single one for all.
    """
    (G, T, N), radix = x.shape, weights.shape[-1]
    blocks, digits = _blocks(T, radix, stride)
    missing = blocks * digits * stride - T
    x = F.pad(x, (0, 0, 0, missing)) if missing else x
    if by_position:
        rows = weights[:, :T]
        rows = F.pad(rows, (0, 0, 0, missing)) if missing else rows
        # every position has its own row: no two values of r share a matrix
        taps = rows.reshape(G, blocks, digits, stride, radix).transpose(2, 3)  # (G, O, s, c, q)
        y = _mixed(taps, x.reshape(G, blocks, digits, stride, N).transpose(2, 3)).transpose(2, 3)
    else:
        taps = weights.expand(G, radix, radix)[:, None, :digits]  # (G, 1, c, q)
        y = _mixed(taps, x.reshape(G, blocks, digits, stride * N))
    return y.reshape(G, T + missing, N)[:, :T]


def combed_flops(length: int, radix: int, stride: int) -> Flops:
    """Operations of one step on one feature over a window of `length`: this block's product, the other, their sum."""
    blocks, digits = _blocks(length, radix, stride)
    return Flops(2 * (2 * blocks - 1) * digits * digits * stride, (blocks - 1) * digits * stride)


def _blocks(length: int, radix: int, stride: int) -> tuple[int, int]:
    """How many blocks a window fills, and how many digits of each: fewer than `radix` where it does not fill one."""
    columns = -(-length // stride)
    digits = min(radix, columns)
    return -(-columns // digits), digits


def _mixed(taps: Tensor, x: Tensor) -> Tensor:
    """`taps (G, O or 1, ..., c, q)` on `x (G, O, ..., c', M)`, block by block."""
    before, same = _matrices(taps)
    y = same @ x
    if x.shape[1] == 1:
        return y
    if before.shape[1] > 1:
        before = before[:, 1:]
    first = [0, 0] * (x.ndim - 2) + [1, 0]
    return y + F.pad(before @ x[:, :-1], first)


def _matrices(taps: Tensor) -> tuple[Tensor, Tensor]:
    """From weights by lag `(..., c, q)` the matrices by digit, of the block before `(..., c, b)` and of this one `(..., c, c)`.

    Both together are rows of 2b in which w[c, q] stands at c + b - q: each row is that of the one above, one place on. So the
    rows, turned round and one element too long, only have to be written one after the other.
    """
    digits, radix = taps.shape[-2:]
    rows = F.pad(taps.flip(-1), (1, radix)).flatten(-2)  # (..., c (2 b + 1))
    both = rows[..., : digits * 2 * radix].unflatten(-1, (digits, 2 * radix))
    return both[..., :radix], both[..., radix : radix + digits]
