"""Optimizers and the rates they are given: hand-worked steps, the packages they should agree with, and exact resumes."""

from __future__ import annotations

import json
import math
import shutil
import warnings

import pytest
import torch
from torch import nn

from nnn_bench.config.errors import UserError
from nnn_bench.config.recipe import AdamW, Lion, PlateauSchedule, Schedule, SparseLion, Training
from nnn_bench.config.validation import validate
from nnn_bench.models.growth import Origin
from nnn_bench.training import optimizers
from nnn_bench.training.checkpoint import Progress, newest_checkpoint, save_checkpoint
from nnn_bench.training.optimizers import carry_state, make_optimizer, optimizer_tensors, restore_optimizer
from nnn_bench.training.plateau import PlateauRate
from nnn_bench.training.schedule import rate_share
from nnn_bench.training.sparse_lion import SparseLion as SparseLionOptimizer
from tests.test_training import losses, rows, same_bits, trained, weights
from tests.tiny_project import edit, make_project

SPARSE = SparseLion(name="sparse_lion")


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path)


def test_three_steps_of_sparse_lion_by_hand():
    weight = nn.Parameter(torch.tensor([1.0, 1.0, 1.0]))
    optimizer = SparseLionOptimizer([weight], 0.1, (0.5, 0.75), weight_decay=0.5)

    def step(*gradient):
        weight.grad = torch.tensor(gradient)
        optimizer.step()
        return weight.tolist(), optimizer.state[weight]["exp_avg"].tolist()

    # w (1 - 0.1 x 0.5) - 0.1 sign(c) where g is not zero; m of 0.75 m + 0.25 g there
    w, m = step(4.0, -4.0, 0.0)
    assert w == pytest.approx([0.85, 1.05, 1.0]) and m == pytest.approx([1.0, -1.0, 0.0])
    # c = 0.5 m + 0.5 g: the momentum outvotes a small gradient of the other sign; the first entry stands still
    w, m = step(0.0, 0.5, 2.0)
    assert w == pytest.approx([0.85, 1.05 * 0.95 + 0.1, 0.85]) and m == pytest.approx([1.0, -0.625, 0.5])
    # c = 0: only the decay is left
    w, m = step(-1.0, 0.0, -4.0)
    assert w == pytest.approx([0.85 * 0.95, 1.0975, 0.85 * 0.95 + 0.1]) and m == pytest.approx([0.5, -0.625, -0.625])


def networks(count=2):
    torch.manual_seed(0)
    first = nn.Sequential(nn.Embedding(6, 5), nn.Linear(5, 4))
    found = [first]
    for _ in range(count - 1):
        twin = nn.Sequential(nn.Embedding(6, 5), nn.Linear(5, 4))
        twin.load_state_dict(first.state_dict())
        found.append(twin)
    return found


def train(model, optimizer, steps, symbols=6):
    for step in range(steps):
        draw = torch.Generator().manual_seed(step)
        ids, targets = torch.randint(symbols, (64,), generator=draw), torch.randint(4, (64,), generator=draw)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(ids), targets).backward()
        optimizer.step()


def test_sparse_lion_is_lion_where_no_gradient_is_zero():
    ours, theirs = networks()
    for model, settings in ((ours, SPARSE), (theirs, Lion(name="lion"))):
        train(model, make_optimizer(model, settings, 1e-2), 20)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_what_has_no_gradient_keeps_weight_and_momentum_to_the_bit():
    sparse, dense = networks()
    optimizer, lion = make_optimizer(sparse, SPARSE, 1e-2), make_optimizer(dense, Lion(name="lion"), 1e-2)
    train(sparse, optimizer, 3)
    train(dense, lion, 3)
    table = sparse[0].weight
    before, momentum = table.detach().clone(), optimizer.state[table]["exp_avg"].clone()
    there = dense[0].weight.detach().clone()
    train(sparse, optimizer, 5, symbols=4)
    train(dense, lion, 5, symbols=4)
    assert torch.equal(table[4:], before[4:]) and torch.equal(optimizer.state[table]["exp_avg"][4:], momentum[4:])
    assert momentum[4:].abs().min() > 0
    assert (table[:4] != before[:4]).all()
    assert (dense[0].weight[4:] != there[4:]).all()  # Lion goes on along its momentum


