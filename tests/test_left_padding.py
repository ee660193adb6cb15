"""Short texts at random places of the window: what is hidden, what is still predicted, and that training does it."""

from __future__ import annotations

import numpy as np
import torch

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.expansion import study_specs
from nnn_bench.data.batches import MASKED, TrainingBatches
from nnn_bench.data.store import load
from nnn_bench.training.job import make_plan, run_configuration
from nnn_bench.training.loop import PADDING
from nnn_bench.training.trainer import train_run
from tests.models import tokens, with_options
from tests.tiny_project import edit, make_project

T, ROWS = 8, 5


def batches(seed=0):
    return TrainingBatches(np.arange(400, dtype=np.uint16), T, ROWS, seed)


def padded(made, step):
    return made.left_padded(step, *made.batch_at(step), PADDING, MASKED)


def test_the_first_positions_of_each_row_hold_no_text_and_their_targets_do_not_count():
    made = batches()
    lengths = []
    for step in range(200):
        plain, (inputs, targets) = made.batch_at(step), padded(made, step)
        hidden = inputs == PADDING
        assert torch.equal(hidden, targets == MASKED)
        assert torch.equal(hidden, hidden.cummin(dim=1).values)  # once there is text, it goes on to the end
        assert not hidden[:, -1].any()
        assert torch.equal(inputs[~hidden], plain[0][~hidden]) and torch.equal(targets[~hidden], plain[1][~hidden])
        lengths.append(hidden.sum(dim=1))
    counts = torch.bincount(torch.cat(lengths), minlength=T)
    assert len(counts) == T and counts.min() > 0.7 * 200 * ROWS / T  # p is uniform on 0 .. T - 1


def test_what_is_hidden_depends_on_seed_and_step_alone():
    one, again, other = batches(), batches(), batches(seed=1)
    later = padded(one, 3)
    assert all(torch.equal(a, b) for a, b in zip(padded(again, 3), later, strict=True))
    assert not torch.equal(padded(one, 4)[0] == PADDING, later[0] == PADDING)
    assert not torch.equal(padded(other, 3)[0] == PADDING, later[0] == PADDING)


def test_padding_is_a_zero_vector_position_included_and_text_is_as_it_was():
    model = with_options("gpt2", "topology", random_left_padding=True)
    ids = tokens()
    plain = model.embed(ids)
    hidden = ids.clone()
    hidden[:, :5] = PADDING
    x = model.embed(hidden)
    assert (x[:, :5] == 0).all() and torch.equal(x[:, 5:], plain[:, 5:])


def test_a_run_trains_with_it_and_its_receipt_says_what_was_predicted(tmp_path):
    plain, padded = trained(tmp_path / "plain", False), trained(tmp_path / "padded", True)
    assert plain["status"] == padded["status"] == "ok" and plain["test"]["loss"] != padded["test"]["loss"] < 2.7
    assert (plain["receipt"]["predicted_share"], padded["receipt"]["predicted_share"]) == (1.0, 17 / 32)


def trained(folder, padding):
    folder.mkdir()
    project = make_project(folder)
    if padding:
        edit(project, "variants/gpt2.yaml", "    layers: 2", "    layers: 2\n    random_left_padding: true")
    catalog = Catalog(project)
    spec = study_specs(catalog, "tiny", "tiny")["gpt2"]
    plan = make_plan(project, catalog, spec)
    return train_run(
        run_configuration(spec, plan, 0), load(project, "tiny", "characters"), folder / "run", checkpoint_seconds=60.0
    )
