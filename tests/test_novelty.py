"""How new a generated text is: hand-worked cases, a slow and plain count, and that it is quick enough for every run."""

from __future__ import annotations

import time

import numpy as np
import pytest

from nnn_bench.measure import novelty as module
from nnn_bench.measure.novelty import before_repeat, copied_share, novelty


def ids(text):
    return [ord(character) for character in text]


def test_the_share_of_hand_counted_8_grams():
    training = np.array(ids("the cat sat on the mat"), dtype=np.uint16)
    # "e cat sa" and " cat sat" are there; "e cat si" and " cat sit" are not
    assert copied_share(ids("e cat sat"), training) == 1.0
    assert copied_share(ids("e cat sit"), training) == 0.0
    assert copied_share(ids("e cat saw"), training) == 0.5
    assert copied_share(ids("on the mat the"), training) == 3 / 7  # "on the m", "n the ma", " the mat", and no more
    assert copied_share(ids("the cat"), training) is None


def test_what_begins_and_ends_the_training_text_counts():
    training = np.arange(20)
    assert copied_share(list(range(8)), training) == 1.0
    assert copied_share(list(range(12, 20)), training) == 1.0
    assert copied_share(list(range(13, 21)), training) == 0.0
    assert copied_share(list(range(8)), training[:7]) == 0.0


def test_the_length_before_the_first_repeat():
    assert before_repeat(ids("abcdefgh")) == 8
    assert before_repeat(ids("abcdefghabcdefgh")) == 8
    assert before_repeat(ids("abcdefgh--abcdefgh")) == 10
    assert before_repeat(ids("abcdefgh--abcdefg")) == 17
    assert before_repeat(ids("aaaaaaaaa")) == 1  # overlaps count
    assert before_repeat(ids("xyxyxyxyxyxy")) == 2
    assert before_repeat([]) == 0


def test_both_under_their_names():
    assert novelty(ids("xyxyxyxyxy"), np.array(ids("yxyxyxyx"))) == {"copied_share": 1 / 3, "before_repeat": 2}


@pytest.mark.parametrize("multiplier", [0x9E3779B97F4A7C15, 1])
def test_it_counts_as_a_plain_search_does_even_where_hashes_collide(monkeypatch, multiplier):
    monkeypatch.setattr(module, "_MULTIPLIER", np.uint64(multiplier))  # 1: the hash is the sum of the tokens
    draw = np.random.default_rng(0)
    training, text = draw.integers(2, size=300), draw.integers(2, size=120).tolist()
    training[150:160] = 70_000  # a vocabulary may be large
    text[50:60] = [70_000] * 10
    windows = [text[i : i + 8] for i in range(len(text) - 7)]
    there = [training[i : i + 8].tolist() for i in range(len(training) - 7)]
    assert copied_share(text, training) == sum(one in there for one in windows) / len(windows)
    assert before_repeat(text) == next(i for i, one in enumerate(windows) if one in windows[:i])
    assert 0 < copied_share(text, training) < 1


def test_a_text_of_a_standard_run_takes_well_under_a_second():
    draw = np.random.default_rng(0)
    training = draw.integers(65, size=750_000).astype(np.uint16)
    began = time.process_time()
    assert copied_share(training[1000:1400].tolist(), training) == 1.0
    assert time.process_time() - began < 1.0
