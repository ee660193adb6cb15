"""The hub source, on local repositories in the hub's own format, and on a hub that is played by the tests."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError

from nnn_bench.config.datasets import HubSource
from nnn_bench.config.errors import UserError
from nnn_bench.config.files import write_json
from nnn_bench.config.paths import Project
from nnn_bench.data.delivery import hub_repository, hub_rows
from nnn_bench.data.delivery.hub_rows import ConversationRows, TextRows
from nnn_bench.data.delivery.shelf import OFFLINE, Unavailable
from nnn_bench.data.labelled.idx import read_idx
from nnn_bench.data.readers.idx import read as read_labelled
from nnn_bench.data.sources import hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"

FIRST = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "caf\u00e9?"},
    {"role": "assistant", "content": "Yes."},
]
TALKS = [
    FIRST,
    *([{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"a{i}\n"}] for i in range(1, 30)),
]


def parquet(path, columns, rows=10):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=rows)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return {"bytes": file.getvalue(), "path": None}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv(OFFLINE, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return Project(tmp_path)


@pytest.fixture
def talks(project):
    """Three files of messages in two splits, with a column that is not needed."""
    data = project.root / "repo" / "data"
    for name, part in (
        ("train-00000-of-00002", TALKS[:12]),
        ("train-00001-of-00002", TALKS[12:25]),
        ("test-00000-of-00001", TALKS[25:]),
    ):
        parquet(data / f"{name}.parquet", {"messages": part, "junk": ["x" * 1000] * len(part)}, rows=5)
    return project.root / "repo"


def source(columns=None, repository="./repo", **more):
    return HubSource(kind="hub", repository=repository, columns=columns or {"messages": "messages"}, **more)


def deliver(project, *arguments, **more):
    return hub.deliver(source(*arguments, **more), "mine", project)


def content(delivery):
    (raw,) = delivery.files
    assert raw.sha256 == hashlib.sha256(raw.path.read_bytes()).hexdigest()
    return raw.path.read_bytes().decode()


def lines(talks):
    return "".join(json.dumps({"messages": talk}, ensure_ascii=False, separators=(",", ":")) + "\n" for talk in talks)


def refused(project, *arguments, **more):
    with pytest.raises(UserError) as error:
        deliver(project, *arguments, **more)
    assert "\n" not in str(error.value)
    assert not list(project.cache.glob("downloads/*/*")) and not list(project.cache.glob("downloads/.*.filling/*"))
    return str(error.value)


# What is delivered


def test_messages_of_several_files_and_splits_become_lines_in_their_order(project, talks):
    delivery = deliver(project, splits=["train", "test"])
    assert content(delivery) == lines(TALKS)
    assert delivery.files[0].path.name == "content.jsonl"
    assert delivery.origin["rows"] == 30 and delivery.origin["revision"] == hub_repository._hash_of_folder(
        talks, "repo"
    )
    assert content(deliver(project, splits=["test"])) == lines(TALKS[25:])


def test_other_keys_of_a_message_are_left_out(project):
    told = [[{"role": "user", "content": "q", "name": "Ann"}, {"role": "assistant", "content": "a", "name": None}]]
    parquet(project.root / "repo" / "train.parquet", {"messages": told})
    assert (
        content(deliver(project)) == '{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}\n'
    )


def test_pairs_of_columns_become_query_and_target(project):
    """As JSON files, the format of the author's Maths-College."""
    path = project.root / "repo" / "part-0.json"
    path.parent.mkdir()
    path.write_text(json.dumps([{"id": i, "instruction": f"q{i}", "output": f"a\u00e9{i}"} for i in range(3)]))
    delivery = deliver(project, {"query": "instruction", "target": "output"})
    assert content(delivery) == "".join(f'{{"query":"q{i}","target":"a\u00e9{i}"}}\n' for i in range(3))


