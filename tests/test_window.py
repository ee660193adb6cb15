"""Networks that read a window: what stands in it, by hand, in whole windows and token by token."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnn_bench.models.pieces import Pieces
from nnn_bench.models.window import WindowNetwork, between, last

V = 3
BLANK, A, B, C = -0.75, -0.25, 0.25, 0.75  # no token, and tokens 0, 1, 2


class Shows(WindowNetwork):
    """Answers with the numbers in its window themselves, as many as it has logits for."""

    def __init__(self, *offsets):
        super().__init__(V, 8, offsets)
        self.one = nn.Parameter(torch.ones((), dtype=torch.float64))

    def answer(self, seen):
        assert seen.shape[1:] == (len(self.offsets), 1)
        return seen.squeeze(-1) * self.one


def shown(model, *rows):
    """The windows of some rows of tokens, on both ways through the network."""
    tokens = torch.tensor(rows)
    told, embedded = model(tokens), model.embed(tokens)
    assert embedded.shape == (*tokens.shape, 1)
    assert torch.equal(told, model.predict(embedded))
    return told.tolist()


def test_windows_by_hand():
    [row, other] = shown(Shows(-2, -1, 0), [0, 2, 1, 1], [2, 2, 0, 1])
    assert row == [[BLANK, BLANK, A], [BLANK, A, C], [A, C, B], [C, B, B]]
    assert other == [[BLANK, BLANK, C], [BLANK, C, C], [C, C, A], [C, A, B]]


def test_windows_with_gaps_and_on_both_sides_by_hand():
    assert shown(Shows(-3, 0), [0, 1, 2, 0]) == [[[BLANK, A], [BLANK, B], [BLANK, C], [A, A]]]
    assert shown(Shows(-1, 1, 2), [0, 1, 2]) == [[[BLANK, B, C], [A, C, BLANK], [B, BLANK, BLANK]]]
    assert shown(Shows(2, -1), [0, 1, 2]) == [[[C, BLANK], [BLANK, A], [BLANK, B]]]


def test_every_token_below_zero_is_a_blank():
    assert shown(Shows(-1, 0), [-1, 0]) == shown(Shows(-1, 0), [-7, 0]) == [[[BLANK, BLANK], [BLANK, A]]]
    model = Shows(-1, 0)
    _, state = model.step(torch.tensor([2, -7]), model.initial_state(2))
    told, _ = model.step(torch.tensor([0, 1]), state)
    assert told.tolist() == [[C, A], [BLANK, B]]


@pytest.mark.parametrize("nodes", [1, 2, 3])
@pytest.mark.parametrize("vocabulary", [3, 64, 65, 127])
def test_every_number_lies_in_the_middle_of_a_segment_of_its_own(vocabulary, nodes):
    model = Shows(0)
    model.vocabulary = vocabulary
    numbers = model.numbers()
    pieces = Pieces("discontinuous", nodes, vocabulary + 1)
    first, t = pieces.located(numbers)
    assert first.tolist() == [nodes * symbol for symbol in range(vocabulary + 1)]
    assert t.abs().max() < 1e-12
    assert torch.equal(numbers, -numbers.flip(0)) and numbers[1] - numbers[0] == pytest.approx(2 / (vocabulary + 1))


def test_the_numbers_of_ascii_are_the_published_ones():
    model = Shows(0)
    model.vocabulary = 127  # with the blank in the place of the first code
    assert torch.equal(model.numbers(), (torch.arange(128, dtype=torch.float64) - 63.5) / 64)


def test_what_a_window_claims_to_see_and_must_not():
    seen = Shows(-2, 0).visible(4)
    assert seen.int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1]]
    around = Shows(*between(2, 1))
    assert around.offsets == (-2, -1, 1)
    assert around.visible(4).int().tolist() == [[0, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1], [0, 1, 1, 0]]
    assert torch.equal(around.hidden(4), torch.eye(4, dtype=torch.bool))
    assert (around.ahead, around.streams) == (0, False)
    assert (Shows(-2, 0).ahead, Shows(-2, 0).streams) == (1, True) == (Shows(-2).ahead, Shows(-2).streams)


def test_the_last_positions_are_as_many_as_there_are():
    assert list(last(3, 8)) == [-2, -1, 0] and list(last(16, 4)) == [-3, -2, -1, 0]


@pytest.mark.parametrize("offsets", [(-2, -1, 0), (-4, -1), (0,), (-6, 0, -3)])
def test_token_by_token_says_the_same_long_after_the_ring_has_closed(offsets):
    model = Shows(*offsets)
    tokens = torch.randint(V, (2, 23), generator=torch.Generator().manual_seed(0))
    state, told = model.initial_state(2), []
    for position in range(23):
        logits, state = model.step(tokens[:, position], state)
        told.append(logits)
    assert state.symbols.shape == (2, 1 - min(offsets))
    assert torch.equal(torch.stack(told, dim=1), model(tokens))
