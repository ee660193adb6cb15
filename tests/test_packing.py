"""Packed networks: the same bits, a sixteenth of the ternary bytes, and no damaged file taken for a network."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import study_specs
from nnn_bench.measure.ternary import model_occupancy, occupancy
from nnn_bench.models.build import build
from nnn_bench.models.flops import Flops
from nnn_bench.models.packing import PackedTernary, pack, pack_ternary_maps, sound, unpack
from nnn_bench.models.projections.ternary import Ternary, ternarised
from nnn_bench.training.job import train_seeds
from nnn_bench.training.packing import Sizes, load_packed, pack_run, read_packed, write_packed
from nnn_bench.training.trained import load_trained
from tests.models import shake, small, stepped, tokens
from tests.test_cli import typed
from tests.tiny_project import edit, make_project

TERNARY = ["matmul_free", "matmul_free_complete", "matmul_free_paper_gate", "node_cascade_matmul_free"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project with one finished run of a ternary network and one of a network without, and the keys of the two."""
    project = make_project(tmp_path_factory.mktemp("packing"))
    edit(project, "suites/tiny.yaml", "tokens: 9600", "tokens: 960")
    edit(project, "suites/tiny.yaml", "evaluations: 3", "evaluations: 1")
    catalog = Catalog(project)
    keys = []
    for variant in ("matmul_free", "gpt2"):
        spec = study_specs(catalog, "tiny", "tiny")[variant]
        train_seeds(project, catalog, spec, [0], 1000)
        keys.append(f"{spec.key}/s0")
    return project, *keys


@pytest.fixture
def packed(finished, tmp_path):
    """A packed file of its own for each test."""
    project, key, _ = finished
    path = tmp_path / "packed.safetensors"
    write_packed(pack_run(project, project.run(key)), path)
    return path


