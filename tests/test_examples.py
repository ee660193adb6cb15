"""Labelled data sets as tensors: cut in order, normalised by the training part alone."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from nnn_bench.config.datasets import Dataset
from nnn_bench.config.errors import UserError
from nnn_bench.config.files import sha256_of_file
from nnn_bench.config.paths import Project
from nnn_bench.config.validation import read_yaml, validate
from nnn_bench.data import content
from nnn_bench.data.delivery.shelf import Delivery, RawFile
from nnn_bench.data.labelled.arrays import Labelled, LabelledCut, LabelledPart, cut_labelled, load_labelled
from nnn_bench.data.labelled.examples import load_cut, load_examples, normalised
from nnn_bench.data.labelled.idx import write_idx


def part(labels: list[int], first: int = 0, dtype: type = np.uint8) -> LabelledPart:
    """Example number n holds n, n + 1 (two rows of one value)."""
    values = np.arange(first, first + len(labels), dtype=dtype).reshape(-1, 1, 1) + np.array([[[0], [1]]], dtype=dtype)
    return LabelledPart(values, np.array(labels, dtype=np.uint8))


def firsts(one: LabelledPart) -> list[int]:
    return one.values[:, 0, 0].tolist()


@pytest.fixture
def delivered(tmp_path, monkeypatch):
    """A project, and what stands in for the sources: it delivers these arrays as IDX files."""

    def give(*arrays: np.ndarray) -> tuple[Project, Dataset]:
        raw = []
        for number, array in enumerate(arrays):
            path = tmp_path / f"{number}.idx"
            write_idx(path, array)
            raw.append(RawFile(path, path.name, sha256_of_file(path)))
        monkeypatch.setattr(content, "fetch", lambda *_: Delivery(tuple(raw), {}))
        source = {"kind": "folder", "path": ".", "files": "*.idx"}
        told = {"summary": "s", "licence": "l", "citation": "c", "source": source, "reader": "idx"}
        return Project(tmp_path), Dataset.model_validate({**told, "validation_share": 0.25, "test_share": 0.2})

    return give


def test_without_a_published_test_part_the_last_are_the_test():
    cut = cut_labelled(Labelled(part([0, 1] * 5), None), 0.25, 0.2, file="f")
    assert [firsts(one) for one in (cut.train, cut.validation, cut.test)] == [[0, 1, 2, 3, 4, 5], [6, 7], [8, 9]]
    assert cut.classes == 2
    assert cut.test.labels.tolist() == [0, 1]


def test_a_published_test_part_stays_whole():
    cut = cut_labelled(Labelled(part([0, 1] * 4), part([1, 0, 1], first=100)), 0.25, 0.4, file="f")
    assert [firsts(one) for one in (cut.train, cut.validation, cut.test)] == [
        [0, 1, 2, 3, 4, 5],
        [6, 7],
        [100, 101, 102],
    ]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0] * 5 + [1] * 5, None, "the validation part (2 of 10 examples, taken in their order) has none of class 0"),
        ([0, 1] * 4, [0], "the test part (1 of 9 examples, taken in their order) has none of class 1"),
        ([0, 1] * 4, [0, 1, 2], "the training part (6 of 11 examples, taken in their order) has none of class 2"),
        ([0, 2] * 4, [0, 2], "the training part (6 of 10 examples, taken in their order) has none of class 1"),
        ([0], None, "the validation part (0 of 1 examples, taken in their order) has none of class 0"),
    ],
)
def test_each_part_needs_each_class(train, test, message):
    labelled = Labelled(part(train), None if test is None else part(test))
    with pytest.raises(UserError) as caught:
        cut_labelled(labelled, 0.25, 0.2, file="f")
    assert str(caught.value).startswith(f"f: {message}; number classes from 0")


def test_normalised_by_the_training_part_alone():
    def of(*values: int) -> LabelledPart:
        return LabelledPart(np.array(values, dtype=np.uint8).reshape(1, 2, 2), np.zeros(1, dtype=np.uint8))

    found = normalised(
        LabelledCut(of(0, 0, 10, 10), of(5, 15, 0, 10), of(255, 5, 5, 5), 1), layout="published", file="f"
    )
    assert (found.mean, found.deviation) == (5.0, 5.0)
    assert found.train.values.tolist() == [[[-1, -1], [1, 1]]]
    assert found.validation.values.tolist() == [[[0, 2], [-1, 1]]]
    assert found.test.values.tolist() == [[[50, 0], [0, 0]]]
    assert found.part("test") is found.test and len(found.test) == 1


def test_moments_are_those_of_all_values(monkeypatch):
    monkeypatch.setattr("nnn_bench.data.labelled.examples._AT_ONCE", 7)  # many pieces, the last one shorter
    values = np.random.default_rng(0).integers(0, 65536, (5, 3, 4)).astype(np.uint16)
    cut = LabelledCut(*[LabelledPart(values, np.zeros(5, dtype=np.uint8))] * 3, classes=1)
    found = normalised(cut, layout="flat", file="f")
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert found.deviation == pytest.approx(values.std(), rel=1e-12)
    assert found.train.values.shape == (5, 12)
    assert found.train.values.double().mean() == pytest.approx(0, abs=1e-6)
    assert found.train.values.double().std(unbiased=False) == pytest.approx(1, abs=1e-6)


def test_one_value_everywhere_is_refused():
    same = LabelledPart(np.full((2, 2, 2), 7, dtype=np.uint8), np.zeros(2, dtype=np.uint8))
    with pytest.raises(UserError, match=r"^f: all training values are the same"):
        normalised(LabelledCut(same, same, same, 1), layout="flat", file="f")


def test_a_data_set_from_its_files(delivered):
    one = part([0, 1] * 5)
    project, dataset = delivered(one.values, one.labels)
    found = load_examples(project, "small", dataset)
    assert found.train.values.dtype == torch.float32 and found.train.labels.dtype == torch.int64
    assert [tuple(found.part(name).values.shape) for name in ("train", "validation", "test")] == [
        (6, 2),
        (2, 2),
        (2, 2),
    ]
    assert load_examples(project, "small", dataset, layout="published").train.values.shape == (6, 2, 1)
    assert found.mean == 3.0 and found.deviation == pytest.approx(np.std([*range(6), *range(1, 7)]))
    back = found.test.values * found.deviation + found.mean
    assert torch.allclose(back, torch.tensor([[8.0, 9.0], [9.0, 10.0]]))
    assert found.test.labels.tolist() == [0, 1]

    assert firsts(load_cut(project, "small", dataset).validation) == [6, 7]
    record = content.make_content("small", dataset, project)
    assert (record.sha256, record.bytes, record.counts) == (Labelled(one, None).sha256, 30, {"train": 10})


def test_a_later_publication_without_test_part_drops_the_old_one(delivered):
    one = part([0, 1] * 5)
    project, dataset = delivered(one.values, one.labels, one.values, one.labels)
    assert len(load_cut(project, "small", dataset).test) == 10
    project, dataset = delivered(one.values, one.labels)
    assert len(load_cut(project, "small", dataset).test) == 2


def test_a_damaged_content_folder_is_named(delivered):
    one = part([0, 1] * 5)
    project, dataset = delivered(one.values, one.labels)
    content.make_content("small", dataset, project)
    folder = project.content("small")
    assert firsts(load_labelled(folder, {"train": 10}).train) == [*range(10)]
    path = folder / "train.values.npy"
    for damaged in (b"", path.read_bytes()[:-1], path.read_bytes()[:60]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="^" + re.escape(f"{path}: is damaged; delete its folder and start again")):
            load_labelled(folder, {"train": 10})


def test_text_has_no_labels(tmp_path):
    (tmp_path / "text.txt").write_text("no labels")
    source = {"kind": "file", "path": "text.txt"}
    dataset = Dataset.model_validate({"summary": "s", "licence": "l", "citation": "c", "source": source})
    with pytest.raises(UserError, match=r"config/datasets/notes\.yaml: is text, not images or sounds with labels"):
        load_cut(Project(tmp_path), "notes", dataset)


def test_real_digits_are_cut_between_writers(tmp_path):
    """Forms begin alike, with 0 to 9 three times: both cuts must fall there."""
    file = Project.find().config / "datasets" / "digits.yaml"
    dataset = validate(Dataset, read_yaml(file), file=file)
    cut = load_cut(Project(tmp_path), "digits", dataset)
    assert (len(cut.train), len(cut.validation), len(cut.test), cut.classes) == (1157, 258, 382, 10)
    for one in (cut.train, cut.validation, cut.test):
        assert one.labels[:30].tolist() == [*range(10)] * 3
    assert int(cut.train.values.max()) == 16
