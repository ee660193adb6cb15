"""The n-gram ladder against its definition, and against known figures."""

from __future__ import annotations

import math
import random
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.datasets import CharacterTokens
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.config.recipe import LanguageScale
from nnn_bench.data.ngrams import NgramModel, ladder
from nnn_bench.data.prepare import prepare
from nnn_bench.data.store import load
from tests.tiny_project import make_project

V = 7

CHARACTERS = CharacterTokens(kind="characters")


def generated(length: int, seed: int = 0, vocabulary: int = V) -> np.ndarray:
    """Tokens that follow one another unevenly, ids 1 up; 0 is left for what was never seen."""
    draw = random.Random(seed)
    tokens = [1, 2]
    for _ in range(length - 2):
        tokens.append(1 + (tokens[-1] * 3 + tokens[-2] + draw.choice([0, 0, 0, 1, 2])) % (vocabulary - 1))
    return np.array(tokens, dtype=np.uint16)


class Naive:
    """Interpolated Witten-Bell, read off its definition with dictionaries."""

    def __init__(self, tokens: list[int], vocabulary: int, ahead: int = 1):
        self.vocabulary = vocabulary
        self.follow: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for length in range(6):
            for place in range(length, len(tokens) - ahead + 1):
                self.follow[tuple(tokens[place - length : place])][tokens[place + ahead - 1]] += 1

    def probability(self, token: int, before: list[int], order: int) -> float:
        if order == 0:
            return 1 / self.vocabulary
        lower = self.probability(token, before, order - 1)
        context = tuple(before[len(before) - order + 1 :]) if len(before) >= order - 1 else None
        if context not in self.follow:
            return lower
        counts = self.follow[context]
        return (counts[token] + len(counts) * lower) / (counts.total() + len(counts))


def test_a_case_worked_by_hand():
    model = NgramModel(np.array([1, 2, 1, 2, 1, 3]), vocabulary=4, orders=2)
    # order 1: 6 tokens, 3 kinds: p(2) = (2 + 3/4) / 9. order 2 after 1: 2 twice and 3 once: p(2 | 1) = (2 + 2 p(2)) / 5
    unigram, bigram = model.probabilities(np.array([1, 2]), np.array([1]))[:, 0]
    assert unigram == pytest.approx(2.75 / 9)
    assert bigram == pytest.approx((2 + 2 * 2.75 / 9) / 5)
    # nothing followed 3, so what comes after it is as likely as anywhere
    assert model.probabilities(np.array([3, 2]), np.array([1]))[1, 0] == pytest.approx(2.75 / 9)


@pytest.mark.parametrize("length", [6, 40, 900])
def test_it_equals_the_definition_at_every_order(length):
    train, test = generated(length), generated(200, seed=1)
    test[50], test[120] = 0, 0  # an unknown token, as a target and then as context
    positions = np.arange(len(test))
    found = NgramModel(train, V).probabilities(test, positions)
    naive = Naive(train.tolist(), V)
    for order in range(1, 7):
        expected = [naive.probability(int(test[i]), test[:i].tolist(), order) for i in positions]
        assert found[order - 1] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("ahead", [2, 5])
def test_at_a_distance_it_knows_what_a_network_there_may_know(ahead):
    train, test = generated(900), generated(200, seed=1)
    positions = np.arange(ahead, len(test))
    found = NgramModel(train, V, ahead=ahead).probabilities(test, positions)
    naive = Naive(train.tolist(), V, ahead)
    for order in range(1, 7):
        expected = [naive.probability(int(test[i]), test[: i - ahead + 1].tolist(), order) for i in positions]
        assert found[order - 1] == pytest.approx(expected, rel=1e-12)


def test_probabilities_sum_to_one_over_the_vocabulary():
    model, test = NgramModel(generated(500), V), generated(60, seed=2)
    for place in (0, 1, 3, 5, 20, 59):
        total = np.zeros(6)
        for token in range(V):
            stream = np.append(test[:place], token)
            total += model.probabilities(stream, np.array([place]))[:, 0]
        assert total == pytest.approx(np.ones(6), rel=1e-12)


def test_a_big_vocabulary_does_not_overflow():
    train = (generated(600).astype(np.uint32) * 9000).astype(np.uint32)
    found = NgramModel(train, 65536).probabilities(train[:80], np.arange(80))
    naive = Naive(train.tolist(), 65536)
    expected = [naive.probability(int(train[i]), train[:i].tolist(), 6) for i in range(80)]
    assert found[5] == pytest.approx(expected, rel=1e-12)


def scale(**changes) -> LanguageScale:
    sizes = {
        "body_parameters": 1,
        "context": 16,
        "training_characters": 3000,
        "tokens": 1,
        "batch": 1,
        "test_tokens": 256,
    }
    return LanguageScale(**{**sizes, **changes})


@pytest.fixture
def store(tmp_path):
    project = make_project(tmp_path)
    prepare("tiny", Catalog(project).dataset("tiny"), "characters", CHARACTERS, project)
    return load(project, "tiny", "characters")


def test_the_ladder_counts_what_a_run_may_see_and_scores_what_it_is_scored_on(store):
    counted = ladder(store, scale())
    assert {key: counted[key] for key in ("dataset", "tokenizer", "training_characters", "context", "floor_order")} == {
        "dataset": "tiny",
        "tokenizer": "characters",
        "training_characters": 3000,
        "context": 16,
        "floor_order": 3,
    }
    assert counted["content_sha256"] == store.manifest.content_sha256
    assert counted["test_tokens"] == 256
    assert [row["order"] for row in counted["orders"]] == [1, 2, 3, 4, 5, 6]
    train, test = store.train[:3000].tolist(), store.test.tolist()
    naive = Naive(train, store.manifest.vocabulary)
    for row in counted["orders"]:
        n = row["order"]
        nats = -sum(math.log(naive.probability(test[i], test[:i], n)) for i in range(9, 9 + 256))
        assert row["loss"] == pytest.approx(nats / 256)
        assert row["bits_per_byte"] == pytest.approx(nats / 256 / math.log(2))  # every character is one byte
        assert row["contexts"] == len({tuple(train[i - n + 1 : i]) for i in range(n - 1, 3000)})


@pytest.mark.parametrize("characters", [1, 5, 10**6])
def test_a_length_that_cannot_be_counted_is_refused(store, characters):
    with pytest.raises(UserError, match=r"^language\.training_characters: "):
        ladder(store, scale(training_characters=characters))


def test_a_context_longer_than_the_test_split_is_refused(store):
    with pytest.raises(UserError, match=r"^language\.context: "):
        ladder(store, scale(context=len(store.test)))


@pytest.mark.slow
def test_shakespeare_costs_what_it_is_known_to_cost(tmp_path):
    """Orders 2 to 5 within a tenth of a nat of figures taken with another program on another cut of the same plays."""
    checkout = Project.find(Path(__file__).parent)
    project = Project(tmp_path)
    if (checkout.cache / "downloads").is_dir():  # what is there is not fetched again
        shutil.copytree(checkout.cache / "downloads", project.cache / "downloads")
    prepare("shakespeare", Catalog(checkout).dataset("shakespeare"), "characters", CHARACTERS, project)
    seen = scale(context=128, training_characters=250_000, test_tokens=131_072)
    orders = ladder(load(project, "shakespeare", "characters"), seen)["orders"]
    assert [row["loss"] for row in orders[1:5]] == pytest.approx([2.60, 2.27, 2.10, 2.11], abs=0.1)
