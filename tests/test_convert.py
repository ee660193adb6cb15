"""`nnn-bench data convert`: the same conversations in another format, and nothing half-written."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pyarrow.parquet
import pytest
import typer
from typer.testing import CliRunner

from nnn_bench.commands.conversion import data_convert
from nnn_bench.config.errors import UserError
from nnn_bench.data.conversations import convert as convert_module
from nnn_bench.data.conversations.convert import convert
from nnn_bench.data.delivery.shelf import RawFile
from nnn_bench.data.readers.messages import read

RECORDS = [
    {"group": "why", "query": "Why?", "target": 'Because.\r\n\u2028\t"\\ é \U0001f600'},
    {"group": "g 1", "messages": [{"role": role, "content": role} for role in ("system", "user", "assistant")]},
    {"problem": 7, "query": [{"content": "a", "role": "user"}] * 2, "target": [{"content": "b", "role": "assistant"}]},
    {
        "group": "last",
        "messages": [
            {"role": "user", "content": " ."},
            {"role": "assistant", "content": "\x01"},
            {"role": "user", "content": "?"},
        ],
    },
]
ENDINGS = [".json", ".jsonl", ".parquet"]


def conversations(path: Path) -> list:
    return list(read([RawFile(path, path.name, "")]))


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.json"
    path.write_text(json.dumps(RECORDS, indent=1))
    return path


@pytest.mark.parametrize(("middle", "last"), itertools.product(ENDINGS, ENDINGS))
def test_a_way_there_and_back_changes_nothing(tmp_path, source, middle, last):
    wanted = conversations(source)
    made = [tmp_path / f"{i}{ending}" for i, ending in enumerate([middle, last, middle])]
    for before, after in itertools.pairwise([source, *made]):
        done = convert(before, after)
        assert (done.conversations, done.messages) == (4, 11)
        assert conversations(after) == wanted
    assert made[0].read_bytes() == made[2].read_bytes()  # what we wrote comes back to the byte
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.json", *(path.name for path in made)])


def test_what_is_written_is_plain_for_other_programs(tmp_path, source):
    convert(source, tmp_path / "out.json")
    convert(source, tmp_path / "out.jsonl")
    convert(source, tmp_path / "out.parquet")
    array = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert array == [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().decode().split("\n")[:-1]]
    assert array[0] == {
        "group": "why",
        "messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": RECORDS[0]["target"]}],
    }
    assert [record["group"] for record in array] == ["why", "g 1", "7", "last"]
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["messages", "group"]
    assert table["messages"].to_pylist() == [record["messages"] for record in array]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_group_that_nobody_named_is_not_written(tmp_path, ending):
    source, made, back = tmp_path / "in.jsonl", tmp_path / f"out{ending}", tmp_path / "back.json"
    source.write_text(
        "".join(
            json.dumps([{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": "."}]) + "\n"
            for i in range(3)
        )
    )
    convert(source, made)
    convert(made, back)
    assert all(set(record) == {"messages"} for record in json.loads(back.read_text()))
    assert conversations(made) == conversations(source)


def test_parquet_is_written_in_groups_of_bounded_size(tmp_path, source, monkeypatch):
    monkeypatch.setattr(convert_module, "_ROW_GROUP", (3, 1000))
    convert(source, tmp_path / "few.parquet")
    monkeypatch.setattr(convert_module, "_ROW_GROUP", (100, 10))
    convert(source, tmp_path / "small.parquet")
    for name, sizes in (("few", [3, 1]), ("small", [1, 1, 2])):  # 17, 19, and 3 and 3 characters
        metadata = pyarrow.parquet.read_metadata(tmp_path / f"{name}.parquet")
        assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == sizes
        assert conversations(tmp_path / f"{name}.parquet") == conversations(source)


def test_any_damage_to_a_parquet_file_of_ours_is_found(tmp_path, source):
    convert(source, tmp_path / "out.parquet")
    whole = (tmp_path / "out.parquet").read_bytes()
    data_ends = pyarrow.parquet.read_metadata(tmp_path / "out.parquet").row_group(0).column(2).data_page_offset
    for place in (whole.index(b"g 1"), data_ends - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        (tmp_path / "bad.parquet").write_bytes(damaged)
        with pytest.raises(UserError, match=r"bad\.parquet: cannot be read: the parquet file is damaged: .*CRC"):
            convert(tmp_path / "bad.parquet", tmp_path / "bad.json")
        assert not (tmp_path / "bad.json").exists()


def test_a_file_that_is_there_stays_unless_forced(tmp_path, source):
    target = tmp_path / "out.jsonl"
    target.write_bytes(b"mine")
    with pytest.raises(UserError, match="is there already; give another name, or --force"):
        convert(source, target)
    assert target.read_bytes() == b"mine"
    convert(source, target, force=True)
    assert conversations(target) == conversations(source)
    convert(source, source, force=True)  # onto itself
    assert conversations(source) == conversations(target)
    folder = tmp_path / "folder.json"
    folder.mkdir()
    with pytest.raises(UserError, match="is there already"):
        convert(source, folder, force=True)


@pytest.mark.parametrize("ending", ENDINGS)
def test_bad_input_leaves_no_file_and_what_was_there_and_the_next_call_works(tmp_path, source, ending):
    target = tmp_path / f"out{ending}"
    bad = tmp_path / "bad.jsonl"
    good = json.dumps({"query": "a", "target": "b"})
    bad.write_text(f"{good}\n" * 500 + '{"query": "a"}\n')
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"bad\.jsonl: line 501: has neither messages nor query and target"):
        convert(bad, target)
    assert sorted(tmp_path.iterdir()) == before
    target.write_bytes(b"mine")
    with pytest.raises(UserError):
        convert(bad, target, force=True)
    assert target.read_bytes() == b"mine" and len(list(tmp_path.iterdir())) == len(before) + 1
    bad.write_text(good)
    assert convert(bad, target, force=True).conversations == 1


def test_a_record_that_could_not_be_read_again_is_not_written(tmp_path, source, monkeypatch):
    monkeypatch.setattr(convert_module, "LONGEST", 100)
    for ending in (".json", ".jsonl"):
        with pytest.raises(UserError, match=r"a record of more than 0 MiB; write it to \.parquet"):
            convert(source, tmp_path / f"out{ending}")
    assert convert(source, tmp_path / "out.parquet").conversations == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.json", "out.parquet"]


def test_endings_and_files_that_are_not_there_are_one_line(tmp_path, source):
    for name, says in (("out.csv", "has .csv; conversations are written to"), ("out", "has no ending; conversations")):
        with pytest.raises(UserError, match=says):
            convert(source, tmp_path / name)
    with pytest.raises(UserError, match=r"inn\.json: is not a file that exists; did you mean 'in\.json'\?"):
        convert(tmp_path / "inn.json", tmp_path / "out.json")
    with pytest.raises(UserError, match="is not a file that exists; there is none"):
        convert(tmp_path / "nowhere" / "in.json", tmp_path / "out.json")
    with pytest.raises(UserError, match="cannot be written: No such file or directory"):
        convert(source, tmp_path / "nowhere" / "out.json")
    assert [path.name for path in tmp_path.iterdir()] == ["in.json"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_leaves_nothing(tmp_path, source, ending, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        convert(source, tmp_path / f"out{ending}")
    assert [path.name for path in tmp_path.iterdir()] == ["in.json"]
    monkeypatch.undo()
    assert convert(source, tmp_path / f"out{ending}").conversations == 4


def test_the_verb_says_how_much_it_wrote(tmp_path, source, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(data_convert)
    done = CliRunner().invoke(app, ["in.json", "out.parquet"])
    size = (tmp_path / "out.parquet").stat().st_size
    assert done.exit_code == 0
    assert done.output == f"out.parquet: 4 conversations, 11 messages, {size:,} bytes\n"
    again = CliRunner().invoke(app, ["in.json", "out.parquet"])
    assert isinstance(again.exception, UserError) and str(again.exception).startswith("out.parquet: is there already")
    assert CliRunner().invoke(app, ["in.json", "out.parquet", "--force"]).exit_code == 0
