"""Tokenizers: what a text becomes, that it comes back, that no text becomes a mark, and which files are refused."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors, trainers

from nnn_bench.cli import main
from nnn_bench.commands.tokenizers import data_tokenizer
from nnn_bench.config.datasets import BytePairTokens, TokenizerFile, VocabularyTokens, token_files
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.data.blocks import text_blocks
from nnn_bench.data.encoding import byte_level
from nnn_bench.data.encoding.tokenizer import BaseTokenizer, tokenizer_class

MARKS = [
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<|end|>",
    "<|endoftext|>",
    "[CLS]",
    "[UNK]",
    "<s>",
    "</s>",
    "<0x41>",
]
PIECES = [
    *(
        "the",
        " cat",
        " sat",
        " on",
        "\n",
        " ",
        "  ",
        "\t",
        "\r",
        "\u00a0",
        "\u2028",
        "\x1f",
        "\x85",
        "'s",
        "'ll",
        "1",
        "23",
    ),
    *(
        "é",
        "e\u0301",
        "ß",
        "日本",
        "語",
        "🙂",
        "👩\u200d💻",
        "\u0301",
        "\ufffd",
        "\u0120",
        "\u2581",
        "\U0010ffff",
        "\x00",
        "\x7f",
    ),
    *("...", "?!", "_", "<", "|", ">", "[", "s"),
    *MARKS,
]
SENTENCES = (
    "the cat sat on the mat. The dog's bone is on the log;\nthe end of the day, 1923! Café, naïve, 日本語.\n" * 20
)


def drawn(draw: random.Random, most: int = 40) -> str:
    return "".join(draw.choice(PIECES) for _ in range(draw.randrange(most)))


def byte_pairs(vocabulary: int = 300, texts: list[str] | None = None, most: int = 100_000) -> BaseTokenizer:
    settings = BytePairTokens(kind="byte_pairs", vocabulary=vocabulary, training_bytes=most)
    return tokenizer_class("byte_pairs").train(settings, texts or [SENTENCES], Project(None))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained():
    return byte_pairs()


@pytest.fixture
def write(tmp_path):
    """Writes a user's file of the given name, as JSON unless it is text, and gives the project that it belongs to."""

    def written(content, name="file.json"):
        data = content if isinstance(content, bytes) else content.encode() if isinstance(content, str) else None
        (tmp_path / name).write_bytes(json.dumps(content).encode() if data is None else data)
        return Project(tmp_path)

    return written


def of_vocabulary(project, merges=None, path="file.json") -> BaseTokenizer:
    settings = VocabularyTokens(kind="vocabulary", path=path, merges=merges)
    return tokenizer_class("vocabulary").train(settings, [], project)


def of_file(project, texts=(SENTENCES,)) -> BaseTokenizer:
    settings = TokenizerFile(kind="tokenizer_file", path="file.json")
    return tokenizer_class("tokenizer_file").train(settings, texts, project)


def library_file(special=("<|endoftext|>", "[CLS]", "<s>")) -> tokenizers.Tokenizer:
    """A file as programs write it: special tokens first, a template that adds one, truncation, padding, a blank before."""
    made = tokenizers.Tokenizer(models.BPE(dropout=0.5))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, show_progress=False, special_tokens=[*special], initial_alphabet=byte_level.LETTERS
    )
    made.train_from_iterator([SENTENCES], trainer=trainer)
    made.add_tokens([AddedToken("<|user|>", special=False, lstrip=True, rstrip=True)])
    begin = special[-1] if special else "a"
    made.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, made.token_to_id(begin))]
    )
    made.enable_truncation(8)
    made.enable_padding(length=16)
    return made


def llama_like() -> dict:
    """Byte pairs of characters, bytes for the rest, blanks written as U+2581 and one put before the text."""
    strings = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *"theca"]
    merges = [["t", "h"], ["th", "e"], ["\u2581", "the"]]
    strings += ["".join(merge) for merge in merges]
    return {
        "added_tokens": [
            {"id": i, "content": strings[i], "special": True, "normalized": False, "single_word": False}
            | {"lstrip": False, "rstrip": False}
            for i in range(3)
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "\u2581"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
            ],
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                *({"type": kind} for kind in ("ByteFallback", "Fuse")),
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "merges": merges}
        | {"vocab": {string: i for i, string in enumerate(strings)}},
    }


