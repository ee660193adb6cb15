"""The compiled GELU against the library's in float64: values, slopes, and what the two do with strides and odd numbers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nnn_bench.models.gelu import gelu


def test_values_and_slopes_are_those_of_the_library():
    x = torch.linspace(-12, 12, 100_003).requires_grad_()
    upstream = torch.linspace(-2, 2, 100_003)
    exact = x.detach().double().requires_grad_()
    y, expected = gelu(x), F.gelu(exact, approximate="tanh")
    y.backward(upstream)
    expected.backward(upstream.double())
    assert y.dtype == torch.float32
    assert (y.double() - expected).abs().max().item() < 1e-6
    assert (x.grad.double() - exact.grad).abs().max().item() < 2e-6


def test_far_out_it_is_the_identity_or_zero_and_what_is_not_a_number_stays_one():
    y = gelu(torch.tensor([1e4, -1e4, 60.0, -60.0, 0.0, float("nan")]))
    assert y[:5].tolist() == pytest.approx([1e4, 0, 60, 0, 0], abs=1e-30)
    assert y[5].isnan()


def test_strided_inputs_keep_their_shape_and_order():
    x = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0)).transpose(0, 2)[:, 1:]
    assert torch.equal(gelu(x), gelu(x.contiguous()))
    assert gelu(x).shape == (4, 4, 6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_are_left_to_the_library(dtype):
    x = torch.linspace(-3, 3, 50, dtype=dtype)
    assert torch.equal(gelu(x), F.gelu(x, approximate="tanh"))