def test_lines_of_a_text_stay_lines(project):
    """As in wikitext: a row is a line with its end, an empty row an empty line, here and there two of them."""
    rows = ["", " = Title = \n", "", " One . \n", " Two . \n", "", "", " = Next = \n", ""]
    parquet(project.root / "repo" / "wiki" / "train.parquet", {"text": rows}, rows=2)
    assert content(deliver(project, {"text": "text"})) == " = Title = \n\n One . \n Two . \n\n = Next = \n"


def test_documents_are_parted_by_one_empty_line(project):
    rows = ["One.\nStill one.", "Two.\n\nStill two.\n\n", None, "", "Three.\n\n\n", "\nFour.", "line\n", "Five."]
    parquet(project.root / "repo" / "train.parquet", {"page": rows, "url": ["u"] * 8}, rows=2)
    expected = "One.\nStill one.\n\nTwo.\n\nStill two.\n\nThree.\n\nFour.\n\nline\n\nFive.\n"
    assert content(deliver(project, {"text": "page"})) == expected


@pytest.mark.parametrize("colour", [False, True])
def test_images_become_idx_files_in_the_order_of_the_reader(project, colour):
    shape = (6, 4, 3, 3) if colour else (6, 4, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    labels = [3, 0, 255, 1, 1, 2]
    for split, at in (("train", slice(0, 4)), ("test", slice(4, 6))):
        parquet(
            project.root / "repo" / "data" / f"{split}-0.parquet",
            {"image": [png(image) for image in pixels[at]], "digit": labels[at], "junk": ["x"] * len(labels[at])},
            rows=3,
        )
    delivery = deliver(project, {"image": "image", "label": "digit"}, splits=["train", "test"])
    names = ["0-train-values.idx", "1-train-labels.idx", "2-test-values.idx", "3-test-labels.idx"]
    assert [raw.path.name for raw in delivery.files] == names
    read = read_labelled(delivery.files)
    assert read.test is not None
    assert np.array_equal(np.concatenate([read.train.values, read.test.values]), pixels)
    assert [*read.train.labels, *read.test.labels] == labels and delivery.origin["rows"] == 6
    alone = deliver(project, {"image": "image", "label": "digit"}, splits=["test"])
    assert np.array_equal(read_idx(alone.files[0].path, "x"), pixels[4:]) and len(alone.files) == 2


@pytest.mark.parametrize("most", [1, 100, 500, 10**9])
def test_the_row_that_reaches_the_budget_is_the_last(project, talks, most):
    expected, size = [], 0
    for talk in TALKS[:25]:
        if size < most:
            expected.append(talk)
            size += len(lines([talk]).encode())
    assert content(deliver(project, most_bytes=most)) == lines(expected)


def test_of_parquet_only_the_needed_columns_are_read(project, talks):
    """The bytes of the other column are destroyed, which nobody notices who does not look at them."""
    for path in talks.rglob("*.parquet"):
        metadata = pq.ParquetFile(path).metadata
        with path.open("r+b") as file:
            for group in range(metadata.num_row_groups):
                (junk,) = [
                    column
                    for column in map(metadata.row_group(group).column, range(metadata.num_columns))
                    if column.path_in_schema == "junk"
                ]
                file.seek(junk.dictionary_page_offset or junk.data_page_offset)
                file.write(bytes(junk.total_compressed_size))
    assert content(deliver(project)) == lines(TALKS[:25])
    with pytest.raises(UserError, match=r"^\./repo: cannot be read as a data set: "):
        deliver(project, {"text": "junk"})


# What is kept


def test_a_folder_is_read_once_and_anew_when_it_changes(project, talks, monkeypatch):
    first = deliver(project)
    (talks / ".cache").write_text("hidden files are no part of a data set")
    with monkeypatch.context() as patched:
        patched.setattr(hub_repository.Repository, "splits", None)
        assert deliver(project) == first
    parquet(talks / "data" / "train-00002-of-00002.parquet", {"messages": TALKS[:1], "junk": ["x"]})
    second = deliver(project)
    assert content(second) == lines([*TALKS[:25], TALKS[0]]) and second.origin["revision"] != first.origin["revision"]
    assert content(deliver(project, revision=second.origin["revision"])) == content(second)
    assert "revision: ./repo has hash" in refused_revision(project, first.origin["revision"])


def refused_revision(project, revision):
    with pytest.raises(UserError) as error:
        deliver(project, revision=revision)
    return str(error.value)


class Killed(BaseException):
    """Nothing the product catches."""


@pytest.mark.parametrize(
    ("stop", "after"), [(Killed(), 1), (Killed(), 13), (Killed(), 26), (Unavailable("no network"), 29)]
)
def test_a_fetch_that_is_cut_off_goes_on_where_it_stood(project, talks, monkeypatch, stop, after):
    monkeypatch.setattr(hub, "_EVERY", 150)
    read = []
    rows = hub_repository.Repository.rows

    def cut(self, split):
        for number, row in enumerate(rows(self, split)):
            if len(read) == after:
                raise stop
            read.append(number)
            yield row

    with monkeypatch.context() as patched:
        patched.setattr(hub_repository.Repository, "rows", cut)
        with pytest.raises(type(stop)):
            deliver(project, splits=["train", "test"])
    (filling,) = project.cache.glob("downloads/.*.filling")
    assert (filling / ".place.json").exists() == (after > 2)
    seen = []
    monkeypatch.setattr(hub_repository.Repository, "rows", lambda self, split: _noted(rows(self, split), seen))
    assert content(deliver(project, splits=["train", "test"])) == lines(TALKS)
    assert len(seen) <= 30 - after + 3  # no more than what lay between two notes is read again


def _noted(rows, seen):
    for row in rows:
        seen.append(row)
        yield row


def test_a_fetch_that_is_cut_off_at_its_budget_does_not_go_past_it(project, talks, monkeypatch):
    def stop(path, data):
        write_json(path, data)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(hub, "write_json", stop)
        with pytest.raises(Killed):
            deliver(project, most_bytes=500)
    (noted,) = project.cache.glob("downloads/.*.filling/content.jsonl")
    whole = noted.read_text()
    assert content(deliver(project, most_bytes=500)) == whole and len(whole.encode()) >= 500


def test_text_that_is_cut_off_goes_on_with_the_empty_line_it_owes(project, monkeypatch):
    rows = ["One.", "", "a line\n", "b line\n", "Two.\n", "Three.", "Four."]
    parquet(project.root / "repo" / "train.parquet", {"text": rows}, rows=2)
    monkeypatch.setattr(hub, "_EVERY", 1)
    whole = content(deliver(project, {"text": "text"}))
    assert whole == "One.\n\na line\nb line\nTwo.\n\nThree.\n\nFour.\n"
    written = TextRows.written
    for after in (1, 3, 6):
        place = Project(project.root / f"again{after}")
        (place.root).mkdir()
        (place.root / "repo").symlink_to(project.root / "repo")
        left = [after]

        def cut(self, row, *, first, left=left):
            if not left[0]:
                raise Killed
            left[0] -= 1
            return written(self, row, first=first)

        with monkeypatch.context() as patched:
            patched.setattr(TextRows, "written", cut)
            with pytest.raises(Killed):
                deliver(place, {"text": "text"})
        assert content(deliver(place, {"text": "text"})) == whole


def test_a_local_folder_needs_no_network_and_writes_nothing_at_home(project, talks, monkeypatch, tmp_path):
    def refuse(*arguments):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv(OFFLINE, "1")
    assert content(deliver(project)) == lines(TALKS[:25])
    assert not (tmp_path / "home").exists()


# What is told


@pytest.mark.parametrize(
    ("columns", "more", "says"),
    [
        (
            {"messages": "mesages"},
            {},
            "columns.messages: ./repo has no column 'mesages'; did you mean 'messages'?",
        ),
        ({"text": "body"}, {}, "columns.text: ./repo has no column 'body'; known: junk, messages"),
        (None, {"splits": ["train", "tset"]}, "splits: there is no split 'tset'; did you mean 'test'?"),
        (None, {"configuration": "al"}, "configuration: there is no configuration 'al'; known: default"),
        (None, {"repository": "./absent"}, "repository: ./absent is not a folder that exists"),
        (
            None,
            {"repository": "smoltalk"},
            "repository: 'smoltalk' is no repository; give OWNER/NAME, or a local",
        ),
        (None, {"repository": "a/../b"}, "repository: 'a/../b' is no repository"),
        (None, {"revision": "main"}, "revision: ./repo has hash "),
        ({"text": "messages"}, {}, "row 0: column 'text' holds list, not text"),
        ({"messages": "junk"}, {}, "row 0: column 'messages' holds no list of messages"),
    ],
)
def test_what_the_repository_does_not_have_is_told_in_one_line(project, talks, columns, more, says):
    assert refused(project, columns, **more).startswith(f"config/datasets/mine.yaml: {says}")


def test_a_configuration_must_be_named_where_there_are_several(project):
    repo = project.root / "repo"
    parquet(repo / "one" / "a.parquet", {"text": ["1"]})
    parquet(repo / "two" / "b.parquet", {"text": ["2"]})
    (repo / "README.md").write_text(
        "---\nconfigs:\n- config_name: one\n  data_files: one/a.parquet\n"
        "- config_name: two\n  data_files: two/b.parquet\n---\n"
    )
    assert "must name one of the configurations; known: one, two" in refused(project, {"text": "text"})
    assert "'three'" in refused(project, {"text": "text"}, configuration="three")
    assert content(deliver(project, {"text": "text"}, configuration="two")) == "2\n"


@pytest.mark.parametrize("pattern", ["../secret.txt", "{root}/secret.txt"])
def test_a_repository_cannot_name_files_outside_itself(project, pattern):
    repo = project.root / "repo"
    repo.mkdir()
    (project.root / "secret.txt").write_text("secret")
    outside = pattern.format(root=project.root)
    (repo / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files: {outside}\n---\n")
    assert "names a file that is hidden, or not its own" in refused(project, {"text": "text"})


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "cannot be read as a data set"),
        ({"a.parquet": b"PAR1 no"}, "cannot be read as a data set"),
        ({"a.jsonl": b'{"messages": [\n'}, "cannot be read as a data set"),
        ({"a.h5": b"x"}, "is of the format hdf5; only parquet"),
        ({"a.jsonl": b""}, "repository: ./repo holds no rows"),
    ],
)
def test_what_is_no_data_set_is_told_in_one_line(project, files, says):
    (project.root / "repo").mkdir()
    for name, bytes_ in files.items():
        (project.root / "repo" / name).write_bytes(bytes_)
    assert says in refused(project)


