"""Conversations: what the files of a user say, what is refused and where, and what is kept of the published chats."""

from __future__ import annotations

import hashlib
import io
import json
import tracemalloc
from collections import deque
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from nnn_bench.config.errors import UserError
from nnn_bench.data.conversations import json_records
from nnn_bench.data.conversations.conversation import Conversation, Message
from nnn_bench.data.delivery.shelf import RawFile
from nnn_bench.data.readers import champ_chats, champ_solutions, chitchat, messages, text

HELLO = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}]


def raw(folder: Path, name: str, content: bytes | str | object) -> RawFile:
    """A file `name` that holds `content`: bytes, text, or plain data as JSON."""
    if not isinstance(content, bytes):
        content = (content if isinstance(content, str) else json.dumps(content)).encode()
    (folder / name).write_bytes(content)
    return RawFile(folder / name, name, hashlib.sha256(content).hexdigest())


def parquet(rows: list[dict], schema: pyarrow.Schema | None = None) -> bytes:
    held = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), held, row_group_size=2)
    return held.getvalue()


def said(conversation: Conversation) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in conversation.messages]


def refusal(read, file: RawFile) -> str:
    with pytest.raises(UserError) as caught:
        deque(read([file]), maxlen=0)
    return str(caught.value)


#: one conversation in every shape
WANTED = [("user", "Hello"), ("assistant", "Hi!")]
SHAPES = {
    "messages": {"messages": HELLO},
    "list": HELLO,
    "pair": {"query": "Hello", "target": "Hi!"},
    "lists": {"query": [{"content": "Hello", "role": "user"}], "target": [{"content": "Hi!", "role": "assistant"}]},
    "other keys": {"source": None, "messages": [{**one, "name": "x", "weight": 1.5} for one in HELLO]},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_says_the_same_in_every_format(tmp_path, shape):
    record = SHAPES[shape]
    files = [
        raw(tmp_path, "array.json", [record, record]),
        raw(tmp_path, "pretty.JSON", json.dumps([record, record], indent=2)),
        raw(tmp_path, "mark.json", b"\xef\xbb\xbf" + json.dumps([record, record]).encode()),
        raw(tmp_path, "lines.jsonl", f"{json.dumps(record)}\r\n\n{json.dumps(record)}"),
    ]
    if isinstance(record, dict):
        files.append(raw(tmp_path, "rows.parquet", parquet([record, record])))
        files.append(raw(tmp_path, "one.json", [record] * 2))
    for file in files:
        assert [said(one) for one in messages.read([file])] == [WANTED, WANTED], file.shown
    one = list(messages.read([raw(tmp_path, "single.json", record)]))
    assert [said(each) for each in one] == [WANTED]  # an array of messages is one conversation
    assert len(list(messages.read(files))) == 2 * len(files)


def test_content_is_kept_to_the_character_and_so_are_messages_of_one_role_in_a_row(tmp_path):
    told = [
        {"role": "system", "content": " Be\tbrief. \n"},
        {"role": "user", "content": "first"},
        {"role": "user", "content": "<|assistant|> \u2028 é e\u0301 \U0001f600 \\n \r\n \x1b[31m"},
        {"role": "assistant", "content": '{"role": "user"}'},
    ]
    for ascii_only in (True, False):
        file = raw(tmp_path, "a.jsonl", json.dumps({"messages": told}, ensure_ascii=ascii_only))
        (found,) = messages.read([file])
        assert said(found) == [(one["role"], one["content"]) for one in told]
        assert Conversation.from_line(found.to_line()) == found


def test_one_question_is_one_group_whatever_its_case_and_blanks_unless_a_group_is_named(tmp_path):
    def record(question, answer, **more):
        return {"query": question, "target": answer, **more}

    unnamed = [record("What is 2 + 2?", "4"), record("  what IS 2\n+ 2? ", "four"), record("What is 2 + 3?", "5")]
    named = [
        record("What is 2 + 2?", "4!", group="sums"),
        record("What is 9?", "9", problem="sums"),
        record("What is 2 + 2?", "4?", problem=17, group=None),
    ]
    one, other, third = [each.group for each in messages.read([raw(tmp_path, "a.json", unnamed)])]
    assert one == other == hashlib.sha256(b"what is 2 + 2?").hexdigest()[:16] != third
    assert [each.group for each in messages.read([raw(tmp_path, "b.json", named)])] == ["sums", "sums", "17"]
    # a named and an unnamed group of one question could go to two splits
    for mixed, number, says in ((unnamed + named, 4, "names a group"), (named + unnamed, 4, "names no group")):
        with pytest.raises(
            UserError, match=rf"^c\.json: record {number} .*{says}, unlike those before; all must, or none$"
        ):
            list(messages.read([raw(tmp_path, "c.json", mixed)]))


def with_message(**message):
    return {"messages": [HELLO[0], message]}


#: what is wrong, the record, what is said after "line 2: "
RECORDS = {
    "missing role": (with_message(content="Hi"), "message 2 has no role"),
    "null role": (with_message(role=None, content="Hi"), "message 2 has no role"),
    "unknown role": (
        with_message(role="asistant", content="Hi"),
        "message 2 has the unknown role 'asistant'; did you mean 'assistant'?",
    ),
    "foreign role": (
        with_message(role="gpt", content="Hi"),
        "message 2 has the unknown role 'gpt'; known: assistant, system, user",
    ),
    "role of capitals": (with_message(role="User", content="Hi"), "unknown role 'User'; did you mean 'user'?"),
    "escapes in a role": (with_message(role="\x1b[2J\n", content="Hi"), r"unknown role '\x1b[2J\n'; known"),
    "role a number": (with_message(role=1, content="Hi"), "message 2: role is a number, not text"),
    "role a list": (with_message(role=["user"], content="Hi"), "message 2: role is a list, not text"),
    "missing content": (with_message(role="assistant"), "message 2 has no content"),
    "null content": (with_message(role="assistant", content=None), "message 2 has no content"),
    "nested content": (
        with_message(role="assistant", content=[{"type": "text", "text": "Hi"}]),
        "the content of message 2 is a list, not text; give its text alone",
    ),
    "content an object": (with_message(role="assistant", content={"text": "Hi"}), "message 2 is an object, not text"),
    "content a number": (with_message(role="assistant", content=4), "the content of message 2 is a number"),
    "content true": (with_message(role="assistant", content=True), "the content of message 2 is true or false"),
    "empty content": (with_message(role="assistant", content=""), "the content of message 2 is empty"),
    "blank content": (with_message(role="assistant", content=" \n"), "the content of message 2 is empty"),
    "NUL": (with_message(role="assistant", content="a\0"), "the content of message 2 holds a NUL character"),
    "half a pair": (with_message(role="assistant", content="ab\ud83d"), "half of a surrogate pair (character 3)"),
    "message a string": ({"messages": ["Hello", "Hi"]}, "message 1 is text, not an object with role and content"),
    "only users": ({"messages": HELLO[:1] * 2}, "no message is the assistant's; a conversation needs a user and an"),
    "only assistants": ({"messages": HELLO[1:]}, "no message is the user's"),
    "late system": (
        {"messages": [*HELLO, {"role": "system", "content": "x"}]},
        "message 3 is the system's; only the first may be",
    ),
    "no messages": ({"messages": []}, "there is no message"),
    "messages a string": ({"messages": "Hello"}, "messages is text, not a list of messages"),
    "null messages": ({"messages": None}, "messages is null, not a list"),
    "message alone": (HELLO[0], "has neither messages nor query and target; its keys: 'role', 'content'"),
    "no target": ({"query": "Hello"}, "has neither messages nor query and target; its keys: 'query'"),
    "no keys": ({}, "its keys: none"),
    "empty target": ({"query": "Hello", "target": ""}, "target is empty"),
    "null target": ({"query": "Hello", "target": None}, "target is null, not text"),
    "query a number": ({"query": 7, "target": "Hi"}, "query is a number, not text"),
    "user in target": ({"query": "Hello", "target": HELLO}, "target has a message of the user's"),
    "bad query list": ({"query": [{"content": "x"}], "target": "Hi"}, "query message 1 has no role"),
    "number": (4, "is a number; a record is an object or a list of messages"),
    "string": ("Hello", "is text; a record is an object"),
    "null": (None, "is null; a record is"),
    "group a list": ({"messages": HELLO, "group": ["a"]}, "group is a list; it must be text or a whole number"),
    "group true": ({"messages": HELLO, "problem": True}, "problem is true or false"),
    "group blank": ({"messages": HELLO, "group": " "}, "group is empty"),
    "group with NUL": ({"messages": HELLO, "group": "\0"}, "group holds a NUL"),
}


@pytest.mark.parametrize("case", RECORDS)
def test_a_record_that_is_no_conversation_is_one_line_that_says_where(tmp_path, case):
    record, says = RECORDS[case]
    good = {"messages": HELLO}
    told = refusal(messages.read, raw(tmp_path, "a.jsonl", f"{json.dumps(good)}\n{json.dumps(record)}\n"))
    assert told.startswith("a.jsonl: line 2: ") and says in told and "\n" not in told
    told = refusal(messages.read, raw(tmp_path, "a.json", f"[{json.dumps(good)},\n\n {json.dumps(record)}]"))
    if isinstance(record, dict | list):
        assert told.startswith("a.json: record 2 (line 3): ") and says in told
    else:  # said before it is known what it would be
        assert told == "a.json: line 3, column 2: record 2 is neither an object nor an array"


GOOD = json.dumps({"messages": HELLO})

#: name of the file, its bytes, what is said
FILES = {
    "empty": ("a.json", b"", "a.json: is empty"),
    "empty lines": ("a.jsonl", b"\n \n", "a.jsonl: is empty"),
    "only a mark": ("a.jsonl", b"\xef\xbb\xbf", "a.jsonl: is empty"),
    "no records": ("a.json", b"[ ]", "a.json: holds no conversation"),
    "comma missing": (
        "a.json",
        f"[{GOOD}\n  {GOOD}]".encode(),
        "line 2, column 3: malformed JSON: expecting ',' or ']'",
    ),
    "comma too many": (
        "a.json",
        f"[{GOOD},\n]".encode(),
        "line 2, column 1: record 2 is neither an object nor an array",
    ),
    "cut between": ("a.json", f"[{GOOD},\n".encode(), "line 2, column 1: the text is cut off"),
    "cut after": ("a.json", f"[{GOOD}".encode(), "expecting ',' or ']'; the text may be cut off"),
    "cut inside": ("a.json", b'[\n{"query":\n "a', "line 3, column 2: malformed JSON: unterminated string"),
    "broken inside": ("a.json", b'[\n{"query":\n nul}]', "line 3, column 2: malformed JSON: expecting value"),
    "lines named json": (
        "a.json",
        f"{GOOD}\n{GOOD}".encode(),
        "line 2, column 1: there is more after the end of the JSON",
    ),
    "text named json": ("a.json", b"Hello", "line 1, column 1: a record or an array of records must begin with { or ["),
    "broken line": (
        "a.jsonl",
        f'{GOOD}\n{{"query": x}}'.encode(),
        "a.jsonl: line 2, column 11: malformed JSON: expecting",
    ),
    "two in a line": (
        "a.jsonl",
        f"{GOOD} {GOOD}".encode(),
        f"line 1, column {len(GOOD) + 2}: malformed JSON: extra data",
    ),
    "array in lines": (
        "a.jsonl",
        f"[\n{GOOD}\n]".encode(),
        "line 1, column 2: malformed JSON: expecting value; the text may be",
    ),
    "key twice": ("a.jsonl", b'{"query": "a", "query": "b", "target": "c"}', "line 1: key 'query' is given twice"),
    "key twice in an array": (
        "a.json",
        b'[{"messages": [{"role": "user", "role": "user"}]}]',
        "record 1 (line 1): key 'role'",
    ),
    "NaN": ("a.jsonl", b'{"query": "a", "target": "b", "weight": NaN}', "line 1: NaN is not a number that JSON knows"),
    "infinite": ("a.json", b'[{"query": -Infinity}]', "record 1 (line 1): -Infinity is not a number"),
    "endless number": ("a.jsonl", b'{"n": ' + b"9" * 5000 + b"}", "line 1: holds a number of too many digits"),
    "deep": ("a.jsonl", b"[" * 200_000, "line 1: is nested too deeply"),
    "deep array": ("a.json", b"[" * 200_000, "record 1 (line 1): is nested too deeply"),
    "not UTF-8": ("a.jsonl", GOOD.encode() + b"\n\xff", f"a.jsonl: is not UTF-8 (byte {len(GOOD) + 1})"),
    "UTF-16": ("a.json", GOOD.encode("utf-16"), "a.json: is not UTF-8 (byte 0)"),
    "raw NUL": ("a.jsonl", GOOD.encode() + b"\n\0", "holds a NUL character"),
    "other ending": ("a.csv", b"x", "a.csv: conversations are read from files that end in .json, .jsonl or .parquet"),
    "no parquet": ("a.parquet", b"Hello, this is text", "a.parquet: is no parquet file that can be read"),
    "empty parquet": ("a.parquet", b"", "a.parquet: is no parquet file that can be read"),
    "cut parquet": (
        "a.parquet",
        parquet([{"messages": HELLO}])[:-20],
        "a.parquet: is no parquet file that can be read",
    ),
    "no rows": (
        "a.parquet",
        parquet([], pyarrow.schema([("query", "string"), ("target", "string")])),
        "a.parquet: is empty",
    ),
    "no column": (
        "a.parquet",
        parquet([{"text": "a", "query": "b"}]),
        "a.parquet: has no column messages, or query and target; its columns: text, query",
    ),
    "messages of text": ("a.parquet", parquet([{"messages": "[]"}]), "a.parquet: row 1: messages is text, not a list"),
    "third row": (
        "a.parquet",
        parquet([{"query": "a", "target": t} for t in ("b", "c", None)]),
        "row 3: target is null",
    ),
    "role of rows": (
        "a.parquet",
        parquet([{"messages": HELLO}, {"messages": [{"role": "human", "content": "x"}]}]),
        "a.parquet: row 2: message 1 has the unknown role 'human'",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_be_read_is_one_line_that_says_where(tmp_path, case):
    name, content, says = FILES[case]
    told = refusal(messages.read, raw(tmp_path, name, content))
    assert told.startswith(f"{name}: ") and says in told and "\n" not in told


def test_parquet_with_damaged_pages_or_text_that_is_no_utf_8_is_one_line(tmp_path):
    whole = parquet([{"query": f"question {i} " * 40, "target": "b" * 400} for i in range(8)])
    told = set()
    for place in range(8, len(whole) - 8, 97):
        damaged = bytearray(whole)
        damaged[place : place + 8] = b"\xff" * 8
        file = raw(tmp_path, "a.parquet", bytes(damaged))
        try:
            list(messages.read([file]))
        except UserError as error:
            told.add(str(error).split(":")[1].strip())
    assert any("parquet" in line or "cannot be read" in line for line in told)
    column = pyarrow.array([b"\xff\xfe"], pyarrow.binary()).view(pyarrow.string())
    held = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"query": column, "target": ["a"]}), held)
    assert "holds text that is not UTF-8, at row 1" in refusal(
        messages.read, raw(tmp_path, "b.parquet", held.getvalue())
    )


