"""Blocks of text: nothing is lost, no word is parted, and characters are where they are counted to be."""

from __future__ import annotations

import random
import re

import pytest

from nnn_bench.data.blocks import byte_places, cut_place, text_blocks

ALPHABET = ["a", "b", "é", "€", "𝄞", " ", "  ", "\n", "\n\n", "\t", ".", " the", "don't"]


def written(tmp_path, text: str):
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode())
    return path


def drawn(seed: int, parts: int = 400) -> str:
    draw = random.Random(seed)
    return "".join(draw.choice(ALPHABET) for _ in range(parts))


@pytest.mark.parametrize("size", [8, 13, 64, 1 << 20])
@pytest.mark.parametrize("seed", range(3))
def test_blocks_are_the_text_and_say_where_they_end(tmp_path, size, seed):
    text = drawn(seed)
    path = written(tmp_path, text)
    blocks = list(text_blocks(path, 0, path.stat().st_size, size))
    assert "".join(block.text for block in blocks) == text
    assert all(len(block.text.encode()) <= size for block in blocks)
    for block in blocks:
        rest = "".join(one.text for one in text_blocks(path, block.after, path.stat().st_size, size))
        assert text.encode()[block.after :].decode() == rest


def test_a_part_of_a_file_is_all_that_is_read(tmp_path):
    path = written(tmp_path, "ab cd ef gh ij kl")
    assert "".join(block.text for block in text_blocks(path, 3, 11, 8)) == "cd ef gh"


@pytest.mark.parametrize("seed", range(20))
def test_a_cut_lies_between_words_wherever_there_is_such_a_place(seed):
    raw = drawn(seed, 60).encode()
    kept = raw[: cut_place(raw)].decode()  # decodes: it ends with a whole character
    text = raw.decode()
    places = [m.start() for m in re.finditer(r"(?<=\S)(?= \S)|(?<=\S\n)(?=\S)", text[:-1])]
    if places:
        assert len(kept) in places
        left, right = text[len(kept) - 1], text[len(kept) : len(kept) + 2]
        assert (not left.isspace() and right[0] == " " and not right[1].isspace()) or (
            left == "\n" and not text[len(kept) - 2].isspace() and not right[0].isspace()
        )


@pytest.mark.parametrize("text", ["x" * 100, "é" * 50, "€" * 33, "𝄞" * 25, " " * 100, "\n" * 100])
def test_a_text_without_such_a_place_is_cut_between_characters(tmp_path, text):
    path = written(tmp_path, text)
    blocks = [block.text for block in text_blocks(path, 0, path.stat().st_size, 16)]
    assert "".join(blocks) == text and max(map(len, blocks)) <= 16


def test_characters_are_found_by_number(tmp_path, monkeypatch):
    text = drawn(7)
    path = written(tmp_path, text)
    numbers = [0, 1, 5, 6, 6, len(text) // 2, len(text) - 1, len(text)]
    expected = [len(text[:number].encode()) for number in numbers]
    assert byte_places(path, numbers) == expected
    monkeypatch.setattr("nnn_bench.data.blocks.BLOCK", 7)  # blocks that end inside characters
    assert byte_places(path, numbers) == expected