def test_a_data_set_without_rows_is_told(project):
    parquet(project.root / "repo" / "a.parquet", {"text": pa.array([], pa.string())})
    assert "./repo holds no rows in the splits train" in refused(project, {"text": "text"})


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        ([np.zeros((4, 3)), np.zeros((4, 4))], [0, 1], "train: row 1: the image is 4 x 4, the first is 4 x 3"),
        ([np.zeros((4, 3)), np.zeros((4, 3, 3))], [0, 1], "train: row 1: the image is 4 x 3 x 3, the first is 4 x 3"),
        ([np.zeros((4, 3, 4))], [0], "train: row 0: the image is of mode RGBA"),
        ([np.zeros((4, 3))], [256], "train: row 0: label 256 is no class from 0 to 255"),
        ([np.zeros((4, 3))], [-1], "train: row 0: label -1 is no class"),
        ([None], [1], "train: row 0: holds no image"),
    ],
)
def test_images_that_are_no_array_together_are_refused(project, images, labels, says):
    told = [None if image is None else png(image.astype(np.uint8)) for image in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    parquet(project.root / "repo" / "train.parquet", {"image": pa.array(told, kind), "label": labels})
    assert says in refused(project, {"image": "image", "label": "label"})


def picture(path, pixels=((7, 8, 9),)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(pixels, dtype=np.uint8)).save(path)


STORED = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
PICTURES = {"image": "image", "label": "label"}


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("{root}/secret.png", "json"),
        ("{root}/secret.png", "parquet"),
        ("{root}/secret.png", "declared"),
        ("../secret.png", "json"),
        ("link.png", "json"),
        (".hidden/a.png", "json"),
        ("http://127.0.0.1:9/a.png", "declared"),
        ("file://{root}/repo/a.png", "json"),
    ],
)
def test_a_row_names_no_image_outside_its_folder(project, monkeypatch, path, form):
    """Not even to look whether it is there: nothing but the files of the folder is opened as an image."""
    repo = project.root / "repo"
    picture(project.root / "secret.png")
    picture(repo / ".hidden" / "a.png")
    picture(repo / "a.png")
    path = path.format(root=project.root)
    rows = {"image": [{"bytes": None, "path": path}], "label": [0]}
    if path == "link.png":  # made after the folder was hashed, which refuses links
        monkeypatch.setattr(hub_repository, "_hash_of_folder", lambda folder, shown: "0")
        (repo / "link.png").symlink_to(project.root / "secret.png")
    if form == "json":
        (repo / "a.jsonl").write_text(json.dumps({"image": path, "label": 0}) + "\n")
    else:
        told = {"info": {"features": {"image": {"_type": "Image"}, "label": {"_type": "Value", "dtype": "int64"}}}}
        table = pa.table({"image": pa.array(rows["image"], STORED), "label": rows["label"]})
        declared = {"huggingface": json.dumps(told)} if form == "declared" else None
        pq.write_table(table.replace_schema_metadata(declared), repo / "a.parquet")
    (repo / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n  data_files: a.{'jsonl' if form == 'json' else 'parquet'}\n---\n"
    )
    opened = []
    monkeypatch.setattr(Image, "open", lambda *a, **k: opened.append(a))
    assert "train: row 0: the image is " in (said := refused(project, PICTURES)) and "no file of a local folder" in said
    assert opened == []


