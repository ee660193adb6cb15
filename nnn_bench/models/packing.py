"""Trained ternary maps in four weights a byte: what a network of them needs once it is only read.

c = round-and-clip(W / b) in {-1, 0, +1}                             (outputs, inputs), b = mean |W|
byte_i = sum_{j<4} (c_{4i+j} + 1) 4^j                                row after row, the last byte filled up with zeros
y = q (b c)^T                                                        q as in `projections/ternary.py`

2 bits a weight, where W takes 32. Three values need log2 3 = 1.58 bits if all are as frequent, and less if not; a code that
reaches this would have to be decoded bit by bit. The matrix is unpacked at each use, to the very values that the unpacked map
multiplies by, so that both give the same bits where the product is the same operation. Unpacked maps cannot come back: W is gone.

Stands beside the folders, not in `projections/`: nothing in it can be trained, so no configuration may ask for it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnn_bench.models.flops import Flops, elementwise, linear, one_sided
from nnn_bench.models.norms import norm_flops
from nnn_bench.models.parts import Projection
from nnn_bench.models.projections.ternary import Ternary, codes_and_scale, eight_bit

PER_BYTE = 4
_LARGEST = 2  # what a code is stored as at most: -1, 0, +1 are 0, 1, 2


def pack(codes: Tensor) -> Tensor:
    """`codes` of -1, 0, +1, any shape, as bytes `(ceil(elements / 4),)`."""
    flat = F.pad(codes.flatten(), (0, -codes.numel() % PER_BYTE)).to(torch.int64) + 1
    return (flat.view(-1, PER_BYTE) << _shifts(codes.device)).sum(dim=-1).to(torch.uint8)


def unpack(packed: Tensor, shape: torch.Size) -> Tensor:
    """The codes of `shape` that `packed` holds, as int8."""
    stored = (packed.unsqueeze(-1) >> _shifts(packed.device)) & (PER_BYTE - 1)
    return (stored.flatten()[: shape.numel()].to(torch.int8) - 1).view(shape)


def sound(packed: Tensor) -> bool:
    """Whether every pair of bits in `packed` stands for one of the three values."""
    stored = (packed.unsqueeze(-1) >> _shifts(packed.device)) & (PER_BYTE - 1)
    return bool((stored <= _LARGEST).all())


class PackedTernary(Projection):
    """A ternary map that can only be used: `packed (ceil(outputs inputs / 4),)` bytes, one `scale`, and the norm before it."""

    decides = True
    packed: Tensor
    scale: Tensor

    def __init__(self, ternary: Ternary):
        super().__init__()
        codes, scale = codes_and_scale(ternary.weight)
        self.shape = codes.shape
        self.norm = ternary.norm
        self.register_buffer("packed", pack(codes))
        self.register_buffer("scale", scale.clone())

    def forward(self, x: Tensor) -> Tensor:
        exact = self.norm(x.to(self.norm.weight.dtype))
        return F.linear(eight_bit(exact), self.codes().to(exact.dtype) * self.scale)

    def codes(self) -> Tensor:
        """The -1, 0, +1 of the matrix, `(outputs, inputs)`."""
        return unpack(self.packed, self.shape)

    def flops(self) -> Flops:
        outputs, inputs = self.shape
        # as the unpacked map; unpacking is shared by all tokens of a batch, as rounding is there, and no gradient goes to weights
        return norm_flops("rms", inputs) + elementwise(inputs, 7) + one_sided(linear(inputs, outputs))


def pack_ternary_maps(model: nn.Module) -> list[str]:
    """Put a packed map in the place of every ternary one, for good. Returns the names of those places."""
    made: dict[Ternary, PackedTernary] = {}  # a map that stands in several places stays one
    names = []
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, Ternary):
            parent, _, own = name.rpartition(".")
            packed = made.get(module) or made.setdefault(module, PackedTernary(module))
            setattr(model.get_submodule(parent), own, packed)
            names.append(name)
    return names


def _shifts(device: torch.device) -> Tensor:
    return torch.arange(0, 8, 8 // PER_BYTE, dtype=torch.uint8, device=device)
