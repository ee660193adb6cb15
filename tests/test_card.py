"""The inference card: what is held in mind, what is counted, and no cached time of a step that says something else."""

from __future__ import annotations

import copy

import pytest
import torch

from nnn_bench.config.errors import UserError
from nnn_bench.config.schema import Measurement
from nnn_bench.models.build import build
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.speed import card
from nnn_bench.speed.agreement import refusal
from nnn_bench.speed.card import inference_card, measured_row, packed_bits, ready, token_work
from nnn_bench.speed.reading import Reading, state_bytes, stepped
from nnn_bench.speed.roofline import Roofline
from tests.models import CONTEXT, VOCABULARY, shake, small, solved, tokens

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A machine of known rates, and as few rounds as a median needs."""
    monkeypatch.setattr(card, "measure_roofline", lambda device: Roofline(1e9, 1e8, 1024, 1 << 26))
    monkeypatch.setattr(card, "_ROW_SECONDS", 0.0)


def test_what_gpt2_holds_grows_with_the_text_and_what_a_recurrence_holds_does_not():
    models = {name: ready(small(name), CPU) for name in ("gpt2", "matmul_free")}
    width = {name: solved(name).knobs["topology.width"] for name in models}
    for context, batch in ((6, 1), (CONTEXT, 3)):
        held = {name: Reading.of(one, tokens(batch, context), stepping=True) for name, one in models.items()}
        keys_and_values = 2 * 4 * context * width["gpt2"] * 4 * batch  # 4 layers, 4 bytes
        assert held["gpt2"].state_bytes == keys_and_values
        assert held["matmul_free"].state_bytes == 4 * width["matmul_free"] * 4 * batch


@pytest.mark.parametrize("name", ["mamba", "mlgru_dense", "multidimensional", "high_order_mlp"])
def test_a_state_without_keys_is_as_large_at_any_length(name):
    model, ids = ready(small(name), CPU), tokens(2)
    held = []
    for length in (1, CONTEXT // 2, CONTEXT):
        _, state = stepped(model, ids[:, :length], model.initial_state(2))
        held.append(state_bytes(state))
    assert len(set(held)) == 1
    assert held[0] > 0


@pytest.mark.parametrize("name", ["gpt2", "matmul_free", "conv_attention", "high_order_mlp"])
def test_a_card_counts_what_the_network_declares(name):
    model = small(name)
    made = inference_card(model, VOCABULARY, Measurement(contexts=(CONTEXT,), batches=(1,)), CPU)
    told = made["flops"][str(CONTEXT)]
    for work in (told, told["prefill"]):
        assert work["counted"] == work["matrix_declared"] > 0
        assert work["declared"] > work["matrix_declared"]
    last = ready(model, CPU)
    assert told["prefill"]["declared"] == last.window_flops(CONTEXT).total
    timed = [last.inference_flops(position).total for position in range(CONTEXT - 7, CONTEXT + 1)]
    assert told["declared"] == sum(timed) / 8
    [row] = made["rows"]
    assert row["unavailable"] is None
    assert row["cached_speedup"] == row["recomputed_token_seconds"] / row["token_seconds"]
    assert row["state_seconds"] > 8 * row["token_seconds"]


@pytest.mark.parametrize("name", ["gpt2", "multidimensional", "high_order_mlp", "conv_attention"])
def test_going_on_and_reading_again_say_the_same(name):
    model = small(name)
    shake(model)
    reading = Reading.of(ready(model, CPU), tokens(3), stepping=True)
    torch.testing.assert_close(reading.go_on(), reading.recompute(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(reading.go_on(), reading.recompute(), atol=1e-4, rtol=1e-4)  # the state was kept


class Forgetful(LanguageModel):
    """Says of a whole text what it says of its last token but one, and step by step of the last."""

    def __init__(self) -> None:
        super().__init__()
        self.vocabulary, self.context = VOCABULARY, CONTEXT
        self.table = torch.nn.Parameter(torch.eye(VOCABULARY))

    def forward(self, ids):
        return self.table[ids.roll(1, dims=1)]

    def initial_state(self, batch):
        return []

    def step(self, token, state):
        return self.table[token], state


def test_a_step_that_says_something_else_is_not_timed():
    model = Forgetful()
    note = refusal(model, tokens(2))
    assert note == "step and forward differ by up to 1, so its cached times would mean nothing"
    row = measured_row(Reading.of(model, tokens(2), stepping=False), note)
    assert (row["unavailable"], row["token_seconds"], row["state_bytes"], row["cached_speedup"]) == (
        note,
        None,
        None,
        None,
    )
    assert row["prefill_seconds"] == row["recomputed_token_seconds"] > 0


def test_a_network_that_rounds_may_flip_here_and_there_and_no_more():
    model = ready(small("matmul_free"), CPU)
    assert refusal(model, tokens(2)) is None
    broken = copy.deepcopy(model)
    sound = type(broken).step

    class Shifted(type(broken)):  # type: ignore[misc]
        def step(self, token, state):
            logits, state = sound(self, token, state)
            return logits + 1, state

    broken.__class__ = Shifted
    assert "differ by up to 1, at more than 5% of positions or always at one" in (refusal(broken, tokens(2)) or "")


def test_an_automaton_has_no_step_and_is_read_whole():
    made = inference_card(small("automaton"), VOCABULARY, Measurement(contexts=(CONTEXT,), batches=(2,)), CPU)
    [row] = made["rows"]
    assert row["unavailable"] == "the network has no step: it answers a whole window at once"
    assert row["token_seconds"] is None
    told = made["flops"][str(CONTEXT)]
    assert told["counted"] == told["matrix_declared"] == small("automaton").window_flops(CONTEXT).matrix
    assert made["roofline_share"][f"{CONTEXT}x2"]["token"] is None


def test_a_network_with_a_window_reads_no_more_than_that_again():
    tree = copy.deepcopy(solved("high_order_mlp").model)
    tree["window"]["reach"] = 5
    model = ready(build(tree, vocabulary=VOCABULARY, context=CONTEXT), CPU)
    reading = Reading.of(model, tokens(2), stepping=True)
    assert reading.window.shape == (2, 5)
    torch.testing.assert_close(reading.recompute(), reading.prefill())
    assert token_work(reading).counted == 2 * 8 * model.inference_flops(CONTEXT).matrix


def test_a_longer_text_than_there_is_room_for_is_said_or_given_room():
    settings = Measurement(contexts=(2 * CONTEXT,), batches=(1,))
    [row] = inference_card(small("gpt2"), VOCABULARY, settings, CPU)["rows"]
    assert row["unavailable"] == f"the network has room for {CONTEXT} tokens"
    assert row["prefill_seconds"] is None
    tree = solved("gpt2").model
    made = inference_card(
        small("gpt2"),
        VOCABULARY,
        settings,
        CPU,
        larger=lambda context: build(tree, vocabulary=VOCABULARY, context=context),
    )
    [row] = made["rows"]
    assert row["unavailable"] is None
    assert row["state_bytes"] == 2 * 4 * 2 * CONTEXT * solved("gpt2").knobs["topology.width"] * 4


def test_a_network_that_fits_into_its_own_context_alone_says_why():
    def refuse(context):
        raise UserError("an axis lies beyond the context", file="a.yaml", key="model")

    made = inference_card(small("gpt2"), VOCABULARY, Measurement(contexts=(64,), batches=(1,)), CPU, larger=refuse)
    assert [row["unavailable"] for row in made["rows"]] == ["an axis lies beyond the context"]
    assert made["flops"] == {}
    assert made["energy"]["source"] == "not measured"


def test_a_card_leaves_the_network_and_the_dice_as_they_were():
    model = small("multidimensional_growing").train()
    weights = copy.deepcopy(model.state_dict())
    dice = torch.random.get_rng_state()
    inference_card(model, VOCABULARY, Measurement(contexts=(2,), batches=(1,)), CPU)
    assert ready(model, CPU).stage == model.stages - 1 > 0
    assert model.training and model.stage == 0 and all(p.requires_grad for p in model.parameters())
    assert torch.equal(dice, torch.random.get_rng_state())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_packed_bits_are_two_and_a_scale_of_ternary_networks_alone():
    bits = packed_bits(small("matmul_free"))
    assert bits is not None and 2 < bits < 2.1
    assert packed_bits(small("gpt2")) is None


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_card_of_a_gpu_tells_its_memory_and_counts_the_same():
    device = torch.device("cuda")
    model = small("gpt2")
    made = inference_card(model, VOCABULARY, Measurement(contexts=(CONTEXT,), batches=(1,)), device)
    [row] = made["rows"]
    assert row["unavailable"] is None
    assert row["peak_memory_bytes"] > row["state_bytes"]
    told = made["flops"][str(CONTEXT)]
    assert told["counted"] == told["matrix_declared"]