def test_a_gradient_that_is_no_number_is_not_hidden():
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([math.nan, 0.0])
    SparseLionOptimizer([weight], 0.1, (0.9, 0.99)).step()
    assert weight[0].isnan() and weight[1] == 1


def test_a_restored_sparse_lion_goes_on_to_the_same_bits():
    whole, parts = networks()
    train(whole, kept := make_optimizer(whole, SPARSE, 1e-2), 5)
    state = {name: value.clone() for name, value in optimizer_tensors(whole, kept)}
    assert sorted(state) == ["0.weight|exp_avg", "1.bias|exp_avg", "1.weight|exp_avg"]
    parts.load_state_dict(whole.state_dict())
    fresh = make_optimizer(parts, SPARSE, 1e-2)
    restore_optimizer(parts, fresh, state)
    train(whole, kept, 5, symbols=5)
    train(parts, fresh, 5, symbols=5)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))


def test_momentum_is_carried_over_growth_like_a_gradient():
    old, new = networks()
    before = make_optimizer(old, SPARSE, 1e-2)
    train(old, before, 3)
    after = make_optimizer(new, SPARSE, 1e-2)
    origins = {"0.weight": Origin("0.weight", gradient_share=0.5)}
    carry_state(before, dict(old.named_parameters()), after, new, origins)
    assert torch.equal(after.state[new[0].weight]["exp_avg"], before.state[old[0].weight]["exp_avg"] * 0.5)
    assert new[1].weight not in after.state


@pytest.mark.parametrize("settings", [AdamW(), Lion(name="lion"), SPARSE])
def test_vectors_do_not_decay(settings):
    groups = make_optimizer(networks(1)[0], settings, 1e-2).param_groups
    assert [(group["weight_decay"], [p.dim() for p in group["params"]]) for group in groups] == [
        (0.1, [2, 2]),
        (0.0, [1]),
    ]
    assert optimizers._POWERS["exp_avg"] == 1


def told(values, **settings):
    """The share left after each validation loss of `values`."""
    schedule, rate, shares = PlateauSchedule(name="plateau", **settings), PlateauRate(), []
    for value in values:
        rate.saw(value, schedule)
        shares.append(rate.share)
    return shares


def test_the_rate_falls_after_so_many_validations_without_a_gain():
    assert told([3.0, 2.0, 2.0, 2.5, 1.9, 2.0, 1.9], factor=0.5, patience=2) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    # a gain below 10 % is none, and is measured against the best loss, not the last
    assert told([1.0, 0.95, 0.89, 0.85], factor=0.5, patience=1, threshold=0.1) == [1, 0.5, 0.5, 0.25]
    assert told([1.0] * 5, factor=0.1, patience=1, floor=0.05) == pytest.approx([1, 0.1, 0.05, 0.05, 0.05])


def test_the_rate_falls_when_that_of_torch_does_with_a_patience_one_smaller():
    draw = torch.Generator().manual_seed(0)
    values = (2 + 0.2 * torch.randn(60, generator=draw) * 0.9 ** torch.arange(60)).tolist()
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    options = {"factor": 0.7, "threshold": 1e-3, "min_lr": 0.01}
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2, eps=0.0, **options)
    theirs = []
    for value in values:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler.step(value)
        theirs.append(optimizer.param_groups[0]["lr"])
    assert told(values, factor=0.7, threshold=1e-3, floor=0.01, patience=3) == pytest.approx(theirs)
    assert theirs[-1] == 0.01


