"""The linear recurrence and its backward pass against the plain loop through autograd."""

from __future__ import annotations

import pytest
import torch

from nnn_bench.models import recurrence
from nnn_bench.models.recurrence import linear_recurrence


def loop(decay, drive):
    state, states = torch.zeros_like(drive[:, 0]), []
    for a, x in zip(decay.unbind(1), drive.unbind(1), strict=True):
        state = a * state + x
        states.append(state)
    return torch.stack(states, dim=1)


def values_and_gradients(function, shape, dtype):
    generator = torch.Generator().manual_seed(0)
    decay = torch.rand(shape, generator=generator, dtype=dtype).requires_grad_()
    drive = torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()
    weights = torch.randn(shape, generator=generator, dtype=dtype)
    states = function(decay, drive)
    (states * weights).sum().backward()
    return states.detach(), decay.grad, drive.grad


@pytest.mark.parametrize("shape", [(2, 1, 3), (1, 5, 4), (3, 16, 8), (2, 256, 16), (1, 1024, 4)])
def test_values_and_gradients_equal_the_loop(shape):
    for ours, plain in zip(
        values_and_gradients(linear_recurrence, shape, torch.float32),
        values_and_gradients(loop, shape, torch.float32),
        strict=True,
    ):
        assert (ours - plain).abs().max().item() < 1e-5


@pytest.mark.parametrize("length", [1, 15, 16, 17, 100])
def test_the_blocked_form_of_other_devices_equals_the_loop_both_ways(length):
    shape = (2, length, 3)
    decay = torch.rand(shape, dtype=torch.float64).requires_grad_()
    drive = torch.randn(shape, dtype=torch.float64).requires_grad_()
    upstream = torch.randn(shape, dtype=torch.float64)
    states = loop(decay, drive)
    states.backward(upstream)
    with torch.no_grad():
        blocked = recurrence._blocked(decay, drive)
        gradients = recurrence._blocked_backward(decay, blocked, upstream)
    for ours, plain in zip((blocked, *gradients), (states, decay.grad, drive.grad), strict=True):
        assert (ours - plain).abs().max().item() < 1e-12


def test_the_gradient_passes_a_numerical_check():
    decay = torch.rand(2, 7, 3, dtype=torch.float64, requires_grad=True)
    drive = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(linear_recurrence, (decay, drive))


def test_strided_inputs_and_expanded_gradients_are_read_right():
    decay = torch.rand(3, 2, 9).transpose(1, 2).requires_grad_()
    drive = torch.randn(9, 2, 3).permute(2, 0, 1).requires_grad_()
    linear_recurrence(decay, drive).sum().backward()  # the gradient of a sum has stride 0
    found = decay.grad.clone(), drive.grad.clone()
    decay.grad = drive.grad = None
    loop(decay, drive).sum().backward()
    assert torch.allclose(found[0], decay.grad, atol=1e-5) and torch.allclose(found[1], drive.grad, atol=1e-5)


def test_half_precision_is_computed_wide():
    decay, drive = torch.rand(1, 300, 2).bfloat16(), torch.ones(1, 300, 2).bfloat16()
    states = linear_recurrence(decay, drive)
    assert states.dtype == torch.float32
    assert torch.equal(states, linear_recurrence(decay.float(), drive.float()))


def test_gates_near_zero_and_one_do_not_overflow():
    decay = torch.full((1, 2000, 1), 1e-30)
    assert torch.isfinite(linear_recurrence(decay, torch.ones_like(decay))).all()
    assert linear_recurrence(torch.ones(1, 2000, 1), torch.ones(1, 2000, 1))[0, -1, 0].item() == 2000