def unigram() -> dict:
    pieces = [["<unk>", 0.0], ["<s>", 0.0], ["[CLS]", 0.0], ["the", -1.0], *([c, -5.0] for c in "the <s>/[]CLS|user")]
    seen: dict[str, float] = {}
    for piece, score in pieces:
        seen.setdefault(piece, score)
    special = [
        {"id": i, "content": pieces[i][0], "special": True, "normalized": False}
        | {"single_word": False, "lstrip": False, "rstrip": False}
        for i in range(3)
    ]
    return {"added_tokens": special, "model": {"type": "Unigram", "unk_id": 0, "vocab": [*map(list, seen.items())]}}


@pytest.fixture(params=["characters", "bytes", "byte_pairs", "vocabulary", "merges", "tokenizer_file"])
def tokenizer(request, trained, write):
    match request.param:
        case "characters":
            return tokenizer_class("characters").train(None, PIECES, Project(None))
        case "bytes":
            return tokenizer_class("bytes").train(None, [], Project(None))
        case "byte_pairs":
            return trained
        case "vocabulary":
            strings = sorted({*"".join(PIECES), *PIECES} - {""})
            return of_vocabulary(write({string: i for i, string in enumerate(strings)}))
        case "merges":
            write(trained.to_data()["merges"], "merges.json")
            return of_vocabulary(
                write({token: i for i, token in enumerate(trained.to_data()["tokens"])}), "merges.json"
            )
        case _:
            return of_file(write(library_file().to_str()))


def test_any_text_comes_back_and_nothing_in_it_becomes_a_mark(tokenizer):
    draw = random.Random(1)
    texts = ["", *MARKS, "".join(MARKS), *(drawn(draw) for _ in range(200))]
    size, of = np.array(tokenizer.token_bytes), np.array(tokenizer.token_characters)
    assert len(size) == len(of) == tokenizer.size
    for text, ids in zip(texts, tokenizer.encode_all(texts), strict=True):
        assert ids.dtype == np.uint32 and (ids < tokenizer.size).all()
        assert tokenizer.unknown is None or tokenizer.unknown not in ids
        assert tokenizer.decode(ids.tolist()) == text
        assert size[ids].sum() == len(text.encode()) and of[ids].sum() == len(text)
        assert "".join(tokenizer.streamed(ids.tolist())) == text


def test_plain_data_makes_the_same_tokenizer_again(tokenizer):
    data = json.loads(json.dumps(tokenizer.to_data()))
    again = tokenizer_class(data["kind"]).from_data(data)
    text = "".join(PIECES)
    assert again.encode(text).tolist() == tokenizer.encode(text).tolist()
    assert (again.size, again.unknown, again.token_bytes) == (tokenizer.size, tokenizer.unknown, tokenizer.token_bytes)
    assert again.to_data() == tokenizer.to_data()


def test_characters_that_straddle_tokens_come_back_one_by_one():
    first, second, third = (byte_level.LETTERS[byte] for byte in "あ".encode())
    tokens = [*byte_level.LETTERS, third + first, third + first + second]
    made = tokenizer_class("byte_pairs")(tokens, [(third, first)])  # type: ignore[call-arg]
    ids = made.encode("あ" * 6).tolist()
    assert len(ids) == 13 and [*made.streamed(ids)] == ["あ"] * 6
    assert [*made.streamed(ids[:4])] == ["あ", "\ufffd"]


def test_bytes_are_their_own_ids():
    made = tokenizer_class("bytes").train(None, [], Project(None))
    assert made.encode("aé€").tolist() == [0x61, 0xC3, 0xA9, 0xE2, 0x82, 0xAC]
    assert [made.token_characters[i] for i in (0x61, 0xC3, 0xA9)] == [1, 1, 0]
    assert made.decode([0x61, 0xC3]) == "a\ufffd"


