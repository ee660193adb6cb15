"""IDX files, the readers of labelled arrays, and pixels as tokens."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from nnn_bench.config.errors import UserError
from nnn_bench.data.delivery.shelf import RawFile
from nnn_bench.data.labelled.arrays import Labelled, LabelledPart
from nnn_bench.data.labelled.idx import read_idx, write_idx
from nnn_bench.data.labelled.pixels import to_arrays, to_sequences
from nnn_bench.data.readers import digits, idx

# two images of 2 x 3, written out by hand from the description of the format
IMAGES = b"\0\0\x08\x03" + struct.pack(">3I", 2, 2, 3) + bytes([0, 1, 2, 3, 4, 5, 250, 251, 252, 253, 254, 255])
EXPECTED = [[[0, 1, 2], [3, 4, 5]], [[250, 251, 252], [253, 254, 255]]]
LABELS = b"\0\0\x08\x01" + struct.pack(">I", 2) + bytes([7, 1])
SHORTS = b"\0\0\x0b\x02" + struct.pack(">2I", 1, 4) + struct.pack(">4h", -32768, -1, 0, 32767)


def saved(folder: Path, content: bytes, name: str = "file") -> RawFile:
    (folder / name).write_bytes(content)
    return RawFile(folder / name, f"shown {name}", "")


def refused(function, *arguments) -> str:
    """The message of the `UserError` that a call ends in: one line."""
    with pytest.raises(UserError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_hand_made_files_are_read(tmp_path, pack):
    images = read_idx(saved(tmp_path, pack(IMAGES)).path, "images")
    assert images.dtype == np.uint8 and images.tolist() == EXPECTED
    sounds = read_idx(saved(tmp_path, pack(SHORTS)).path, "sounds")
    assert sounds.dtype == np.uint16 and sounds.tolist() == [[0, 32767, 32768, 65535]]


def test_what_is_written_is_the_published_format_and_comes_back(tmp_path):
    write_idx(tmp_path / "images", np.array(EXPECTED, dtype=np.uint8))
    assert (tmp_path / "images").read_bytes() == IMAGES
    write_idx(tmp_path / "sounds", np.array([[0, 32767, 32768, 65535]], dtype=np.uint16))
    assert (tmp_path / "sounds").read_bytes() == SHORTS
    every = np.arange(65536, dtype=np.uint16).reshape(4, 64, 16, 16)[:, ::-1]
    write_idx(tmp_path / "every", every)
    assert np.array_equal(read_idx(tmp_path / "every", "every"), every)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["every", "images", "sounds"]
    for wrong in (np.zeros(3), np.zeros((), np.uint8), np.zeros((1,) * 5, np.uint8), np.zeros(3, np.int16)):
        with pytest.raises(ValueError, match="uint8 or uint16"):
            write_idx(tmp_path / "wrong", wrong)


def test_a_place_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "blocked").write_bytes(b"")
    assert "cannot be written" in refused(write_idx, tmp_path / "blocked" / "x", np.zeros(3, np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["blocked"]


HUGE = b"\0\0\x08\x04" + struct.pack(">4I", *[0xFFFFFFFF] * 4)
PACKED = gzip.compress(IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"\x89PNG\r\n", "not an IDX file"),
        (IMAGES[:3], "not an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\1\0\0\0\0", "IDX type 0x0D"),
        (b"\0\0\x08\x00", "0 dimensions"),
        (b"\0\0\x08\xff", "255 dimensions"),
        (IMAGES[:15], "within the sizes"),
        (b"\0\0\x08\x02" + struct.pack(">2I", 5, 0), "no values: its sizes are 5 x 0"),
        (IMAGES.replace(b"\2\0\0\0\2", b"\2\0\0\1\2"), "claims 2 x 258 x 3 values, more than it can hold"),
        (IMAGES[:-1], "after 11 of 12 bytes"),
        (IMAGES + b"\0", "goes on after its 2 x 2 x 3 values"),
        (SHORTS[:-1], "after 7 of 8 bytes"),
        (HUGE, "more than it can hold"),
        (gzip.compress(HUGE), "more than it can hold"),
        (PACKED[:-12], "before its gzip data"),
        (PACKED[:2], "before its gzip data"),
        (PACKED[:-8] + bytes(8), "damaged gzip"),
        (PACKED[:10] + b"\xff" * 20, "damaged gzip"),
        (PACKED + b"more", "damaged gzip"),
        (gzip.compress(IMAGES + b"more"), "goes on after"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damage_is_named_in_one_line(tmp_path, content, message):
    raw = saved(tmp_path, content)
    said = refused(read_idx, raw.path, raw.shown)
    assert said.startswith("shown file: ") and message in said


def test_a_file_that_cannot_be_read(tmp_path):
    assert refused(read_idx, tmp_path / "absent", "absent") == "absent: cannot be read: No such file or directory"


def test_reader_takes_two_files_or_four(tmp_path):
    images, labels = saved(tmp_path, IMAGES, "images"), saved(tmp_path, gzip.compress(LABELS), "labels")
    found = idx.read([images, labels])
    assert found.train.values.tolist() == EXPECTED and found.train.labels.tolist() == [7, 1] and found.test is None
    both = idx.read([images, labels, images, labels])
    assert both.test is not None and both.test.values.tolist() == EXPECTED and both.test.labels.tolist() == [7, 1]
    assert both.sha256 != found.sha256


def test_reader_refuses_files_that_do_not_fit(tmp_path):
    images, labels = saved(tmp_path, IMAGES, "images"), saved(tmp_path, LABELS, "labels")
    one = saved(tmp_path, b"\0\0\x08\x01" + struct.pack(">I", 1) + b"\0", "one")
    first = saved(tmp_path, b"\0\0\x08\x03" + struct.pack(">3I", 1, 2, 3) + bytes(6), "first")
    wide = saved(tmp_path, b"\0\0\x08\x02" + struct.pack(">2I", 2, 6) + bytes(12), "wide")
    long = saved(tmp_path, b"\0\0\x0b\x01" + struct.pack(">I", 2) + bytes(4), "long")
    for files, message in [
        ([images], "shown images: is one of 1 IDX files"),
        ([images, labels, images], "shown images: is one of 3 IDX files"),
        ([images, one], "shown one: has 1 labels, but shown images has 2 examples"),
        ([labels, images], "shown images: is not a list of labels"),
        ([images, long], "shown long: is not a list of labels"),
        ([labels, labels], "shown labels: is a plain list"),
        (
            [images, labels, wide, labels],
            "shown wide: has examples of 6 uint8, but shown images has examples of 2 x 3 uint8",
        ),
        ([first, one, images, labels], "shown images: has 2 examples of the test part, but there are 1 to train on"),
    ]:
        assert refused(idx.read, files).startswith(message)


def test_hash_tells_sizes_types_and_parts_apart():
    values, labels = np.arange(12, dtype=np.uint8).reshape(2, 6), np.array([0, 1], dtype=np.uint8)
    whole = Labelled(LabelledPart(values, labels), None)
    same = Labelled(LabelledPart(np.asfortranarray(values), labels), None)
    assert whole.sha256 == same.sha256
    others = [
        Labelled(LabelledPart(values.reshape(2, 2, 3), labels), None),
        Labelled(LabelledPart(values.astype(np.uint16), labels), None),
        Labelled(LabelledPart(values[:1], labels[:1]), LabelledPart(values[1:], labels[1:])),
        Labelled(LabelledPart(values, labels[::-1]), None),
    ]
    assert len({whole.sha256, *(other.sha256 for other in others)}) == 5
    big = Labelled(LabelledPart(values.astype(">u2"), labels), None)
    assert big.sha256 == others[1].sha256  # the same numbers on a machine of the other byte order


ROW = ",".join(str(number % 17) for number in range(64))


def test_digits_are_read(tmp_path):
    found = digits.read([saved(tmp_path, gzip.compress(f"{ROW},9\n{ROW},0\n".encode()))])
    assert found.test is None and found.train.labels.tolist() == [9, 0]
    assert found.train.values.shape == (2, 8, 8) and found.train.values.dtype == np.uint8
    assert found.train.values[1].reshape(-1).tolist() == [number % 17 for number in range(64)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "is not a gzip file"),
        (gzip.compress(ROW.encode())[:-12], "before its gzip data"),
        (gzip.compress(b""), "is empty"),
        (gzip.compress(b"\xc3\xa9"), "is not plain text (byte 0)"),
        (gzip.compress(f"{ROW},9\n{ROW}\n".encode()), "line 2: is not 65 numbers"),
        (gzip.compress(f"{ROW},9\n\n{ROW},9\n".encode()), "line 2: is not 65 numbers"),
        (gzip.compress(f"{ROW},-1\n".encode()), "line 1: is not 65 numbers"),
        (gzip.compress(f"{ROW},10\n".encode()), "line 1: has values to 16 and label 10"),
        (gzip.compress(f"17{ROW[1:]},1\n".encode()), "line 1: has values to 17 and label 1"),
        (gzip.compress(b"0" * (1 << 25)), "holds more than"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_files_are_no_digits(tmp_path, content, message):
    said = refused(digits.read, [saved(tmp_path, content)])
    assert said.startswith("shown file: ") and message in said


def test_pixels_go_row_by_row_and_come_back():
    image = np.array(EXPECTED, dtype=np.uint8)
    told = to_sequences(image)
    assert told.tokens.tolist() == [[[v] for v in (0, 1, 2, 3, 4, 5)], [[v] for v in (250, 251, 252, 253, 254, 255)]]
    assert told.rows.tolist() == [0, 0, 0, 1, 1, 1] and told.columns.tolist() == [0, 1, 2, 0, 1, 2]
    assert (told.levels, told.tokens.dtype) == (256, torch.int64)
    assert np.array_equal(to_arrays(told), image)


def test_colours_are_three_channels_of_one_place():
    image = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    told = to_sequences(image)
    assert told.tokens.tolist() == [[[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]]
    assert told.rows.tolist() == [0, 0, 1, 1] and told.columns.tolist() == [0, 1, 0, 1]
    assert np.array_equal(to_arrays(told), image)


def test_a_sound_is_one_row_of_65536_values():
    sound = np.array([[0, 65535, 32768]], dtype=np.uint16)
    told = to_sequences(sound)
    assert told.tokens.tolist() == [[[0], [65535], [32768]]] and told.levels == 65536
    assert told.rows.tolist() == [0, 0, 0] and told.columns.tolist() == [0, 1, 2]
    assert np.array_equal(to_arrays(told), sound)


@pytest.mark.parametrize("levels", [2, 3, 7, 16, 255, 256])
def test_levels_share_the_values_out_evenly(levels):
    every = np.arange(256, dtype=np.uint8).reshape(1, 256)
    told = to_sequences(every, levels=levels)
    sizes = np.bincount(told.tokens.reshape(-1), minlength=levels)
    assert len(sizes) == levels and sizes.max() - sizes.min() <= 1 and sizes.min() >= 1
    assert told.tokens.reshape(-1).tolist() == sorted(told.tokens.reshape(-1).tolist())
    back = to_arrays(told)
    assert np.abs(back.astype(int) - every).max() <= -(-256 // levels) // 2
    assert torch.equal(to_sequences(back, levels=levels).tokens, told.tokens)


def test_fewer_values_than_the_type_holds():
    every = np.arange(17, dtype=np.uint8).reshape(1, 17)
    assert to_sequences(every, values=17).levels == 17
    assert to_sequences(every, values=17, levels=2).tokens.reshape(-1).tolist() == [0] * 9 + [1] * 8
    for arguments in ({"values": 16}, {"levels": 257}, {"values": 17, "levels": 18}, {"levels": 1}):
        with pytest.raises(ValueError, match=r"value|level"):
            to_sequences(every, **arguments)
    with pytest.raises(ValueError, match="not images"):
        to_sequences(np.zeros((2, 2)))