def test_only_the_columns_that_are_needed_are_read(tmp_path, monkeypatch):
    asked = []
    real = pyarrow.parquet.ParquetFile.iter_batches

    def watched(self, *, batch_size, columns):
        asked.append(columns)
        return real(self, batch_size=batch_size, columns=columns)

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", watched)
    rows = [{"picture": b"x" * 10, "messages": HELLO, "query": "no", "target": "no", "problem": "p"}]
    (found,) = messages.read([raw(tmp_path, "a.parquet", parquet(rows))])
    assert said(found) == WANTED and found.group == "p"
    assert asked == [["messages", "problem"]]


def test_a_record_of_more_than_the_bound_is_refused_and_one_below_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(json_records, "LONGEST", 3 << 20)
    long, longer = ({"query": "q", "target": "é" * (size << 20)} for size in (2, 4))
    for name, where in (("a.jsonl", "line 3"), ("a.json", "record 3 (line 3)")):
        opening, between, end = ("[", ",\n", "]") if name == "a.json" else ("", "\n", "")

        def joined(*records, parts=(opening, between, end)):
            return parts[0] + parts[1].join(json.dumps(one, ensure_ascii=False) for one in records) + parts[2]

        found = list(messages.read([raw(tmp_path, name, joined(long, long))]))
        assert [len(one.messages[1].content) for one in found] == [2 << 20] * 2
        told = refusal(messages.read, raw(tmp_path, name, joined(long, long, longer, longer)))
        assert told == f"{name}: {where} is longer than 3 MiB"