def test_the_letters_of_bytes_are_those_of_the_library():
    assert sorted(byte_level.LETTERS) == sorted(pre_tokenizers.ByteLevel.alphabet())
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    text = "".join(map(chr, range(0x250))) + "日🙂"
    assert split.pre_tokenize_str(text)[0][0] == "".join(byte_level.LETTERS[byte] for byte in text.encode())


def test_pairs_are_joined_as_worked_by_hand():
    # words: "aab" and " aab" twice, so (a, a) and (a, b) are met 3 times; the lower ids first: aa, then aa b, then the blank
    made = byte_pairs(259, ["aab aab aab"])
    assert made.to_data()["merges"] == [("a", "a"), ("aa", "b"), ("Ġ", "aab")]
    assert made.encode("aab aaab").tolist() == [257, *made.encode(" "), 256, *made.encode("ab")]
    assert made.token_bytes[256:] == [2, 3, 4]


def test_encoding_applies_the_merges_by_rank(trained):
    ranks = {merge: rank for rank, merge in enumerate(trained.to_data()["merges"])}
    ids = {token: i for i, token in enumerate(trained.to_data()["tokens"])}
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    draw = random.Random(2)
    for text in [SENTENCES, *(drawn(draw) for _ in range(50))]:
        expected = []
        for word, _ in split.pre_tokenize_str(text):
            parts = list(word)
            while len(parts) > 1:
                rank, at = min((ranks.get(pair, 1 << 30), i) for i, pair in enumerate(pairwise(parts)))
                if rank == 1 << 30:
                    break
                parts[at : at + 2] = ["".join(parts[at : at + 2])]
            expected += [ids[part] for part in parts]
        assert trained.encode(text).tolist() == expected


def test_blocks_of_a_text_have_the_tokens_of_the_whole(trained, tmp_path, monkeypatch):
    draw = random.Random(3)
    words = ["the", "cat", "'s", "1923", "é", "日本", "...", "(x)", "_", "\u00a0", "\x1f"]
    text = "".join(
        draw.choice(words) + draw.choice([" ", " ", " ", "\n", "  ", " \n", "\n\n", "", "\t"]) for _ in range(6000)
    )
    path = tmp_path / "text"
    path.write_bytes(text.encode())
    whole = np.array(trained._library.encode(text).ids)
    for size in (300, 1000, 7777):
        blocks = [block.text for block in text_blocks(path, 0, len(text.encode()), size)]
        assert len(blocks) > 3 and "".join(blocks) == text
        assert np.concatenate(trained.encode_all(blocks)).tolist() == whole.tolist()
    monkeypatch.setattr(byte_level, "_ENCODED_AT_ONCE", 500)
    monkeypatch.setattr(byte_level, "_TOGETHER", 3000)
    assert trained.encode(text).tolist() == whole.tolist()


def test_a_text_without_a_place_to_cut_is_cut_between_characters(trained, monkeypatch):
    monkeypatch.setattr(byte_level, "_ENCODED_AT_ONCE", 100)
    assert trained.decode(trained.encode("日" * 999).tolist()) == "日" * 999


