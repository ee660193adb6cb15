"""The multidimensional map: features stand on a grid of D axes, and one axis at a time is mixed.

x (.., n_1, .., n_D), reshaped from `inputs` features; along axis d, with W_d (n_d, m_d):
    shared        A_d(x)[.., j, ..] = sum_i W_d[i, j] x[.., i, ..]
    all_shared    the same with one W for all axes, which have one length
    separate      A_d(x)[.., j, ..] = sum_i W_d[others, i, j] x[.., i, ..]    one matrix for each place on the other axes
order `sequential`: y = A_D(.. A_1(x)), which for `shared` is the Kronecker product of all W_d; `parallel`: y = sum_d A_d(x).
With `heads` h, y is the sum of h such maps. No nonlinearity between axes. inputs != outputs resizes one axis (`axes.py`).

Ten by ten features: 10,000 weights for a dense map, 2,000 separate, 200 shared, 100 all_shared.

Initial weights: the variance of the outputs is that of a dense map whose weights have the std the port asks for. That map has
gain inputs * std^2; in sequence every axis has gain (inputs * std^2 / h)^(1/D), in parallel inputs * std^2 / D, and the gain of
an axis is its fan-in times the variance of its weights. (The source divides by the sum of all lengths, not by the fan-in.)

`born_halved`: the axis that is resized, or the last, starts as two halves that share one map; growing makes it one map whose
blocks off the diagonal are zero, and free from then on. The function is kept. Source of that: its axis upscaling, which doubles
an axis into two copies that see different inputs; here the two halves see theirs from birth, so that no width changes.

Source: mohamed-services/mnn. Departures: `heads`, resizing and biases, which its text asks for and its code lacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Inconsistent, Settings
from nnn_bench.models.axes import Grid, balanced, given
from nnn_bench.models.flops import Flops, elementwise, linear
from nnn_bench.models.growth import Origin
from nnn_bench.models.parts import Initial, Port, Projection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nnn_bench.models.build import Builder


class Options(Settings):
    """`axes` are chosen balanced, or their `sizes` before the map are given; one of these may be null: what the others leave."""

    axes: Annotated[int, Field(ge=1, le=16)] | None = None
    sizes: list[Annotated[int, Field(ge=2)] | None] | None = Field(default=None, min_length=1, max_length=16)
    sharing: Literal["shared", "all_shared", "separate"]
    order: Literal["sequential", "parallel"] = "sequential"
    heads: PositiveInt = 1
    bias: bool = False
    born_halved: bool = False

    @model_validator(mode="after")
    def _agree(self) -> Options:
        if (self.axes is None) == (self.sizes is None):
            raise Inconsistent("must be given, or else sizes, and not both", key="axes")
        if self.sizes is not None and self.sizes.count(None) > 1:
            raise Inconsistent("may leave one axis open, not more", key="sizes")
        if self.heads > 1 and (self.order == "parallel" or 1 in (self.axes, len(self.sizes or ()))):
            raise Inconsistent(
                "must be 1 where axes are not mixed in sequence: the heads would add up to one", key="heads"
            )
        if self.born_halved and self.sharing == "all_shared":
            raise Inconsistent(
                "must be false where all axes share one map: only one of them is halved", key="born_halved"
            )
        return self


class Axis(Projection):
    """`weights`: one tensor for each axis, of shape (H, n, m), or (after, H, before, n, m) for `separate`; one for `all_shared`.

    `after` counts the places on the axes behind, `before` those on the axes before it.
    """

    def __init__(self, options: Options, builder: Builder, port: Port):
        super().__init__()
        self.options = options
        self.grid = grid = _grid(options, builder, port)
        self.inputs, self.outputs = port.inputs, port.outputs
        self.halved: int | None = grid.resized if options.born_halved else None
        self.growths = int(options.born_halved)
        gain = port.inputs * port.initial.std**2
        gain = gain / grid.axes if options.order == "parallel" else (gain / options.heads) ** (1 / grid.axes)
        self.weights = nn.ParameterList()
        for axis in range(1 if options.sharing == "all_shared" else grid.axes):
            halves = 2 if axis == self.halved else 1
            n, m = grid.inputs[axis] // halves, grid.outputs[axis] // halves
            shape: tuple[int, ...] = (options.heads, n, m)
            if options.sharing == "separate":
                shape = (grid.after(axis), options.heads, grid.before(axis), n, m)
            initial = Initial((gain / n) ** 0.5, port.initial.uniform)
            self.weights.append(nn.Parameter(initial.fill_(torch.empty(shape))))
        self.bias = nn.Parameter(torch.zeros(port.outputs)) if options.bias else None

    def forward(self, x: Tensor) -> Tensor:
        # Features first, tokens last: an axis in front is then mixed by products of long contiguous rows, and without a copy.
        # The answer is left in that order, so that a nonlinearity and a map like this one behind it move nothing.
        features = x.reshape(-1, self.inputs).T.contiguous()  # (n_1 .. n_D, Z)
        mixed = self._in_sequence(features) if self.options.order == "sequential" else self._in_parallel(features)
        y = mixed.reshape(self.outputs, -1).T.reshape(*x.shape[:-1], self.outputs)
        return y if self.bias is None else y + self.bias

    def _in_sequence(self, x: Tensor) -> Tensor:
        """The axis in front is mixed and goes to the back; after D turns all stand in order again, `(.., m_D, Z)`."""
        for axis in range(self.grid.axes):
            x = self._turned(axis, x.reshape(-1, x.shape[-1]))
        return x

    def _in_parallel(self, x: Tensor) -> Tensor:
        """Each axis is mixed as it comes to the front, and unmixed features and the sum so far take the same turn."""
        Z, total = x.shape[-1], torch.zeros_like(x)
        for axis, n in enumerate(self.grid.inputs):
            mixed = self._turned(axis, x.reshape(-1, Z))
            x, total = x.reshape(n, -1, Z).transpose(0, 1), total.reshape(n, -1, Z).transpose(0, 1) + mixed
        return total

    def _turned(self, axis: int, x: Tensor) -> Tensor:
        """Mix the axis in front of `x (n .., Z)` and put it to the back: `(.., m, Z)`.

        Behind the first axis heads are one more coordinate, which the last axis sums over.
        """
        matrices = self._matrices(axis)  # (places, n, m), with heads beside n or m at the ends
        places, n, _ = matrices.shape
        if axis != self.halved:
            return torch.bmm(matrices.mT, x.reshape(n, places, -1).transpose(0, 1))
        halves = [
            torch.bmm(matrices.mT, half.transpose(0, 1)).unflatten(1, (-1, self.grid.outputs[axis] // 2))
            for half in x.reshape(2, n, places, -1)
        ]
        return torch.cat(halves, dim=2).flatten(1, 2)

    def _matrices(self, axis: int) -> Tensor:
        """The matrix of each place on the other axes, in the order of `_turned`."""
        weight = self.weights[0 if self.options.sharing == "all_shared" else axis]
        if self.options.sharing != "separate":
            after, before = self._places(axis)
            weight = weight[None, :, None].expand(after, -1, before, -1, -1)
        after, H, before, n, m = weight.shape
        if H > 1 and axis == 0:
            return weight.squeeze(2).transpose(1, 2).reshape(after, n, H * m)
        if H > 1 and axis == self.grid.axes - 1:
            return weight.squeeze(0).permute(1, 2, 0, 3).reshape(before, n * H, m)
        return weight.reshape(-1, n, m)

    def _places(self, axis: int) -> tuple[int, int]:
        return self.grid.after(axis), self.grid.before(axis)

    def grow(self) -> dict[str, Origin]:
        axis = self.grid.resized
        self.weights[axis] = nn.Parameter(_block_diagonal(self.weights[axis].detach()))
        self.halved = None
        # each block sees the gradient of its half alone, where the shared map saw the sum of both
        return {f"weights.{axis}": Origin(f"weights.{axis}", gradient_share=0.5, expand=_block_diagonal)}

    def prunable(self) -> Iterable[nn.Parameter]:
        """The weights that a curve of density may thin out."""
        return list(self.weights)

    def flops(self) -> Flops:
        total = elementwise(self.outputs if self.bias is not None else 0)
        for axis, (n, m) in enumerate(zip(self.grid.inputs, self.grid.outputs, strict=True)):
            after, before = self._places(axis)
            total += linear(n, m) * (after * before * self.options.heads) // (2 if axis == self.halved else 1)
        if self.options.order == "parallel":
            total += elementwise(self.outputs, self.grid.axes)
        return total


def _grid(options: Options, builder: Builder, port: Port) -> Grid:
    """The grid of a map, or a refusal that says which numbers of features would do."""
    where = f"map {port.name!r} takes {port.inputs} features to {port.outputs}"
    count = options.axes or len(options.sizes or ())
    if options.sharing == "all_shared":
        root = round(port.inputs ** (1 / count))
        lengths = {size for size in options.sizes or () if size is not None}
        if port.inputs != port.outputs or root**count != port.inputs or lengths - {root}:
            raise builder.refuse(
                "sharing",
                f"{where}, and axes that share one map have one length: use as many outputs as inputs, "
                f"as {max(2, root) ** count} or {(max(2, root) + 1) ** count}, or sharing: shared",
            )
    if options.order == "parallel" and port.inputs != port.outputs:
        raise builder.refuse("order", f"{where}, and axes in parallel keep the number of features: use sequential")
    if options.sizes is None:
        grid = balanced(port.inputs, port.outputs, count, options.born_halved)
        mend = f"multiples of {2**count} will do, or fewer axes"
    else:
        grid = given(port.inputs, port.outputs, options.sizes)
        mend = "their product must be the number of inputs, and all but one of them must divide the outputs too"
    key = "axes" if options.sizes is None else "sizes"
    if grid is None:
        raise builder.refuse(
            key, f"{where}, and no {count} axes of two or more with one of them resized do that; {mend}"
        )
    if options.born_halved and (grid.inputs[grid.resized] % 2 or grid.outputs[grid.resized] % 2):
        raise builder.refuse(
            "born_halved", f"{where}: axis {grid.resized + 1} has an odd length and no halves; use an even one"
        )
    return grid


def _block_diagonal(value: Tensor) -> Tensor:
    """`(.., n, m) -> (.., 2 n, 2 m)`: twice on the diagonal, zero elsewhere."""
    zero = torch.zeros_like(value)
    return torch.cat([torch.cat([value, zero], dim=-1), torch.cat([zero, value], dim=-1)], dim=-2)


Part = Axis
