"""Content made from a seed: the answers are right, guessing pays what is said, and every machine makes the same bytes."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import string
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from nnn_bench.config.datasets import Dataset, SyntheticSource
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.data import content
from nnn_bench.data.delivery.fetch import fetch
from nnn_bench.data.labelled.idx import read_idx
from nnn_bench.data.sources.synthetic import deliver
from nnn_bench.data.tasks import questions, tones
from nnn_bench.data.tasks.drawing import Drawn

CONFIG = Path(__file__).resolve().parents[1] / "config" / "datasets"


def source(task: str, examples: int, **settings) -> SyntheticSource:
    return SyntheticSource.model_validate({"kind": "synthetic", "task": task, "examples": examples, **settings})


def files(project: Path, settings: SyntheticSource) -> list[bytes]:
    return [file.path.read_bytes() for file in deliver(settings, "made", Project(project)).files]


def asked(project: Path, settings: SyntheticSource) -> list[dict[str, str]]:
    (lines,) = files(project, settings)
    return [json.loads(line) for line in lines.decode().splitlines()]


def share_is(right: int, of: int, chance: float) -> bool:
    """Within four standard deviations of a binomial."""
    return abs(right - of * chance) < 4 * math.sqrt(of * chance * (1 - chance))


# what is drawn


def test_the_generator_is_the_published_one():
    """Words of PCG64 (XSL-RR 128/64) by its definition, from the state that numpy gives to this seed."""
    state = np.random.PCG64(3).state["state"]
    at, step, words = state["state"], state["inc"], []
    for _ in range(5):
        at = (at * 0x2360ED051FC65DA44385DF649FCCF645 + step) % (1 << 128)
        mixed, turn = ((at >> 64) ^ at) % (1 << 64), at >> 122
        words.append((mixed >> turn | mixed << (64 - turn)) % (1 << 64))
    assert Drawn(3).words(5).tolist() == words


def test_orders_are_permutations_each_as_likely():
    counted = Counter(map(tuple, Drawn(0).orders(6000, 3).tolist()))
    assert len(counted) == 6
    assert all(share_is(count, 6000, 1 / 6) for count in counted.values())


# random_tokens


@pytest.mark.parametrize("symbols", [2, 26, 52])
def test_random_tokens_are_even_letters_that_tell_nothing_of_the_next(tmp_path, symbols):
    (text,) = files(tmp_path, source("random_tokens", 300_000, symbols=symbols))
    assert len(text) == 300_000
    allowed = string.ascii_letters[:symbols].encode()
    counted = Counter(text)
    assert set(counted) == set(allowed)
    assert all(share_is(count, 300_000, 1 / symbols) for count in counted.values())
    expected = 300_000 / symbols**2
    codes = np.frombuffer(text, np.uint8).astype(int)
    pairs = np.bincount(codes[:-1] * 256 + codes[1:])
    spread = ((pairs[pairs > 0] - expected) ** 2 / expected).sum()
    freedom = symbols**2 - 1
    assert abs(spread - freedom) < 5 * math.sqrt(2 * freedom)


# associative_recall


@pytest.mark.parametrize(("pairs", "symbols"), [(1, 2), (8, 26), (20, 52)])
def test_the_value_of_the_key_is_the_answer(tmp_path, pairs, symbols):
    examples = 10 if pairs == 1 else 2000
    told = asked(tmp_path, source("associative_recall", examples, pairs=pairs, symbols=symbols))
    assert len(told) == examples
    first, common = 0, 0
    for one in told:
        shown, _, key = one["query"].partition("?")
        table = {shown[place]: shown[place + 1] for place in range(0, len(shown), 2)}
        assert len(table) == len(set(table.values())) == pairs
        assert set(table) <= set(string.ascii_letters[:symbols])
        assert not set(table.values()) & set(string.ascii_letters + "?")
        assert one["target"] == table[key]
        first += one["target"] == shown[1]
        common += one["target"] == "0"
    if pairs > 1:
        assert share_is(first, examples, 1 / pairs)
        assert share_is(common, examples, 1 / max(10, pairs))


# k_hop


@pytest.mark.parametrize(("pairs", "hops", "symbols"), [(8, 2, 26), (4, 1, 8), (12, 6, 12), (8, 4, 52)])
def test_following_the_links_gives_the_answer(tmp_path, pairs, hops, symbols):
    told = asked(tmp_path, source("k_hop", 2000, pairs=pairs, hops=hops, symbols=symbols))
    guessed, closer = 0, 0
    for one in told:
        shown, _, start = one["query"].partition("?")
        links = [tuple(link.split(">")) for link in shown.split(" ")]
        reached, met = {start}, []
        for _ in range(hops):  # all that can be reached, in case there were two ways
            reached = {tail for head, tail in links if head in reached}
            met += sorted(reached)
        assert reached == {one["target"]}
        letters = {head for head, _ in links}
        assert len(letters) == len(links) == pairs
        assert letters == {tail for _, tail in links} <= set(string.ascii_letters[:symbols])
        others = sorted(letters - {start})
        guessed += others[0] == one["target"]
        closer += sorted(letters - {start, *met[:-1]})[0] == one["target"]
    assert share_is(guessed, 2000, 1 / (pairs - 1))
    assert share_is(closer, 2000, 1 / (pairs - hops))


def test_the_order_of_the_links_tells_nothing(tmp_path):
    told = asked(tmp_path, source("k_hop", 3000, pairs=4, hops=2, symbols=8))
    places = Counter(one["query"].index(">" + one["target"]) // 4 for one in told)
    assert sorted(places) == [0, 1, 2, 3]
    assert all(share_is(count, 3000, 1 / 4) for count in places.values())


@pytest.mark.parametrize(
    "settings",
    [source("associative_recall", 80, pairs=1, symbols=16), source("k_hop", 288, pairs=4, hops=2, symbols=4)],
)
def test_no_question_comes_twice_even_where_there_are_few(tmp_path, settings):
    told = asked(tmp_path, settings)
    assert len({one["query"] for one in told}) == len({one["group"] for one in told}) == settings.examples == len(told)
    for one in told:
        assert one["group"] == hashlib.sha256(one["query"].encode()).hexdigest()[:32]


# tones


def sounds(project: Path, settings: SyntheticSource) -> list[np.ndarray]:
    return [read_idx(file.path, file.shown) for file in deliver(settings, "made", Project(project)).files]


@pytest.mark.parametrize(("symbols", "samples"), [(12, 256), (52, 512), (2, 16)])
def test_the_label_of_a_tone_is_its_pitch(tmp_path, symbols, samples):
    settings = source("tones", 500, symbols=symbols, samples=samples)
    train, train_labels, test, test_labels = sounds(tmp_path, settings)
    assert (train.shape, test.shape) == ((400, samples), (100, samples))
    assert train.dtype == np.uint16 and train_labels.dtype == np.uint8
    values = np.concatenate([train, test]) - 32768.0
    labels = np.concatenate([train_labels, test_labels])
    frequencies = (np.arange(symbols) + 1) / (2 * (symbols + 1))
    left = np.stack([values - fit(values, frequency, samples) for frequency in frequencies])  # (symbols, N, samples)
    assert np.array_equal((left**2).sum(axis=2).argmin(axis=0), labels)
    noise = left[labels, np.arange(len(labels))]
    assert np.abs(noise).max() < 2 * 1024
    assert abs(noise.std() - 2048 / math.sqrt(12) * math.sqrt(1 - 2 / samples)) < 12
    for label in range(symbols):
        assert share_is(int((labels == label).sum()), 500, 1 / symbols)
    assert len(np.unique(values, axis=0)) == 500


def fit(values: np.ndarray, frequency: float, samples: int) -> np.ndarray:
    """The sine of a frequency nearest to each row, by least squares."""
    angle = 2 * np.pi * frequency * np.arange(samples)
    basis, _ = np.linalg.qr(np.stack([np.sin(angle), np.cos(angle)], axis=1))
    return values @ basis @ basis.T


def test_no_sine_lies_where_two_machines_could_round_it_apart():
    exact = [32767 * math.sin(2 * math.pi * place / 4096) for place in range(4096)]
    assert all(abs(abs(value - math.floor(value)) - 0.5) > 1e-4 for value in exact)
    table = tones.sine_table()
    assert table.max() == 32767 and np.array_equal(table, -np.roll(table, 2048))


# all of them


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        (source("random_tokens", 20), b"rxwfrirpthgwqrvecomt"),
        (source("associative_recall", 20), b'{"query": "l1d6u2n8c5v7p4b9?b", "target": "9", "group": "abe1f570'),
        (source("k_hop", 20), b'{"query": "d>u p>b u>n v>p b>l c>v n>c l>d?b", "target": "d"'),
    ],
)
def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(tmp_path, settings, first):
    made = files(tmp_path, settings)
    assert made[0].startswith(first)
    longer = files(tmp_path, settings.model_copy(update={"examples": 40}))
    assert longer[0].startswith(made[0])
    assert files(tmp_path, settings.model_copy(update={"seed": 1})) != made


@pytest.mark.parametrize("name", ["random_tokens", "tones"])
def test_the_configured_content_has_its_pinned_hash(tmp_path, name):
    dataset = Dataset.model_validate(yaml.safe_load((CONFIG / f"{name}.yaml").read_text(encoding="utf-8")))
    made = content.make_content(name, dataset, Project(tmp_path))
    assert (made.sha256, made.bytes) == (dataset.sha256, dataset.bytes)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (source("associative_recall", 10, pairs=9, symbols=8), "source.pairs"),
        (source("associative_recall", 10, pairs=40, symbols=52), "source.pairs"),
        (source("associative_recall", 11, pairs=1, symbols=2), "source.examples"),
        (source("k_hop", 10, pairs=27), "source.pairs"),
        (source("k_hop", 10, pairs=5, hops=3), "source.hops"),
        (source("k_hop", 10, pairs=2, hops=1, symbols=2), "source.examples"),
        (source("tones", 4), "source.examples"),
        (source("tones", 1 << 20, samples=65536), "source.examples"),
    ],
)
def test_tasks_that_cannot_be_made_are_refused(tmp_path, settings, key):
    made = {"summary": "s", "licence": "l", "citation": "c", "source": settings.model_dump()}
    with pytest.raises(UserError) as error:
        fetch("made", Dataset.model_validate(made), Project(tmp_path))
    assert str(error.value).startswith(f"config/datasets/made.yaml: {key}: ")
    assert not (tmp_path / ".cache").exists()


def test_a_full_disk_leaves_nothing_and_the_next_call_works(tmp_path, monkeypatch):
    def full(path, drawn, examples):
        path.write_text('{"query": "a0?')
        raise OSError(errno.ENOSPC, "No space left on device")

    settings = source("k_hop", 20)
    with monkeypatch.context() as patched:
        patched.setattr("nnn_bench.data.tasks.k_hop.write_questions", full)
        with pytest.raises(UserError, match="No space left"):
            deliver(settings, "made", Project(tmp_path))
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    assert len(asked(tmp_path, settings)) == 20


def test_what_a_killed_process_left_is_made_again(tmp_path, monkeypatch):
    settings = source("random_tokens", 50)
    whole = deliver(settings, "made", Project(tmp_path)).files[0]
    expected = whole.path.read_bytes()
    folder = whole.path.parent
    folder.rename(folder.with_name(f".{folder.name}.filling"))
    (folder.with_name(f".{folder.name}.filling") / "content.txt").write_bytes(b"half")
    assert files(tmp_path, settings) == [expected]


def test_questions_are_drawn_until_there_are_enough(tmp_path):
    drawn = iter([("a", "1"), ("b", "2"), ("a", "1"), ("c", "3")])
    questions.write_questions(tmp_path / "q", drawn, 3)
    assert [json.loads(line)["query"] for line in (tmp_path / "q").read_text().splitlines()] == ["a", "b", "c"]


def test_no_network_is_needed(tmp_path, monkeypatch):
    monkeypatch.setenv("NNN_BENCH_OFFLINE", "1")
    assert len(asked(tmp_path, source("k_hop", 20))) == 20
