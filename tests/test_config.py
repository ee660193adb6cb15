"""What a user may write, and how a mistake is answered: file, key, and the nearest known name."""

from __future__ import annotations

import shutil

import pytest

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.closure import component_module
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import jobs, study_specs
from nnn_bench.config.paths import Project
from nnn_bench.config.validation import read_yaml


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
    ("studies/language.yaml", "name: adamw", "name: adam", "study", "language", "training.optimizer"),
    ("studies/language.yaml", "baseline: gpt2", "baseline: gpt3", "study", "language", "the baseline 'gpt3' must be one of"),
    ("suites/smoke.yaml", "seeds: 2", "seeds: 0", "suite", "smoke", "seeds: Input should be greater than or equal to 1"),
    ("suites/smoke.yaml", "seeds: 2", "seeds: 2\nseeds: 3", "suite", "smoke", "key 'seeds' is given twice"),
    ("suites/smoke.yaml", "  context: 64", "  contxt: 64", "suite", "smoke", "language.contxt: unknown key; did you mean 'context'?"),
    ("suites/smoke.yaml", "seeds: 2", "seeds: !!python/object/apply:os.system [true]", "suite", "smoke", "could not determine"),
    ("suites/smoke.yaml", "seeds: 2", "a: &x 1\nseeds: *x", "suite", "smoke", "aliases (*x) are not allowed"),
    ("suites/smoke.yaml", "seeds: 2", "seeds: [", "suite", "smoke", "line "),
    ("datasets/shakespeare.yaml", "client: pip", "client: curl", "dataset", "shakespeare", "source.package.client: Input should be 'pip'"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "kind", "name", "says"), CASES)
def test_mistakes_name_the_file_the_key_and_the_mend(project, file, old, new, kind, name, says):
    catalog = edit(project, file, old, new)
    message = refusal(lambda: getattr(catalog, kind)(name))
    assert message.startswith(f"config/{file}: ")
    assert says in message


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


def test_a_context_longer_than_the_gap_between_splits_is_refused(project):
    catalog = edit(project, "suites/smoke.yaml", "context: 64", "context: 4096")
    message = refusal(lambda: study_specs(catalog, "smoke", "language"))
    assert message.startswith("config/suites/smoke.yaml: language.context: is 4096, longer than the gap of 2048")


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
    variants = catalog.study("language").variants
    assert sorted(found) == sorted((variant, seed) for variant in variants for seed in range(5))
    assert {len(job.seeds) for job in jobs(catalog, "smoke")} == {2, 1}