def test_training_is_the_same_on_any_number_of_threads(trained):
    program = (
        "import sys, hashlib; from nnn_bench.data.encoding.byte_level import train_byte_pairs\n"
        "print(hashlib.sha256(repr(train_byte_pairs(sys.argv[1:], 300)).encode()).hexdigest())"
    )
    texts = [SENTENCES[i : i + 300] for i in range(0, len(SENTENCES), 300)]
    found = set()
    for threads in ({"RAYON_NUM_THREADS": "1"}, {"RAYON_NUM_THREADS": "3"}, {"TOKENIZERS_PARALLELISM": "false"}):
        done = subprocess.run(
            [sys.executable, "-c", program, *texts], env={**os.environ, **threads}, capture_output=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_training_looks_at_no_more_than_it_is_told_to():
    bounded = byte_pairs(300, ["ab" * 50, "cd" * 1000], most=100)
    assert bounded.to_data() == byte_pairs(300, ["ab" * 50]).to_data()
    assert byte_pairs(300, ["é" * 50], most=3).size == 257  # one é: a character is whole or not there


def test_a_text_that_has_too_few_pairs_gives_a_smaller_vocabulary():
    assert byte_pairs(1000, ["aab aab aab"]).size == 259
    assert byte_pairs().size == 300


def test_the_longest_string_is_taken_and_the_rest_is_unknown(write):
    made = of_vocabulary(write({"a": 0, "ab": 1, "abcd": 2, "é": 3, "<|user|>": 4}))
    assert (made.size, made.unknown) == (6, 5)
    assert made.encode("abcabcdéx<|user|><|end|>").tolist() == [1, 5, 2, 3, 5, 4, *[5] * 7]
    assert made.decode([1, 5, 3]) == "ab\ufffdé"
    assert made.token_bytes == [1, 2, 4, 2, 8, 1] and made.token_characters == [1, 2, 4, 1, 8, 1]


def test_merges_are_read_from_lines_as_from_json(write, trained):
    data = trained.to_data()
    write("#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in data["merges"]), "merges.txt")
    made = of_vocabulary(write({token: i for i, token in enumerate(data["tokens"])}), "merges.txt")
    assert made.unknown is None and made.encode(SENTENCES).tolist() == trained.encode(SENTENCES).tolist()


ALPHABET = {letter: i for i, letter in enumerate(byte_level.LETTERS)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff{}", "file.json: is not UTF-8 (byte 0); convert it first"),
        ("", "file.json: line 1, column 1: Expecting value"),
        ('{"a": 0,\n "b" 1}', "file.json: line 2, column 6: Expecting ':' delimiter"),
        ("[" * 100_000, "file.json: is nested too deeply"),
        ('{"a": ' + "1" * 5000 + "}", "file.json: holds a number that is far too long"),
        (["a", "b"], "file.json: must hold one mapping {string: id}"),
        ({}, "file.json: has 0 strings; a vocabulary has 1 to 1,048,576"),
        ('{"a": 0, "b": 1, "a": 2}', "file.json: 'a': is given twice"),
        ({"a": 0, "": 1}, 'file.json: "": an empty string cannot be a token'),
        ({"a" * 1025: 0}, f"file.json: '{'a' * 36}...: is longer than 1,024 characters"),
        ('{"\\ud800": 0}', "file.json: '\\ud800': holds half a surrogate pair, which no text does"),
        ({"a": True}, "file.json: 'a': its id must be a whole number, got True"),
        ({"a": 0.0}, "file.json: 'a': its id must be a whole number, got 0.0"),
        ({"a": "0"}, "file.json: 'a': its id must be a whole number, got '0'"),
        ({"a": -1}, "file.json: 'a': has id -1; 1 strings have ids 0 to 0 without gaps, and 0 is missing"),
        (
            {"a": 0, "b": 3, "c": 1},
            "file.json: 'b': has id 3; 3 strings have ids 0 to 2 without gaps, and 2 is missing",
        ),
        ({"a": 0, "b": 0}, "file.json: 'b': has id 0, and so has 'a'"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused_in_one_line(write, content, said):
    with pytest.raises(UserError) as error:
        of_vocabulary(write(content))
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("vocabulary", "merges", "said"),
    [
        (
            {**ALPHABET, "日": 256},
            "",
            "file.json: '日': holds what is no letter of byte-level byte pairs; leave merges out to ",
        ),
        (
            {"a": 0, "b": 1},
            "",
            "file.json: lacks the bytes 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07 and 246 more; byte",
        ),
        (
            {**ALPHABET, "ab": 256},
            "#version: 0.2\na b c\n",
            "merges.txt: line 2: a merge is two tokens with one blank between",
        ),
        ({**ALPHABET, "ab": 256}, "a b\n\na  b\n", "merges.txt: line 3: a merge is two tokens with one blank between"),
        ({**ALPHABET, "ab": 256}, "a b\na c\n", "merges.txt: line 2: 'ac' is not in the vocabulary"),
        ({**ALPHABET, "ab": 256}, "a b\r\na b\r\n", "merges.txt: line 2: the same merge as line 1"),
    ],
)
def test_merges_that_do_not_fit_are_refused_in_one_line(write, vocabulary, merges, said):
    write(merges, "merges.txt")
    with pytest.raises(UserError) as error:
        of_vocabulary(write(vocabulary), "merges.txt")
    assert str(error.value).startswith(said) and "\n" not in str(error.value)


def test_a_file_that_is_absent_or_too_large_is_refused(write, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"^no\.json: is not a file that exists; give the path from the project root$"):
        of_vocabulary(Project(tmp_path), path="no.json")
    monkeypatch.setattr("nnn_bench.data.encoding.vocabulary_files._LARGEST_FILE", 1 << 20)
    with pytest.raises(UserError, match=r"^file\.json: is larger than 1 MiB: not a vocabulary$"):
        of_vocabulary(write(b" " * ((1 << 20) + 1)))
    settings = VocabularyTokens(kind="vocabulary", path="a", merges="b")
    assert token_files(settings) == ["a", "b"]  # so the store is made anew when one of them changes


def test_what_a_file_adds_of_itself_is_off(write):
    raw = library_file()
    assert raw.encode("<|endoftext|>").tokens[:2] == ["<s>", "<|endoftext|>"]  # what the library would do
    made = of_file(write(raw.to_str()))
    text = SENTENCES[:300] + "<|endoftext|> <|user|> [CLS]<s>"
    ids = made.encode(text)
    assert made.decode(ids.tolist()) == text and len(ids) > 16
    assert ids.tolist() == made.encode(text).tolist()  # dropout would draw
    ordinary = [token for token, _ in sorted(raw.get_vocab().items(), key=lambda item: item[1]) if token not in MARKS]
    assert made.size == len(ordinary) == 297
    assert [made.decode([i]) for i in (0, 260, 296)] == [
        bytes(byte_level.BYTES[letter] for letter in ordinary[i]).decode(errors="replace") for i in (0, 260, 296)
    ]


def test_a_whole_word_lookup_cannot_reach_a_mark(write):
    data = json.loads(library_file().to_str())
    data["model"]["ignore_merges"] = True
    data["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    made = of_file(write(data))
    assert [made.decode([i]) for i in made.encode("<s>")] == ["<", "s", ">"]


def test_a_unigram_cannot_reach_a_mark(write):
    raw = unigram()
    without_added = tokenizers.Tokenizer.from_str(json.dumps({"version": "1.0", **raw, "added_tokens": []}))
    assert without_added.encode("<s>").tokens == ["<s>"]  # even without added tokens the library would
    made = of_file(write(raw), ["the <s>[CLS]"])
    assert [made.decode([i]) for i in made.encode("the <s>")] == ["the", " ", "<", "s", ">"]
    assert made.size == len(raw["model"]["vocab"]) - 3
    with pytest.raises(
        UserError, match=r"^file\.json: does not give a text back: 'the z' comes back as 'the '; bits per "
    ):
        made.encode("the z")


def test_bytes_stand_in_for_characters_that_a_model_lacks(write):
    made = of_file(write(llama_like()))
    assert made.size == 256 + 1 + 5 + 3
    text = " the cat é\n<s><0x41>"
    assert made.decode(made.encode(text).tolist()) == text
    assert made.decode(made.encode("the").tolist()) == "the"  # no blank before
    assert made.token_bytes[made.encode(" the")[0]] == 4
    with pytest.raises(UserError, match="comes back as 'a b'; bits per byte need"):
        made.encode("a\u2581b")


SPECIAL = {"id": 256, "content": "the", "special": True, "normalized": False, "single_word": False}
MIXED = {"added_tokens": [SPECIAL | {"lstrip": False, "rstrip": False}]}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"normalizer": {"type": "Lowercase"}},
            'does not give a text back: "he mat. The dog\'s bo" comes back as "he mat. the dog\'s bo"; bits per byte need',
        ),
        (
            {"normalizer": {"type": "NFKD"}},
            r"does not give a text back: '923! Caf\xe9, na\xefve, \u65e5\u672c' comes back as '923! Cafe\u0301, na",
        ),
        (
            {"pre_tokenizer": {"type": "WhitespaceSplit"}},
            "does not give a text back: 'the cat sat on ' comes back as 'thecatsatonthem'; bits per byte need",
        ),
        (
            {"model": {"type": "WordPiece"}},
            "model.type: 'WordPiece' does not give every text back; BPE and Unigram can",
        ),
        ({"model": None}, "model.type: is no tokenizer.json: it has no model with a type"),
        ([], "model.type: is no tokenizer.json: it has no model with a type"),
        (
            {"model": {"type": "BPE", "vocab": [], "merges": []}},
            "model: a BPE model has a vocab {string: id} and a list of",
        ),
        ({"model": {"type": "BPE", "vocab": {}, "merges": []}}, "model.vocab: has no tokens that a text could become"),
        (
            {"model": {"type": "BPE", "vocab": {"a": True}, "merges": []}},
            "model.vocab.'a': its id must be a whole number",
        ),
        (
            {"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}},
            "model.vocab.'b': has id 0, and so has 'a'",
        ),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [7]}}, "model.merges: merge 1 is not two tokens"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}}, "the library `tokenizers` says: "),
        ({"model": {"type": "Unigram", "vocab": {}}}, "model.vocab: a Unigram model has a list of [string, score]"),
        ({"added_tokens": [{"id": 1}]}, "added_tokens: must be a list of tokens with their content"),
        (MIXED, "added_tokens: text could become the special token 'the', which is a letter or made by merges; take"),
        ({"decoder": {"type": "Nothing"}}, "the library `tokenizers` says: "),
    ],
)
def test_a_tokenizer_file_that_spoils_texts_is_refused_in_one_line(write, changed, said):
    sound = json.loads(library_file(special=()).to_str())
    with pytest.raises(UserError) as error:
        of_file(write({**sound, **changed} if isinstance(changed, dict) else changed))
    assert str(error.value).startswith(f"file.json: {said}") and "\n" not in str(error.value)