def test_a_text_that_is_declared_an_image_is_not_opened(project, monkeypatch):
    picture(project.root / "secret.png")
    told = {"info": {"features": {"text": {"_type": "Image"}}}}
    table = pa.table({"text": pa.array([{"bytes": None, "path": str(project.root / "secret.png")}], STORED)})
    (project.root / "repo").mkdir()
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps(told)}), project.root / "repo" / "a.parquet"
    )
    opened = []
    monkeypatch.setattr(Image, "open", lambda *a, **k: opened.append(a))
    assert "column 'text' holds dict, not text" in refused(project, {"text": "text"}) and opened == []


def test_images_of_a_folder_are_read_from_it(project):
    for name, value in (("cat/1", 1), ("cat/2", 2), ("dog/1", 3)):
        picture(project.root / "repo" / "train" / f"{name}.png", [[value, 0], [0, value]])
    delivery = deliver(project, PICTURES)
    read = read_labelled(delivery.files)
    assert read.train.values.tolist() == [[[value, 0], [0, value]] for value in (1, 2, 3)]
    assert read.train.labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize("side", [2049, 14000, 1 << 20])
def test_an_image_that_would_fill_the_memory_is_not_decoded(project, monkeypatch, capfd, side):
    """The library would warn of the second, and not open the third at all."""
    header = b"IHDR" + struct.pack(">2I5B", side, 2048 if side < 4000 else 10000, 1, 0, 0, 0, 0)
    parts = (header, b"IDAT" + zlib.compress(bytes(100)), b"IEND")
    stored = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts
    )
    rows = {"image": pa.array([{"bytes": stored, "path": None}], STORED), "label": [0]}
    parquet(project.root / "repo" / "train.parquet", rows)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    assert "4,194,304 pixels; make it smaller" in refused(project, PICTURES)
    assert capfd.readouterr().err == ""