def test_a_hand_packed_byte():
    # from the lowest bits up: -1 is 00, +1 is 10, 0 is 01, 0 is 01; the fifth opens a new byte, filled up with zeros
    bytes_ = pack(torch.tensor([[-1, 1, 0, 0, 1]]))
    assert bytes_.tolist() == [0b01_01_10_00, 0b01_01_01_10]
    assert unpack(bytes_, torch.Size((1, 5))).tolist() == [[-1, 1, 0, 0, 1]]


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (8, 4), (5, 13)])
def test_unpacking_undoes_packing_at_two_bits_a_weight(shape):
    codes = torch.randint(-1, 2, shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(unpack(pack(codes), codes.shape).long(), codes)
    assert pack(codes).numel() == -(-codes.numel() // 4)


def test_a_pair_of_bits_that_stands_for_nothing_is_seen():
    assert sound(torch.tensor([0b10_01_00_01], dtype=torch.uint8))
    assert not sound(torch.tensor([0b10_11_00_01], dtype=torch.uint8))


@pytest.mark.parametrize("name", TERNARY)
def test_a_packed_network_says_the_same_bits_as_the_unpacked_one(name):
    model = small(name)
    shake(model)
    lean = copy.deepcopy(model)
    assert pack_ternary_maps(lean) == [where for where, part in model.named_modules() if isinstance(part, Ternary)]
    assert not any(isinstance(part, Ternary) for part in lean.modules())
    with torch.no_grad():
        assert torch.equal(lean(tokens()), model(tokens()))
        assert torch.equal(stepped(lean, tokens()), stepped(model, tokens()))


def test_a_packed_map_multiplies_by_the_values_the_trained_one_rounds_to():
    model = small("matmul_free")
    ternary = model.blocks[1].time_mixer.out
    lean = PackedTernary(ternary)
    assert torch.equal(lean.codes() * lean.scale, ternarised(ternary.weight))
    assert lean.flops().matrix == ternary.flops().matrix and lean.flops().other == ternary.flops().other
    # forward and the gradient of what comes in; none of the weights
    assert lean.flops().with_backward.matrix == 2 * ternary.flops().matrix
    assert [name for name, _ in lean.named_parameters()] == ["norm.weight"]


def test_a_map_that_stands_in_two_places_stays_one():
    model = small("matmul_free")
    model.blocks[1].channel_mixer = model.blocks[0].channel_mixer
    pack_ternary_maps(model)
    assert model.blocks[1].channel_mixer.down is model.blocks[0].channel_mixer.down
    twins = torch.nn.ModuleDict({"a": small("matmul_free").blocks[0].time_mixer.out})
    twins["b"] = twins["a"]
    assert pack_ternary_maps(twins) == ["a", "b"] and twins["a"] is twins["b"]


def test_a_network_without_ternary_maps_is_left_alone():
    model = small("gpt2")
    assert pack_ternary_maps(model) == [] and model_occupancy(model) == {}


def test_occupancy_of_a_hand_made_matrix():
    found = occupancy(torch.tensor([[-1, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, -1]]))
    assert found == {"minus": 2 / 12, "zero": 7 / 12, "plus": 3 / 12, "weights": 12, "entropy": pytest.approx(1.384432)}
    assert occupancy(torch.tensor([-1, 0, 1]))["entropy"] == pytest.approx(1.584963)  # log2 3
    assert occupancy(torch.zeros(4))["entropy"] == 0.0


def test_a_network_that_diverged_has_weights_without_any_code():
    model = small("matmul_free")
    model.blocks[0].time_mixer.out.weight.data[0, 0] = float("nan")
    found = model_occupancy(model)
    lost = found["matrices"]["blocks.0.time_mixer.out"]
    assert (lost["minus"], lost["zero"], lost["plus"], lost["entropy"]) == (0, 0, 0, 0) and lost["weights"] == 400
    assert sum(found["all"][value] for value in ("minus", "zero", "plus")) == pytest.approx(
        1 - 400 / found["all"]["weights"]
    )


def test_occupancy_of_a_network_is_that_of_its_matrices_weighted_by_size():
    model = small("matmul_free_complete")
    found = model_occupancy(model)
    maps = {name: part for name, part in model.named_modules() if isinstance(part, Ternary)}
    assert list(found["matrices"]) == list(maps) and "head" in maps
    for name, part in maps.items():
        scaled = part.weight / part.weight.abs().mean()
        assert found["matrices"][name]["zero"] == pytest.approx((scaled.abs() < 0.5).float().mean().item())
        assert found["matrices"][name]["plus"] == pytest.approx((scaled > 0.5).float().mean().item())
    weights = sum(part.weight.numel() for part in maps.values())
    assert found["all"]["weights"] == weights
    assert sum(found["all"][value] for value in ("minus", "zero", "plus")) == pytest.approx(1)
    zeros = sum(one["zero"] * one["weights"] for one in found["matrices"].values())
    assert found["all"]["zero"] == pytest.approx(zeros / weights)
    lean = copy.deepcopy(model)
    pack_ternary_maps(lean)
    assert model_occupancy(lean) == found


def test_sizes_count_every_byte():
    model = small("matmul_free")
    before = sum(p.numel() * 4 for p in model.parameters())
    weights = [part.weight.numel() for part in model.modules() if isinstance(part, Ternary)]
    pack_ternary_maps(model)
    sizes = Sizes.of(model)
    assert sizes.model_before == before
    assert sizes.weights == sum(weights) and sizes.ternary_before == 4 * sum(weights)
    assert sizes.ternary_packed == sum(-(-count // 4) + 4 for count in weights)
    assert sizes.model_packed == before - 4 * sum(weights) + sizes.ternary_packed
    assert 2 < sizes.bits_per_weight < 2.1


def test_a_run_comes_back_from_its_packed_file_bit_for_bit(finished, packed):
    project, key, _ = finished
    state = torch.get_rng_state()
    found = read_packed(packed)
    assert torch.equal(torch.get_rng_state(), state)
    trained = load_trained(project.run(key), found.description.vocabulary).eval()
    ids = torch.randint(found.description.vocabulary, (4, 16), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert torch.equal(load_packed(packed)(ids), trained(ids))
        assert torch.equal(stepped(found.model, ids), stepped(trained, ids))
    assert not found.model.training
    config = json.loads((project.run(key) / "config.json").read_text())
    told = found.description
    assert (told.run_key, told.fingerprint, told.context) == (key, config["fingerprint"], 16)
    assert told.tokenizer is not None and len(told.tokenizer["characters"]) + 1 == told.vocabulary
    tensors = load_file(packed)
    assert not any(name.endswith("time_mixer.out.weight") for name in tensors)
    assert tensors["blocks.0.time_mixer.out.packed"].dtype == torch.uint8


def test_a_network_that_grew_comes_back_in_its_last_stage(finished, tmp_path):
    project, key, _ = finished
    tree = {
        "topology": {
            "kind": "growing",
            "stages": [1, 2],
            "form": "gate",
            "growth": {"at": [0.5]},
            "width": 8,
            "mixer": {"kind": "mlgru", "projection": "ternary"},
            "channel_mixer": {"kind": "glu", "hidden": 8, "projection": "ternary"},
        }
    }
    model = build(tree, vocabulary=5, context=6)
    model.grow()
    shake(model)
    wanted = model.eval()(tokens(2, 6) % 5)
    pack_ternary_maps(model)
    template = pack_run(project, project.run(key))
    description = template.description.model_copy(update={"model": tree, "stage": 1, "vocabulary": 5, "context": 6})
    write_packed(type(template)(model, description), tmp_path / "grown")
    found = load_packed(tmp_path / "grown")
    assert found.stage == 1 and torch.equal(found(tokens(2, 6) % 5), wanted)


DAMAGES = {
    "cut": lambda content: content[:-100],
    "empty": lambda content: b"",
    "header cut": lambda content: content[:50],
    "text": lambda content: b"once upon a time " * 100,
    "a weight": lambda content: content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
    "a word": lambda content: content.replace(b"matmul_free", b"matmul_frei", 1),
    "a width": lambda content: content.replace(rb"\"output_gate\":\"code\"", rb"\"output_gate\":\"cod3\"", 1),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_one_line_and_exit_code_2(finished, packed, monkeypatch, capsys, damage):
    monkeypatch.chdir(finished[0].root)
    before = packed.read_bytes()
    packed.write_bytes(DAMAGES[damage](before))
    assert packed.read_bytes() != before
    code, out, err = typed(monkeypatch, capsys, "pack", str(packed))
    assert code == 2 and out == "" and err.count("\n") == 1
    foreign = damage in ("empty", "header cut", "text")
    assert ("is no packed network" if foreign else "is damaged; pack its run again") in err


def test_a_file_of_somebody_else_is_refused(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="is no packed network"):
        load_packed(tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="cannot be read"):
        load_packed(tmp_path / "absent.safetensors")


def test_a_file_of_other_tensors_than_its_network_has_is_refused(finished, tmp_path):
    project, key, _ = finished
    found = pack_run(project, project.run(key))
    found.model.register_buffer("extra", torch.zeros(1))
    write_packed(found, tmp_path / "extra")
    with pytest.raises(UserError, match="other tensors than its network has"):
        load_packed(tmp_path / "extra")


def test_pack_writes_beside_the_results_and_says_what_it_saves(finished, monkeypatch, capsys):
    project, key, _ = finished
    monkeypatch.chdir(project.root)
    code, out, _ = typed(monkeypatch, capsys, "pack", key)
    written = project.results / "packed" / f"{key}.safetensors"
    assert code == 0 and written.is_file()
    sizes = Sizes.of(load_packed(written))
    lines = [line.split() for line in out.splitlines()]
    assert ["ternary", "matrices", f"{sizes.ternary_before:,}", f"{sizes.ternary_packed:,}"] in [r[:4] for r in lines]
    assert f"{sizes.bits_per_weight:.2f} bits each as packed" in out and "log2 3 = 1.58" in out
    assert lines[-1][0] == "all" and lines[-1][1] == f"{sizes.weights:,}"
    # its folder does as well as its key, and a packed file is shown, not packed again
    elsewhere = str(project.root / "small")
    code, again, _ = typed(monkeypatch, capsys, "pack", f"results/runs/{key}", "--output", elsewhere, "--json")
    assert code == 0 and json.loads(again)["bytes"]["weights"] == sizes.weights
    assert (project.root / "small").read_bytes() == written.read_bytes()
    code, shown, _ = typed(monkeypatch, capsys, "pack", elsewhere)
    assert code == 0 and shown.splitlines()[1:] == out.splitlines()[1:]


def test_what_cannot_be_packed_is_one_line_and_exit_code_2(finished, monkeypatch, capsys, tmp_path):
    project, key, dense = finished
    monkeypatch.chdir(project.root)
    result = project.run(key) / "result.json"
    unfinished = project.results / "runs" / "tiny" / "half" / "s0"
    unfinished.mkdir(parents=True)
    (unfinished / "config.json").write_text((project.run(key) / "config.json").read_text())
    assert result.is_file()
    (project.root / "empty").mkdir()
    (project.root / "empty" / "config.json").write_text("{}")
    file = tmp_path / "file"
    file.write_text("")
    cases = [
        ([dense], "gpt2 has no ternary maps, so there is nothing to pack"),
        ([key.replace("matmul", "matmal")], f"did you mean '{key}'?"),
        (["tiny/half/s0"], "holds no finished run; train it to its end first"),
        (["empty"], "holds no run; give a run's key"),
        ([key, "--output", str(tmp_path)], "is a folder; name a file to write"),
        ([str(file), "--output", "other"], "--output: "),
    ]
    for words, says in cases:
        code, out, err = typed(monkeypatch, capsys, "pack", *words)
        assert code == 2 and out == "" and err.startswith("nnn-bench: error: ") and err.count("\n") == 1
        assert says in err


def test_no_flops_are_lost_in_packing():
    model = small("matmul_free")
    before = model.window_flops(16)
    pack_ternary_maps(model)
    after = model.window_flops(16)
    assert Flops(after.matrix, after.other) == Flops(before.matrix, before.other)
