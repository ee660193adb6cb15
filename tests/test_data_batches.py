"""Windows: what a run may see, in which order, and what it is scored on.

The tokens are 0, 1, 2, ..., so that a token is its own place.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnn_bench.config.errors import UserError
from nnn_bench.data.batches import EvaluationWindows, TrainingBatches

TOKENS = np.arange(1200, dtype=np.uint16)


def batches(seed: int = 0, context: int = 8, batch: int = 5, limit: int = 1000) -> TrainingBatches:
    return TrainingBatches(TOKENS[:limit], context, batch, seed)


def targets_of(source: TrainingBatches, steps: int) -> np.ndarray:
    return np.concatenate([source.batch_at(step)[1].numpy().ravel() for step in range(steps)])


def test_targets_follow_inputs_by_one_in_whole_windows():
    inputs, targets = batches().batch_at(3)
    assert inputs.shape == targets.shape == (5, 8)
    assert inputs.dtype == targets.dtype == torch.int64
    assert torch.equal(targets, inputs + 1)
    assert torch.equal(inputs, inputs[:, :1] + torch.arange(8))


@pytest.mark.parametrize(("context", "limit"), [(8, 1000), (7, 1000), (8, 1001), (16, 300), (2, 50)])
def test_nothing_beyond_the_limit_is_seen(context, limit):
    seen = targets_of(TrainingBatches(TOKENS[:limit], context, 5, 1), 200)
    assert seen.max() < limit
    assert seen.min() >= 1


def test_an_epoch_predicts_every_token_about_once():
    source = batches(batch=4)
    steps = (1000 - 8) // 8 // 4
    counted = np.bincount(targets_of(source, steps), minlength=1000)
    assert counted.max() == 1
    assert counted.sum() >= 1000 - 2 * 8 - 4 * 8  # less than two windows at the ends and one batch are left out


def test_each_epoch_has_an_order_and_an_offset_of_its_own():
    source = batches(batch=4)
    steps = (1000 - 8) // 8 // 4
    starts = [[source.batch_at(e * steps + s)[0][:, 0].numpy() for s in range(steps)] for e in range(12)]
    assert not np.array_equal(starts[0], starts[1])
    assert len({int(np.concatenate(epoch)[0]) % 8 for epoch in starts}) > 3
    assert not np.all(np.diff(np.concatenate(starts[0])) > 0)


def test_the_same_seed_gives_the_same_batches_and_another_seed_other_ones():
    one, same, other = batches(0), batches(0), batches(1)
    for step in range(60):
        assert torch.equal(one.batch_at(step)[0], same.batch_at(step)[0])
    assert not torch.equal(one.batch_at(0)[0], other.batch_at(0)[0])


def test_a_batch_depends_on_its_step_alone():
    expected = [batches().batch_at(step)[0] for step in range(80)]
    source = batches()
    for step in (79, 0, 40, 24, 25, 3, 79):
        assert torch.equal(source.batch_at(step)[0], expected[step])


@pytest.mark.parametrize(("limit", "batch"), [(30, 5), (8, 1), (1, 1), (1000, 125)])
def test_an_impossible_length_is_refused_by_its_key(limit, batch):
    with pytest.raises(UserError, match=r"^language\.training_characters: ") as error:
        TrainingBatches(TOKENS[:limit], 8, batch, 0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("context", [2, 3, 8, 9, 128])
def test_every_scored_target_is_scored_once_with_half_a_context_before_it(context):
    windows = EvaluationWindows(TOKENS, context, 10 * context)
    inputs, targets = (torch.cat(parts).numpy() for parts in zip(*windows.chunks(3), strict=True))
    scored = targets[:, windows.scored]
    assert np.array_equal(targets, inputs + 1)
    assert np.array_equal(scored.ravel(), windows.scored_positions)
    assert np.array_equal(np.diff(windows.scored_positions), np.ones(scored.size - 1))
    assert windows.scored.start + 1 >= context / 2  # inputs that the first scored target of a window has
    assert windows.scored.stop == context and inputs[0, 0] == 0


@pytest.mark.parametrize("context", [4, 9, 64])
def test_targets_seen_from_both_sides_are_scored_once_in_the_middle(context):
    windows = EvaluationWindows(TOKENS, context, 10 * context, ahead=0)
    inputs, targets = (torch.cat(parts).numpy() for parts in zip(*windows.chunks(3), strict=True))
    assert np.array_equal(targets, inputs)
    assert np.array_equal(targets[:, windows.scored].ravel(), windows.scored_positions)
    assert np.array_equal(np.diff(windows.scored_positions), np.ones(len(windows.scored_positions) - 1))
    assert windows.scored.start == context // 4 and context - windows.scored.stop >= context // 4


def test_windows_are_as_many_as_asked_for_or_as_there_are():
    assert len(EvaluationWindows(TOKENS, 8, 40).scored_positions) == 40
    everything = EvaluationWindows(TOKENS, 8, 10**9).scored_positions
    assert len(TOKENS) - 4 <= everything[-1] + 1 <= len(TOKENS)


def test_the_size_of_a_chunk_changes_nothing():
    windows = EvaluationWindows(TOKENS, 8, 200)
    whole = next(iter(windows.chunks(1000)))[0]
    assert torch.equal(torch.cat([inputs for inputs, _ in windows.chunks(7)]), whole)


def test_the_smallest_split_has_one_window_and_a_smaller_one_none():
    assert EvaluationWindows(TOKENS[:9], 8, 100).scored_positions.tolist() == [5, 6, 7, 8]
    with pytest.raises(UserError, match=r"^language\.context: "):
        EvaluationWindows(TOKENS[:8], 8, 100)