def test_images_stop_where_together_they_are_too_many(project, monkeypatch):
    monkeypatch.setattr(hub_rows, "_MOST_BYTES", 30)
    rows = {"image": [png(np.zeros((4, 3), np.uint8))] * 3, "label": [0] * 3}
    parquet(project.root / "repo" / "train.parquet", rows)
    assert "train: row 2: the images so far take more than 30 bytes" in refused(project, PICTURES)


@pytest.mark.parametrize(
    "stored", [b"", b"no image", png(np.zeros((40, 30), np.uint8))["bytes"][:50], b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_what_is_no_image_is_told(project, stored):
    parquet(project.root / "repo" / "train.parquet", {"image": [stored], "label": [0]})
    assert "train: row 0: the image cannot be decoded" in refused(project, PICTURES)


def test_hidden_files_and_linked_folders_are_not_read(project):
    """The hash of a folder is not over hidden files."""
    repo, outside = project.root / "repo", project.root / "outside"
    (repo / ".secret").mkdir(parents=True)
    outside.mkdir()
    (outside / "x.txt").write_text("secret")
    (repo / ".secret" / "x.txt").symlink_to(outside / "x.txt")
    (repo / ".secret" / "y.txt").write_text("secret")
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {}\n---\n"
    for path in (".secret/x.txt", ".secret/y.txt"):
        (repo / "README.md").write_text(card.format(path))
        assert "names a file that is hidden, or not its own" in refused(project, {"text": "text"})
    (repo / "linked").symlink_to(outside)
    (repo / "README.md").write_text(card.format("linked/x.txt"))
    assert "./repo/linked: is not a plain file below the folder" in refused(project, {"text": "text"})


def test_the_hidden_card_is_part_of_a_folder(project, talks):
    first = hub_repository._hash_of_folder(talks, "repo")
    (talks / ".huggingface.yaml").write_text("license: mit\n")
    assert hub_repository._hash_of_folder(talks, "repo") != first


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"columns": PICTURES, "most_bytes": 5}, "is for text and conversations; leave it out"),
        ({"splits": ["train", "test", "train"]}, "'train' is named twice"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused(more, says):
    with pytest.raises(ValidationError, match=says):
        source(**more)


@pytest.mark.parametrize("notes", [0, 1])
def test_a_full_disk_leaves_nothing_half_written(project, talks, monkeypatch, notes):
    """What was noted is kept for the next try, and no byte behind it."""
    monkeypatch.setattr(hub, "_EVERY", 150)
    synced = []

    def full(number):
        synced.append(number)
        if len(synced) > notes:
            raise OSError(errno.ENOSPC, "No space left on device")

    class Disk:
        truncate = staticmethod(os.truncate)
        fsync = staticmethod(full)

    with monkeypatch.context() as patched:
        patched.setattr(hub, "os", Disk)
        with pytest.raises(UserError, match="cannot be written: No space left on device"):
            deliver(project)
    left = [path for path in project.cache.glob("downloads/.*.filling/*") if path.name == "content.jsonl"]
    if notes:
        (noted,) = project.cache.glob("downloads/.*.filling/.place.json")
        assert left[0].stat().st_size == json.loads(noted.read_text())["bytes"] > 0
    else:
        assert not list(project.cache.glob("downloads/.*.filling"))
    assert content(deliver(project)) == lines(TALKS[:25])


# The hub itself, played


@pytest.fixture
def played(project, talks, monkeypatch):
    """Puts `talks` in the place of a repository; returns the list of calls and of what the hub raises in turn."""
    import datasets
    import huggingface_hub

    load = datasets.load_dataset_builder
    calls, raised = [], []

    class Answer:
        sha = COMMIT

    def dataset_info(self, repository, *, revision=None, timeout=None):
        calls.append(("info", repository, revision))
        if raised:
            raise raised.pop(0)
        return Answer()

    def load_dataset_builder(path, name=None, *, revision=None, **options):
        calls.append(("load", path, revision))
        if raised:
            raise raised.pop(0)
        builder = load(talks.as_posix(), name, **options)
        builder.config.data_files = {
            split: [str(file) for file in files] for split, files in builder.config.data_files.items()
        }
        return builder

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(datasets, "load_dataset_builder", load_dataset_builder)
    monkeypatch.setattr(hub_repository, "_is_own", lambda file, inside: True)
    return calls, raised


def test_a_branch_becomes_the_commit_it_names_and_stays(project, played):
    calls, _ = played
    delivery = deliver(project, repository="owner/talks")
    assert content(delivery) == lines(TALKS[:25]) and delivery.origin["revision"] == COMMIT
    assert calls == [("info", "owner/talks", None), ("load", "hf://datasets/owner/talks", COMMIT)]
    assert deliver(project, repository="owner/talks") == delivery and len(calls) == 2


def test_a_fetch_goes_on_in_the_commit_it_began_with(project, played, monkeypatch):
    calls, _ = played
    monkeypatch.setattr(hub, "_EVERY", 150)
    rows = hub_repository.Repository.rows

    def cut(self, split):
        for number, row in enumerate(rows(self, split)):
            if number == 9:
                raise Killed
            yield row

    with monkeypatch.context() as patched:
        patched.setattr(hub_repository.Repository, "rows", cut)
        with pytest.raises(Killed):
            deliver(project, repository="owner/talks")
    assert content(deliver(project, repository="owner/talks")) == lines(TALKS[:25])
    assert [call[0] for call in calls] == ["info", "load", "load"] and calls[-1][2] == COMMIT


def test_offline_nothing_is_asked(project, played, monkeypatch):
    monkeypatch.setenv(OFFLINE, "1")
    with pytest.raises(Unavailable, match=OFFLINE):
        deliver(project, repository="owner/talks")
    assert played[0] == []


def _hub_errors():
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub import errors

    def answered(kind, status):
        response = errors.Response(status, request=_request())
        return kind("Client Error\nRequest ID: 1", response=response)

    return [
        (
            answered(errors.RepositoryNotFoundError, 401),
            UserError,
            "repository: the hub has no data set owner/talks",
        ),
        (answered(errors.GatedRepoError, 403), Unavailable, "owner/talks is only for users its owner admits"),
        (answered(errors.RevisionNotFoundError, 404), UserError, "revision: owner/talks has no revision"),
        (answered(errors.HfHubHTTPError, 503), Unavailable, "cannot be had from the hub: Client Error; try again"),
        (errors.HTTPError("timed out"), Unavailable, "cannot be had from the hub: timed out"),
        (errors.OfflineModeIsEnabled("offline"), Unavailable, "cannot be had from the hub: offline"),
        (DatasetNotFoundError("Dataset 'x' is a gated dataset on the Hub."), Unavailable, "is only for users"),
        (DatasetNotFoundError("Dataset 'x' doesn't exist"), UserError, "the hub has no data set owner/talks"),
        (RuntimeError("Dataset scripts are no longer supported"), UserError, "Dataset scripts are no longer supported"),
    ]


def _request():
    import importlib

    from huggingface_hub import errors

    return importlib.import_module(errors.Response.__module__.split(".")[0]).Request("GET", "https://hub.invalid/")


@pytest.mark.parametrize("number", range(9))
def test_what_the_hub_answers_is_told_in_one_line(project, played, monkeypatch, number):
    """Those of `huggingface_hub` when the commit is asked for, those of `datasets` when the repository is opened."""
    error, kind, says = _hub_errors()[number]
    if "huggingface_hub" not in type(error).__module__:
        monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *a, **k: type("Answer", (), {"sha": COMMIT}))
    played[1].append(error)
    with pytest.raises(UserError) as told:
        deliver(project, repository="owner/talks")
    assert type(told.value) is kind and says in str(told.value) and "\n" not in str(told.value)
    assert not played[1]


def test_after_the_hub_failed_the_next_fetch_is_whole(project, played):
    from huggingface_hub.errors import OfflineModeIsEnabled

    played[1].append(OfflineModeIsEnabled("no network"))
    with pytest.raises(Unavailable):
        deliver(project, repository="owner/talks")
    assert content(deliver(project, repository="owner/talks")) == lines(TALKS[:25])


def test_conversation_rows_are_json_of_text_alone():
    rows = ConversationRows()
    assert (
        rows.written({"query": "q\n\u2028", "target": None}, first=True).decode()
        == '{"query":"q\\n\u2028","target":null}\n'
    )
    with pytest.raises(UserError, match="columns query, target hold more than text"):
        rows.written({"query": b"q", "target": "t"}, first=True)