def test_a_checkpoint_keeps_how_long_the_rate_has_waited(tmp_path):
    schedule = PlateauSchedule(name="plateau", factor=0.5, patience=2)
    model, rate = networks(1)[0], PlateauRate()
    for loss in (2.0, 2.1, 2.2, 1.1 + 0.7, 1.9):
        rate.saw(loss, schedule)
    progress = Progress(step=5, rate=rate)
    save_checkpoint(tmp_path, "f", model, make_optimizer(model, SPARSE, 1e-2), progress)
    assert newest_checkpoint(tmp_path, "f").progress == progress
    assert rate == PlateauRate(share=0.5, best=1.1 + 0.7, waited=1)
    # one from before there was such a state has the whole rate
    file = tmp_path / "step-00000005" / "state.json"
    state = json.loads(file.read_text())
    del state["rate"]
    file.write_text(json.dumps(state))
    assert newest_checkpoint(tmp_path, "f").progress == Progress(step=5)


def test_a_plateau_schedule_alone_is_a_warm_up_and_then_the_peak():
    schedule = PlateauSchedule(name="plateau", warmup=0.1)
    assert [rate_share(schedule, step, 50) for step in range(7)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1])


def test_a_run_lowers_its_rate_and_resumes_to_the_same_bits(project, tmp_path):
    edit(project, "suites/tiny.yaml", "tokens: 9600", "tokens: 2880")
    # no loss halves between validations: after those of steps 10 (the first), 20 and 30 the wait is 0, 1 and 1 again
    schedule = PlateauSchedule(name="plateau", warmup=0.1, factor=0.5, patience=1, threshold=0.5)
    changes = {"training": Training(optimizer=SPARSE, schedule=schedule), "learning_rate": 3e-4}
    whole, folder = trained(project, path=tmp_path / "whole", **changes)
    assert whole["test"]["loss"] < math.log(28)
    rates = [row["learning_rate"] for row in rows(folder)]
    assert rates == pytest.approx([1e-4, 2e-4, *[3e-4] * 18, *[1.5e-4] * 10])
    _, parts = trained(project, checkpoint_seconds=0.0, **changes)
    steps = sorted((parts / "checkpoints").glob("step-*"))
    shutil.rmtree(steps[-1])
    (parts / "result.json").unlink()
    resumed, _ = trained(project, **changes)
    assert same_bits(weights(folder), weights(parts)) and losses(folder) == losses(parts)
    assert [row["learning_rate"] for row in rows(parts)] == rates and resumed["test"] == whole["test"]


RECIPES = [
    ({"schedule": {"name": "cosine", "patience": 2}}, "schedule.patience: unknown key"),
    ({"schedule": {"name": "plateau", "decay": 0.2}}, "schedule.decay: unknown key"),
    ({"schedule": {"name": "plateau", "factr": 0.2}}, "schedule.factr: unknown key; did you mean 'factor'?"),
    ({"schedule": {"name": "plateu"}}, "schedule.name: unknown 'plateu'; did you mean 'plateau'?"),
    ({"schedule": {"name": "plateau", "patience": 0}}, "schedule.patience: "),
    ({"schedule": {"name": "plateau", "factor": 1.0}}, "schedule.factor: "),
    ({"optimizer": {"name": "sparse_lyon"}}, "optimizer.name: unknown 'sparse_lyon'; did you mean 'sparse_lion'?"),
    ({"optimizer": {"name": "sparse_lion", "epsilon": 1e-8}}, "optimizer.epsilon: unknown key"),
]


@pytest.mark.parametrize(("recipe", "says"), RECIPES, ids=[says for _, says in RECIPES])
def test_a_wrong_recipe_is_one_line(recipe, says):
    with pytest.raises(UserError) as found:
        validate(Training, recipe, file="study.yaml")
    assert str(found.value).startswith(f"study.yaml: {says}")


def test_recipes_are_what_they_say():
    plain = validate(Training, {"schedule": {"name": "cosine", "warmup": 0.05, "floor": 0.1}}, file="f")
    assert plain == Training() and plain.schedule == Schedule()
    waiting = {"optimizer": {"name": "sparse_lion"}, "schedule": {"name": "plateau", "patience": 3}}
    found = validate(Training, waiting, file="f")
    assert found.optimizer == SPARSE and found.schedule == PlateauSchedule(name="plateau", patience=3)
    assert Training(**found.model_dump()) == found
