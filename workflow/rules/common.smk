"""What there is to do, read from `config/`: suites, their studies, and the training jobs they need."""

import shlex
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

from snakemake.exceptions import WorkflowError

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.closure import closure_hash, component_modules, run_hash
from nnn_bench.config.datasets import token_files
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import audit_key, jobs, measured_key, study_specs, suite_specs
from nnn_bench.config.files import digest
from nnn_bench.config.paths import Project


# Jobs find the `nnn-bench` that stands beside the Python which runs Snakemake, activated or not.
shell.prefix(f'PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"; ')

CATALOG = Catalog(Project(Path(workflow.basedir)))

try:
    SUITES = [config["suite"]] if "suite" in config else CATALOG.names("suites")
    STUDIES = {suite: list(CATALOG.suite(suite).studies) for suite in SUITES}
    JOBS = {job.key: (suite, job) for suite in reversed(SUITES) for job in jobs(CATALOG, suite)}
    SPECS = {
        (suite, study, variant): spec
        for suite in SUITES
        for study, specs in suite_specs(CATALOG, suite).items()
        for variant, spec in specs.items()
    }
except UserError as error:
    raise WorkflowError(f"nnn-bench: error: {error}")

TRAINED = {spec.key: place for place, spec in reversed(SPECS.items())}
FRESH = {audit_key(spec, "untrained"): place for place, spec in reversed(SPECS.items())}
SEARCHED = {spec.searched.key: place for place, spec in reversed(SPECS.items()) if spec.search}
_GROUP = {key: SPECS[place].group for key, place in SEARCHED.items()}
GROUPS = {key: [other for other in _GROUP if _GROUP[other] == mine] for key, mine in _GROUP.items()}
BASELINES = {(suite, study): SPECS[suite, study, CATALOG.study(study).baseline] for suite in SUITES for study in STUDIES[suite]}
MEASURED = {
    measured_key(spec, BASELINES[place[:2]]): place
    for place, spec in reversed(SPECS.items())
    if CATALOG.suite(place[0]).measure and spec.variant_config.knobs
}
LADDERS = {spec.ladder_key: place for place, spec in SPECS.items()}
MANIFESTS = {f"{spec.dataset}.{spec.tokenizer}": spec for spec in SPECS.values()}
HAS_GPU = shutil.which("nvidia-smi") is not None

# What changes the bits of a run beside settings and source, as far as it is known without importing torch.
MACHINE = [sys.version.split()[0], HAS_GPU, *(version(name) for name in ("torch", "numpy", "numba", "lion-pytorch"))]


wildcard_constraints:
    suite=r"[a-z0-9_]+",
    study=r"[a-z0-9_]+",
    dataset=r"[a-z0-9_]+",
    tokenizer=r"[a-z0-9_]+",
    ladder=r"[a-z0-9_.]+-[0-9a-f]{10}",
    job=r"[a-z0-9_]+/[a-z0-9_]+-[0-9a-f]{10}\.s[0-9_]+",
    spec=r"[a-z0-9_]+/[a-z0-9_]+-[0-9a-f]{10}",
    pair=r"[a-z0-9_]+/[a-z0-9_]+-[0-9a-f]{10}-[0-9a-f]{10}",


def finished(suite):
    """What a suite ends with: its report, and its studies shown in MLflow."""
    return [f"reports/{suite}/index.html", *(f"results/tracking/{suite}/{study}.published" for study in STUDIES[suite])]


def data_settings(dataset, tokenizer):
    """What configures a token store: its data set and its tokenizer."""
    return CATALOG.dataset(dataset), CATALOG.tokenization(tokenizer).tokens


def data_modules(dataset, tokenizer):
    """The reader and the tokenizer that a token store is made with."""
    data, tokens = data_settings(dataset, tokenizer)
    return f"nnn_bench.data.readers.{data.reader_name}", f"nnn_bench.data.tokenizers.{tokens.kind}"


def local_files(dataset, tokenizer):
    """The user's own files a token store is made from, as a job's input; none where the content comes from elsewhere."""
    data, tokens = data_settings(dataset, tokenizer)
    named = [Path(path) for way in data.ways for path in user_files(way)] + [Path(path) for path in token_files(tokens)]
    return [str(path) for path in named if path.is_file()]


def user_files(way):
    """What the user keeps of a source; a folder is its files, since its own time tells nothing of them."""
    if way.kind == "file":
        return [way.path]
    if way.kind == "folder":
        return sorted(Path(way.path).glob(way.files)) if Path(way.path).is_dir() else []
    if way.kind == "hub" and way.repository.startswith((".", "/")):
        return sorted(Path(way.repository).rglob("*"))
    return []


def manifest_of(spec):
    return f".cache/tokens/{spec.dataset}.{spec.tokenizer}/manifest.json"


def place_of(key):
    """Suite, study, variant and seeds of a training job, as `nnn-bench train` takes them."""
    suite, job = JOBS[key]
    study = next(s for s in STUDIES[suite] if (suite, s, job.spec.variant) in SPECS and SPECS[suite, s, job.spec.variant].key == job.spec.key)
    return f"{suite} {study} {job.spec.variant} --seeds {','.join(str(seed) for seed in job.seeds)}"


def trained_for(suite, study):
    """The training outputs a study of a suite compares."""
    keys = {SPECS[suite, study, variant].key for variant in CATALOG.study(study).variants}
    return [f"results/trained/{job.key}.json" for job in jobs(CATALOG, suite) if job.spec.key in keys]


def trained_of(place):
    """The training outputs of one spec: all seeds of the suite it is asked for in."""
    return [f"results/trained/{job.key}.json" for job in jobs(CATALOG, place[0]) if job.spec.key == SPECS[place].key]


def audits_of(specs):
    """Both audits of each spec."""
    return [f"results/audits/{audit_key(spec, gate)}.{gate}.json" for spec in specs for gate in ("untrained", "trained")]


def specs_of(suite, study):
    return [SPECS[suite, study, variant] for variant in CATALOG.study(study).variants]


def audits_for(suite, study):
    """The audits a comparison reads before it ranks."""
    return audits_of(specs_of(suite, study))


def rates_of(specs):
    """The ledgers that the rates of some specs come from; none where they train at the rates they declare."""
    return sorted({f"results/rates/{spec.searched.key}.json" for spec in specs if spec.search})


def measured_for(suite, study):
    """What the speed lane measures for a study of a suite that asks for it."""
    pairs = [measured_key(spec, BASELINES[suite, study]) for spec in specs_of(suite, study)]
    return [f"results/measured/{pair}.json" for pair in pairs if pair in MEASURED]


def asked_by(spec):
    """What must be known before a run of this spec can be planned: its rate; step times, where its budget is one of time."""
    pairs = [measured_key(one, spec.anchor) for one in (spec, spec.anchor)] if spec.budget == "time" else []
    return rates_of([spec]) + [f"results/measured/{pair}.json" for pair in pairs]


def audit_hash(tree):
    """All that auditing a model tree executes."""
    return closure_hash("nnn_bench.training.gates", *component_modules(tree))


def search_hash(tree):
    """All that a trial of a model tree's learning rate executes."""
    return closure_hash("nnn_bench.training.search", *component_modules(tree))


def measuring_hash(*trees):
    """All that measuring a model tree beside another executes."""
    return closure_hash("nnn_bench.speed.measurement", *(name for tree in trees for name in component_modules(tree)))


def ladder_for(suite, study):
    return f"results/ladders/{BASELINES[suite, study].ladder_key}.json"