def test_a_folder_of_texts_makes_a_tokenizer_for_any_program(tmp_path, monkeypatch, capsys, write):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "books").mkdir()
    for name, text in (("b.txt", SENTENCES), ("a.txt", "first\r\n"), ("c.md", "zzzz" * 99)):
        (tmp_path / "books" / name).write_bytes(text.encode())
    out = tmp_path / "file.json"
    data_tokenizer("books", out, 300)
    expected = byte_pairs(300, ["first\n", SENTENCES])
    written = tokenizers.Tokenizer.from_file(str(out))
    assert written.encode(SENTENCES).ids == expected.encode(SENTENCES).tolist()
    assert of_file(Project(tmp_path)).encode(SENTENCES).tolist() == expected.encode(SENTENCES).tolist()
    size = len(f"first\n{SENTENCES}".encode())
    tokens = len(expected.encode("first\n")) + len(expected.encode(SENTENCES))
    told = f"{out}: 300 tokens; {size / tokens:.2f} bytes a token on the first {size:,} bytes\n"
    assert capsys.readouterr().out == told
    data_tokenizer("books", out, 5000, files="a.txt", as_json=True)
    assert json.loads(capsys.readouterr().out)["vocabulary"] == 260


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["books", "--vocabulary", "256"],
            "Invalid value for '--vocabulary': Input should be greater than or equal to 257",
        ),
        (["books", "--files", "../*.txt"], "--files: '../*.txt' leaves the folder; give a pattern such as '*.txt' or "),
        (["books", "--files", "*.tex"], "books: holds no file that matches '*.tex'"),
        (["none"], "none: is not a folder that exists"),
        (["books", "--files", "*.bad"], "books/x.bad: is not UTF-8 (byte 2); convert it first"),
    ],
)
def test_a_folder_that_gives_no_tokenizer_leaves_no_file(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "x.bad").write_bytes(b"ab\xff")
    (tmp_path / "books" / "x.txt").write_text("a text")
    monkeypatch.setattr(
        sys, "argv", ["nnn-bench", "data", "tokenizer", words[0], "out.json", "--vocabulary", "300", *words[1:]]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    told = capsys.readouterr().err
    assert stopped.value.code == 2 and told.startswith(f"nnn-bench: error: {said}") and told.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["books"]