def test_a_conversation_of_more_than_the_bound_is_refused_however_it_comes(tmp_path, monkeypatch):
    monkeypatch.setattr(messages, "LONGEST", 1000)
    long = [HELLO[0], {"role": "assistant", "content": "a" * 996}]
    told = refusal(messages.read, raw(tmp_path, "a.parquet", parquet([{"messages": HELLO}, {"messages": long}])))
    assert told == "a.parquet: row 2: the conversation is longer than 0 MiB"
    assert refusal(messages.read, raw(tmp_path, "a.json", long)) == "a.json: is one conversation of more than 0 MiB"
    long[1]["content"] = "a" * 995
    (found,) = messages.read([raw(tmp_path, "a.parquet", parquet([{"messages": long}]))])
    assert len(found.messages[1].content) == 995


@pytest.mark.parametrize("at_once", [3, 7])
def test_a_file_may_be_cut_into_pieces_anywhere(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(text, "_AT_ONCE", at_once)
    record = {"query": 'é\u2028"\\\n[{,', "target": "\U0001f600 end", "meta": [-1.5e-7, None, True, {"a": []}, 12]}
    for ascii_only, indent in ((True, None), (False, 1)):
        whole = json.dumps([record] * 3, ensure_ascii=ascii_only, indent=indent)
        found = list(messages.read([raw(tmp_path, "a.json", whole)]))
        assert [said(one) for one in found] == [[("user", record["query"]), ("assistant", record["target"])]] * 3
        for broken in (whole.replace("true", "treu"), whole.replace("-1.5", "-x"), whole[:-9], whole + "1"):
            with pytest.raises(json.JSONDecodeError) as wanted:
                json.loads(broken)
            told = refusal(messages.read, raw(tmp_path, "a.json", broken))
            assert told.startswith(f"a.json: line {wanted.value.lineno}, column {wanted.value.colno}: ")


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_memory_does_not_grow_with_the_file_and_places_stay_exact(tmp_path, name):
    filler = json.dumps({"query": "é" * 4000, "target": "\\" * 2000, "meta": [1.5, {"a": None}]}, ensure_ascii=False)
    records = 1_400
    between = ",\n" if name == "a.json" else "\n"
    lines = between.join([filler] * records)
    file = raw(tmp_path, name, f"[{lines}{between}  nonsense]" if name == "a.json" else f"{lines}{between}  nonsense")
    assert file.path.stat().st_size > 16 << 20
    tracemalloc.start()
    told = refusal(messages.read, file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert f"line {records + 1}, column 3: " in told
    assert peak < 12 << 20


def chats(*texts: list[tuple[str, str]]) -> dict:
    """In the shape of chitchat: ids `c0`, `c1` ... from the last to the first; each message is a block of its own."""
    made = {
        f"c{i}": {"prompt": "", "messages": [[{"text": text, "sender": who, "timestamp": "t"}] for who, text in said]}
        for i, said in enumerate(texts)
    }
    return dict(reversed(made.items()))


def test_chitchat_joins_what_one_speaker_says_and_leaves_out_short_chats_and_addresses(tmp_path):
    kept = [("x", "Hello"), ("x", "you "), ("y", "Hi"), ("x", " "), ("y", "and?"), ("x", "me@home"), ("y", "ok.")]
    short = [("x", "a"), ("y", "b"), ("x", "c"), ("x", "d")]
    mail = [("x", "a"), ("y", "b"), ("x", "some.one@host.org"), ("y", "d")]
    link = [("x", "a"), ("y", "b"), ("x", "c"), ("y", "see http://x")]
    other = [("y", "1"), ("x", "2"), ("y", "3"), ("x", "4")]
    first, second = chitchat.read([raw(tmp_path, "d.json", chats(kept, short, mail, link, other))])
    assert said(first) == [
        ("user", "Hello you"),
        ("assistant", "Hi"),
        ("assistant", "and?"),
        ("user", "me@home"),
        ("assistant", "ok."),
    ]
    assert said(second) == [("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4")]
    assert (first.group, second.group) == ("c0", "c4")


def champ(*chats: tuple[str, str, list[tuple[str, str | None]]]) -> dict:
    """In the shape of CHAMP: (problem, setting, messages); the first letters of a role say which; no text is a failed call."""
    roles = {"sy": "System", "us": "User", "mo": "Model.GPT-4 Turbo", "im": "Imputation"}
    problems: dict = {}
    for problem, setting, told in chats:
        steps = [{"_text": "Square it.", "_raw_text": "@@"}, {"_text": "Done.", "_raw_text": "@@"}]
        made = problems.setdefault(
            problem,
            {"_text": f"Solve {problem}.", "_answer": "x=1", "solution": {"steps": steps}, "conversations": {}},
        )
        made["conversations"][setting] = {
            "messages": [{"role": roles[who], "text": text, "error": None if text else "LENGTH"} for who, text in told]
        }
    return {"problems": problems, "concepts": {}, "hints": {}}


def test_champ_chats_keep_roles_and_leave_out_examples_failures_and_repeats(tmp_path):
    told = [("sy", "s"), ("us", "q"), ("mo", "a"), ("us", "sum up"), ("mo", "b")]
    repeat = [*told[:3], ("us", "sum up"), ("mo", "c")]  # other only after the first answer
    failed = [*told[:1], ("us", "q2"), ("mo", "a"), ("us", "sum up"), ("mo", None)]
    other = [("sy", "s"), ("us", "q"), ("mo", "a2"), ("us", "sum up"), ("mo", "b")]
    examples = [("sy", "s"), ("us", "e"), ("im", "worked"), ("us", "q"), ("mo", "a3")]
    file = raw(
        tmp_path,
        "v0.json",
        champ(
            ("P_1", "M|0-Shot", told),
            ("P_1", "M|5-Shot", examples),
            ("P_1", "N|0-Shot", failed),
            ("P_1", "N|1/3 Soln", repeat),
            ("P_2", "M|0-Shot", other),
        ),
    )
    found = list(champ_chats.read([file]))
    assert [(one.group, said(one)[2][1]) for one in found] == [("P_1", "a"), ("P_2", "a2")]
    assert said(found[0]) == [
        ("system", "s"),
        ("user", "q"),
        ("assistant", "a"),
        ("user", "sum up"),
        ("assistant", "b"),
    ]


def test_champ_solutions_number_the_steps_and_end_with_the_answer(tmp_path):
    file = raw(tmp_path, "v0.json", champ(("P_1", "M|0-Shot", []), ("P_2", "M|0-Shot", [])))
    found = list(champ_solutions.read([file]))
    assert found[1] == Conversation(
        (Message("user", "Solve P_2."), Message("assistant", "1. Square it.\n2. Done.\nAnswer: x=1")), "P_2"
    )
    assert [one.group for one in found] == ["P_1", "P_2"]


OTHER_SHAPES = [
    (chitchat, [1], "d.json: is not of the shape of chitchat's dataset.json"),
    (chitchat, {"c": {}}, "d.json: is not of the shape of chitchat's dataset.json: 'messages'"),
    (chitchat, {"c": {"messages": [[{"text": None, "sender": "x"}]]}}, "d.json: is not of the shape of chitchat's"),
    (champ_chats, [1], "d.json: is not of the shape of CHAMP's v0.json: it has no problems"),
    (champ_chats, {"problems": {"P": {}}}, "d.json: is not of the shape of CHAMP's v0.json: 'conversations'"),
    (champ_chats, champ(("P", "M|0-Shot", [("im", "x"), ("mo", "y")])), "d.json: is not of the shape of CHAMP's"),
    (champ_chats, champ(("P", "M|0-Shot", [("us", "x")])), "d.json: no message is the assistant's"),
    (
        champ_solutions,
        {"problems": {"P": {"_text": "x"}}},
        "d.json: is not of the shape of CHAMP's v0.json: 'solution'",
    ),
    (champ_solutions, '{"problems":\n {', "d.json: line 2, column 3: malformed JSON"),
]


@pytest.mark.parametrize(("reader", "content", "says"), OTHER_SHAPES)
def test_a_published_file_of_another_shape_is_one_line(tmp_path, reader, content, says):
    told = refusal(reader.read, raw(tmp_path, "d.json", content))
    assert told.startswith(says) and "\n" not in told


def test_a_whole_file_has_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(json_records, "LARGEST_WHOLE", 1 << 20)
    told = refusal(chitchat.read, raw(tmp_path, "d.json", b" " * ((1 << 20) + 1)))
    assert told == "d.json: is larger than 1 MiB; it cannot be read at once"
