"""What a run tells of its selections: statistics and gradients worked by hand, a planted exchange, the record and the result."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.expansion import study_specs
from nnn_bench.data.objectives import training_batches
from nnn_bench.data.store import load
from nnn_bench.measure.selection import Tally, gradient_norms, model_selection, selection_statistics
from nnn_bench.measure.swap import swap_rises
from nnn_bench.models.build import build
from nnn_bench.models.projections.selection import Selection
from nnn_bench.training.choices import last_look, look_at_choices
from nnn_bench.training.environment import set_up
from nnn_bench.training.job import make_plan, run_configuration
from nnn_bench.training.trainer import initial_seed
from tests.models import CONTEXT, small, tokens
from tests.test_selection_measures import projection
from tests.test_training import rows, trained
from tests.tiny_project import make_project

VOCABULARY = 5
STATISTICS = {"frequency", "aggregate_entropy", "sample_entropy", "maximum_entropy", "cosine", "gradient_norm"}


class Planted(nn.Module):
    """One selecting map of two computations from letters to logits."""

    def __init__(self, second: float):
        super().__init__()
        torch.manual_seed(3)
        self.embedding = nn.Embedding(VOCABULARY, 4)
        made = projection("selection", 4, VOCABULARY)
        assert isinstance(made, Selection)
        self.map = made
        with torch.no_grad():
            self.map.bias.normal_()
            self.map.weight[1] = second * self.map.weight[0]
            self.map.bias[VOCABULARY:] = second * self.map.bias[:VOCABULARY]

    def forward(self, ids):
        return self.map(self.embedding(ids))


def letters(seed: int = 0):
    return torch.randint(VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("K", [2, 5])
def test_passes_are_tallied_as_one(K):
    logits = torch.randn(6, 4, K, 3, generator=torch.Generator().manual_seed(K))
    tally = Tally()
    for part in logits.split((1, 5)):
        tally.append(part)
    whole, p = selection_statistics(logits), logits.softmax(-2)
    assert all(tally.statistics()[name] == pytest.approx(value) for name, value in whole.items())
    counts = [(logits.argmax(-2) == k).sum().item() for k in range(K)]
    assert whole["frequency"] == pytest.approx([count / 72 for count in counts])
    assert whole["sample_entropy"] == pytest.approx(torch.distributions.Categorical(p.mT).entropy().mean().item())


def test_of_two_equal_logits_the_first_is_taken():
    assert selection_statistics(torch.zeros(3, 2, 4))["frequency"] == [1.0, 0.0]


def test_gradient_norms_of_a_hand_worked_layer():
    layer = nn.Module()
    layer.weight = nn.Parameter(torch.zeros(2, 1, 2))
    layer.selector_weight = nn.Parameter(torch.zeros(2, 1, 2))
    assert gradient_norms(layer) == {"computations": None, "selector": None}
    layer.weight.grad = torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]]])
    layer.selector_weight.grad = torch.tensor([[[2.0, 4.0]], [[5.0, 6.0]]])
    assert gradient_norms(layer) == {"computations": [5.0, 0.0], "selector": 9.0}
    assert gradient_norms(layer, clipped=0.25) == {"computations": [20.0, 0.0], "selector": 36.0}


def test_a_computation_that_nobody_takes_has_no_gradient():
    network = Planted(-1.0)
    with torch.no_grad():
        network.map.selector_weight.zero_()
        network.map.selector_bias[:VOCABULARY] = 1.0  # the first, for sure
    F.cross_entropy(network(letters()).flatten(0, 1), letters(1).flatten()).backward()
    found = model_selection(network, letters())["map"]
    assert found["frequency"] == [1.0, 0.0] and found["gradient_norm"]["computations"][1] == 0.0
    grad = network.map.weight.grad
    assert found["gradient_norm"]["computations"][0] == pytest.approx(grad[0].square().sum().sqrt().item())


def test_an_exchange_costs_what_the_planted_opposite_costs():
    ids, targets = letters(), letters(1)
    network = Planted(-1.0)
    y = network(ids).detach()
    plain, opposite = (F.cross_entropy(sign * y.flatten(0, 1), targets.flatten()).item() for sign in (1, -1))
    assert swap_rises(network, ids, targets) == {
        "all": pytest.approx(opposite - plain, abs=1e-6),
        "map": pytest.approx(opposite - plain, abs=1e-6),
    }
    assert set(swap_rises(network, ids, targets, each=False)) == {"all"}


def test_equal_computations_are_exchanged_for_nothing_and_masked_targets_do_not_count():
    ids, targets = letters(), letters(1)
    assert set(swap_rises(Planted(1.0), ids, targets).values()) == {0.0}
    network, cut = Planted(-1.0), targets.clone()
    cut[1] = -100
    assert swap_rises(network, ids, cut) == pytest.approx(swap_rises(network, ids[:1], targets[:1]))


class Windows:
    def chunks(self, windows):
        ids = tokens(windows + 1)
        yield ids[:-1], ids[1:]


def test_a_look_leaves_everything_as_it_was():
    model = small("selection_transformer")
    model(tokens()).sum().backward()
    before = {name: (p.detach().clone(), p.grad.clone()) for name, p in model.named_parameters() if p.grad is not None}
    random = torch.get_rng_state()
    found = look_at_choices(model, Windows(), set_up("cpu", "float32", 1, False), 1.0, each=False)
    assert set(found) == {"selection", "swap_rises"} and set(found["swap_rises"]) == {"all"}
    assert model.training and torch.equal(torch.get_rng_state(), random)
    after = dict(model.named_parameters())
    assert all(torch.equal(after[name], p) and torch.equal(after[name].grad, g) for name, (p, g) in before.items())
    assert look_at_choices(small("gpt2"), Windows(), set_up("cpu", "float32", 1, False), 1.0, each=True) == {}
    assert tokens().shape[1] == CONTEXT


def test_the_last_look_is_read_from_the_record(tmp_path):
    record = tmp_path / "record.jsonl"
    looks = [{"selection": {"map": {"frequency": [1.0, 0.0]}}, "swap_rises": {"all": n}} for n in (1, 2)]
    told = [{"kind": "train"}, looks[0], {"kind": "validation"}, looks[1], {"kind": "validation", "selection": {}}]
    record.write_text("".join(json.dumps(row) + "\n" for row in told))
    assert last_look(record) == {"layers": looks[1]["selection"], "swap_rises": {"all": 2}}
    record.write_text('{"kind": "validation"}\n')
    assert last_look(record) is None


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


def test_a_run_tells_of_its_selections_at_every_validation(project, tmp_path):
    result, folder = trained(project, "selection_transformer", path=tmp_path / "run", steps=3)
    first, _, last = rows(folder, "validation")
    layers = set(first["selection"])
    assert {layer.split(".", 2)[2] for layer in layers} == {
        *("time_mixer.query_key_value", "time_mixer.out", "channel_mixer.up", "channel_mixer.down")
    }
    assert set(first["swap_rises"]) == {"all"} and set(last["swap_rises"]) == {"all", *layers}
    for row in (first, last):
        for told in row["selection"].values():
            assert set(told) == STATISTICS and set(told["cosine"]) == {"whole", "rows"}
            assert math.fsum(told["frequency"]) == pytest.approx(1)
            assert len(told["gradient_norm"]["computations"]) == 2 and told["gradient_norm"]["selector"] > 0
    assert result["selection"] == {"layers": last["selection"], "swap_rises": last["swap_rises"]}
    assert result["selection"] == json.loads((folder / "result.json").read_text())["selection"]


def test_gradients_are_told_as_they_were_before_clipping_and_of_the_whole_step(project, tmp_path):
    catalog = Catalog(project)
    spec = study_specs(catalog, "tiny", "tiny")["selection_transformer"]
    configuration = run_configuration(spec, make_plan(project, catalog, spec), 0)

    changes = {
        "training": spec.training.model_copy(update={"clip": 1e-3}),
        "scale": spec.scale.model_copy(update={"accumulation": 2}),
    }
    _, folder = trained(project, "selection_transformer", path=tmp_path / "run", steps=1, **changes)
    [row] = rows(folder, "validation")
    torch.manual_seed(initial_seed(0, "selection_transformer"))
    store = load(project, "tiny", "characters")
    model = build(configuration.model, vocabulary=store.manifest.vocabulary, context=spec.scale.context)
    inputs, targets = training_batches(store, spec.scale, spec.objective, spec.ahead, 0).batch_at(0)
    F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()).backward()
    layers = {name: part for name, part in model.named_modules() if isinstance(part, Selection)}
    expected = {
        name: [*(one.norm().item() for one in layer.weight.grad), layer.selector_weight.grad.norm().item()]
        for name, layer in layers.items()
    }
    told = {layer: statistics["gradient_norm"] for layer, statistics in row["selection"].items()}
    assert {name: [*one["computations"], one["selector"]] for name, one in told.items()} == {
        name: pytest.approx(norms, rel=1e-3) for name, norms in expected.items()
    }


def test_a_trial_is_not_looked_at(project, tmp_path):
    result, folder = trained(project, "selection_transformer", path=tmp_path / "trial", steps=2, purpose="trial")
    assert result["selection"] is None and "selection" not in rows(folder, "validation")[0]
