"""Bringing in other programs' conversations: large, hostile, twice (C12)."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.backends.request import Role
from llama_runner.chat import importing
from llama_runner.chat.history import History
from llama_runner.chat.history_export import EXPORTS
from llama_runner.chat.history_values import MAX_TURNS, KeptConversation
from llama_runner.chat.importing import ImportReport, import_file, in_words, room_for
from llama_runner.chat.importing_formats import conversation_of
from llama_runner.chat.importing_parts import Remarks, Unusable
from llama_runner.chat.importing_scanner import ObjectScanner, TooLong
from llama_runner.core.errors import StorageError, UsageError
from llama_runner.core.jsonio import JsonValue
from tests.unit.chat.exports import chatgpt, chatgpt_node, lm_studio, open_webui, write_array
from tests.unit.chat.kept import FixedClock, conversation, file_in, talk


@asynccontextmanager
async def history_in(folder: Path) -> AsyncIterator[History]:
    history = History(file_in(folder), FixedClock())
    try:
        yield history
    finally:
        await history.close()


def written(folder: Path, document: Any) -> Path:
    path = folder / "export.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def read(document: JsonValue) -> tuple[KeptConversation, dict[str, int]]:
    remarks = Remarks()
    return conversation_of(document, remarks), remarks.counts


# --- the programs ------------------------------------------------------------------------------------------


def test_a_chatgpt_conversation_is_its_branch_that_was_last_shown() -> None:
    found = chatgpt(1, 4)
    found["mapping"]["other"] = chatgpt_node("other", "n2", "assistant", "another answer")
    kept, left_out = read(found)

    assert [turn.text[-3:] for turn in kept.turns] == ["1.0", "1.1", "1.2", "1.3"]
    assert [turn.role for turn in kept.turns] == [Role.USER, Role.ASSISTANT] * 2
    assert (kept.title, kept.origin, kept.turns[1].model_id) == ("Talk 1", "ChatGPT", "gpt-4o")
    assert kept.updated - kept.created == timedelta(seconds=60)
    assert left_out == {}


def test_what_chatgpt_says_to_itself_is_left_out_and_counted() -> None:
    found = chatgpt(1, 2)
    nodes = found["mapping"]
    nodes["s"] = chatgpt_node("s", "n1", "system", "hidden rules")
    nodes["t"] = chatgpt_node("t", "s", "tool", "42")
    nodes["c"] = chatgpt_node("c", "t", "assistant", "search(x)", recipient="browser")
    thoughts = {"content_type": "thoughts", "thoughts": [{"summary": "s", "content": "I wonder."}]}
    nodes["h"] = chatgpt_node("h", "c", "assistant", "", content=thoughts)
    image = {"content_type": "multimodal_text", "parts": [{"asset_pointer": "file://x"}, "and see"]}
    nodes["u"] = chatgpt_node("u", "h", "user", "", content=image)
    found["current_node"] = "u"
    kept, left_out = read(found)

    assert left_out == {"messages of tools and of the program itself": 3}
    # What one side said in a row is one turn, as models want it.
    assert [(turn.role, turn.reasoning, turn.images) for turn in kept.turns] == [
        (Role.USER, "", 0),
        (Role.ASSISTANT, "I wonder.", 0),
        (Role.USER, "", 1),
    ]
    assert kept.turns[2].text == "and see"


def test_an_open_webui_chat_is_its_current_branch() -> None:
    for document in (open_webui(), open_webui()["chat"]):
        kept, _ = read(document)
        assert [turn.text for turn in kept.turns] == ["Hi", "Hello!"]
        assert (kept.turns[1].label, kept.turns[1].model_id) == ("Llama 3", "llama3:8b")
        assert (kept.title, kept.system_prompt, kept.turns[0].images) == ("Webui talk", "Be brief.", 1)


def test_an_lm_studio_conversation_has_the_chosen_versions() -> None:
    kept, _ = read(lm_studio())

    assert [(turn.text, turn.reasoning) for turn in kept.turns] == [("Why?", ""), ("Because.", "Hm.")]
    assert (kept.title, kept.system_prompt) == ("Studio talk", "Be kind.")
    assert (kept.turns[0].images, kept.turns[1].model_id) == (1, "qwen3-8b")
    # It has no id of its own, and gets the same one when it has grown.
    grown = lm_studio()
    grown["messages"].append(grown["messages"][0])
    assert read(grown)[0].id == kept.id


# --- C12: circles, nonsense --------------------------------------------------------------------------------


@pytest.mark.parametrize("current", ["n3", "n1", "gone", None, 7])
def test_parents_in_a_circle_are_cut(current: object) -> None:
    """C12: every message of the circle once, in a stable order."""
    found = chatgpt(1, 4)
    found["mapping"]["root"]["parent"] = "n3"
    found["current_node"] = current
    kept, left_out = read(found)

    assert left_out == {"circles of messages that answer each other, cut": 1}
    assert len({turn.text for turn in kept.turns}) == len(kept.turns) > 0


def test_a_message_that_is_its_own_parent_is_kept_once() -> None:
    """C12."""
    found = open_webui()
    found["chat"]["history"]["messages"]["c"]["parentId"] = "c"
    kept, left_out = read(found)
    assert [turn.text for turn in kept.turns] == ["Hello!"]
    assert left_out == {"circles of messages that answer each other, cut": 1}


def test_a_missing_parent_begins_the_talk_there() -> None:
    """B7."""
    found = chatgpt(1, 4)
    del found["mapping"]["n1"]
    kept, left_out = read(found)
    assert [turn.text[-3:] for turn in kept.turns] == ["1.2", "1.3"]
    assert left_out == {"messages whose predecessor is missing, begun there": 1}


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        7,
        {"mapping": {}},
        {"mapping": {"a": None}},
        {"mapping": {"a": {"parent": ["a"], "message": {"content": {"parts": {}}}}}},
        {"chat": {"history": {"messages": {"a": {"content": [1], "parentId": {}}}}}},
        {"messages": [{"versions": [], "currentlySelected": 9}]},
        {"messages": [{"versions": [{"role": "assistant", "steps": [{"content": 5}, 6]}]}, None]},
        {"format": "llama-runner-conversation", "version": 1, "turns": "none"},
    ],
)
def test_what_is_no_conversation_is_said_to_be_none(document: JsonValue) -> None:
    with pytest.raises(Unusable):
        read(document)


@pytest.mark.parametrize(
    "date", [None, "nonsense", 1e300, -1e300, True, 2**62, "2026-01-01", {}, float(10**15)]
)
def test_nonsense_dates_do_not_lose_the_conversation(date: Any) -> None:
    """B7."""
    found = chatgpt(1, 2) | {"create_time": date, "update_time": date}
    kept, _ = read(found)
    assert len(kept.turns) == 2
    assert kept.created.isoformat()


def test_only_the_newest_turns_of_an_endless_conversation_are_kept() -> None:
    kept, left_out = read(chatgpt(1, MAX_TURNS + 100))
    assert len(kept.turns) == MAX_TURNS
    assert kept.turns[-1].text.endswith(f"1.{MAX_TURNS + 99}")
    assert left_out == {"messages before the newest 10,000 of a conversation": 100}


# --- the scanner -------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('ab"\\{}[]\n\u00e9'), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(['a"', "{", "b\\"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.lists(st.dictionaries(st.sampled_from(["x", '"{', "\\"]), VALUES, max_size=3), max_size=4),
    st.integers(1, 9),
    st.sampled_from(["array", "lines"]),
    st.booleans(),
)
def test_objects_come_whole_however_the_file_is_read(
    objects: list[dict[str, Any]], size: int, shape: str, ascii_only: bool
) -> None:
    texts = [json.dumps(one, ensure_ascii=ascii_only) for one in objects]
    whole = ("[" + ",".join(texts) + "]" if shape == "array" else "\n".join(texts)).encode()
    scanner = ObjectScanner(10_000)

    found = [one for at in range(0, len(whole), size) for one in scanner.feed(whole[at : at + size])]

    assert [json.loads(one) for one in found if isinstance(one, bytes)] == objects
    assert not scanner.unfinished


@given(st.binary(max_size=200), st.integers(1, 20))
def test_any_bytes_are_read_over(data: bytes, size: int) -> None:
    scanner = ObjectScanner(50)
    for at in range(0, len(data), size):
        for one in scanner.feed(data[at : at + size]):
            assert isinstance(one, TooLong) or len(one) <= 50


def test_an_object_that_is_too_long_is_read_over_and_forgotten() -> None:
    scanner = ObjectScanner(20)
    data = b'[{"a": "' + b"x" * 100 + b'"}, {"b": 1}]'
    found = [one for at in range(0, len(data), 7) for one in scanner.feed(data[at : at + 7])]
    assert found == [TooLong(109 + 0), b'{"b": 1}']


# --- whole files -------------------------------------------------------------------------------------------


async def test_nothing_is_imported_twice(tmp_path: Path) -> None:
    """C12; and what grew there since, and not here, is renewed."""
    async with history_in(tmp_path) as history:
        path = write_array(tmp_path / "e.json", (chatgpt(number, 2) for number in range(3)))
        assert (await import_file(history, path)).new == 3
        again = await import_file(history, path)
        assert (again.new, again.known, again.messages) == (0, 3, 0)

        here = await history.search("Talk 1", 10)
        await history.save(here.conversations[0].id, "", 2, talk("continued here"))
        grown = [chatgpt(number, 4) | {"update_time": 1_800_000_000} for number in range(3)]
        report = await import_file(history, written(tmp_path, grown))
        assert (report.new, report.replaced, report.known, report.messages) == (0, 2, 1, 8)
        assert sorted(one.messages for one in await history.page(10)) == [3, 4, 4]
        assert (await import_file(history, written(tmp_path, grown))).known == 3


async def test_every_shape_of_file_is_read(tmp_path: Path) -> None:
    """One object, an array, one on each line, with a byte order mark, our own export."""
    async with history_in(tmp_path) as history:
        ours = EXPORTS["json"](conversation(7, "ours", "yes"))
        texts = [
            json.dumps(lm_studio()),
            json.dumps([open_webui()]),
            f"{json.dumps(chatgpt(1, 2))}\n{json.dumps(chatgpt(2, 2))}\n",
            "\ufeff" + ours,
        ]
        path = tmp_path / "e.json"
        news = []
        for text in texts:
            path.write_text(text, encoding="utf-8")
            news.append((await import_file(history, path)).new)
        assert news == [1, 1, 2, 1]
        assert (await history.load(f"{7:032x}")).turns == talk("ours", "yes")
        # Deleted and brought back; what is here is not touched.
        assert (await import_file(history, path)).known == 1
        await history.delete(f"{7:032x}")
        assert (await import_file(history, path)).new == 1


async def test_html_in_texts_stays_text(tmp_path: Path) -> None:
    """C12."""
    evil = "<script>alert('x')</script><img src=//host/x>\u202e\x00"
    async with history_in(tmp_path) as history:
        await import_file(history, written(tmp_path, [chatgpt(1, 2, evil) | {"title": evil}]))
        kept = await history.load((await history.page(1))[0].id)
    assert kept.turns[0].text.startswith("<script>alert('x')</script><img src=//host/x>\u202e\ufffd")
    assert "<script" not in EXPORTS["html"](kept)


async def test_a_large_export_takes_the_memory_of_one_conversation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C12: the caps lowered, so that seconds are enough; `python -m tests.bench.history` has a million."""
    monkeypatch.setattr(importing, "MAX_CONVERSATION_BYTES", 256 * 1024)
    monkeypatch.setattr(importing, "BATCH_CONVERSATIONS", 10)

    def conversations() -> Any:
        for number in range(200):
            yield chatgpt(number, 30)
        yield chatgpt(1000, 3_000)  # More than one conversation may have.
        yield chatgpt(1001, 2)

    path = write_array(tmp_path / "large.json", conversations())
    seen: list[ImportReport] = []
    async with history_in(tmp_path) as history:
        tracemalloc.start()
        report = await import_file(history, path, seen.append)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert await history.count() == 201

    assert report.left_out == {"conversations of more than 256 KiB": 1}
    assert (report.new, report.messages) == (201, 6_002)
    assert report.read_bytes == report.total_bytes == path.stat().st_size
    assert [one.new for one in seen] == sorted(one.new for one in seen)
    assert len(seen) > 5
    # A batch of its conversations, parsed, is what may be held.
    assert peak < path.stat().st_size / 2


async def test_an_object_of_a_million_parts_is_not_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C12: a few megabytes that would take gigabytes."""
    monkeypatch.setattr(importing, "MAX_PARTS", 1_000)
    path = tmp_path / "e.json"
    path.write_text('[{"mapping": [' + "[]," * 2_000 + "0]}," + json.dumps(chatgpt(1, 2)) + "]")
    async with history_in(tmp_path) as history:
        report = await import_file(history, path)
    assert (report.new, report.left_out) == (1, {"conversations of more than 1,000 parts": 1})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no conversations"),
        (b"hello", "holds no conversations"),
        (b"PK\x03\x04rest", "is packed"),
        (b"[]", "holds no conversations"),
        (b"[[[[", "holds no conversations"),
        (b'{"a": ', "cut off at the end"),
        (b'[{"a": 1}, {"b": NaN}, {]}]', "without a conversation"),
        (b'{"mapping": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not JSON"),
        (b'{"mapping": {"a": "\xff"}}', "not JSON"),
        ("[{}]".encode("utf-16"), "holds no conversations"),
    ],
)
async def test_a_file_without_conversations_says_why(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "e.json"
    path.write_bytes(content)
    async with history_in(tmp_path) as history:
        with pytest.raises(UsageError, match=said):
            await import_file(history, path)


async def test_a_file_cut_off_keeps_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    whole = json.dumps([chatgpt(1, 2), chatgpt(2, 2)])
    path.write_text(whole[:-50])
    async with history_in(tmp_path) as history:
        report = await import_file(history, path)
    assert (report.new, report.left_out) == (1, {"conversation cut off at the end of the file": 1})
    assert in_words(report) == (
        "Conversations imported: 1, messages in all: 2.",
        "Left out: conversation cut off at the end of the file (1).",
    )


async def test_a_cancelled_import_keeps_what_it_had_and_can_be_repeated(tmp_path: Path) -> None:
    path = write_array(tmp_path / "e.json", (chatgpt(number, 2) for number in range(200)))
    async with history_in(tmp_path) as history:
        first = asyncio.Event()
        task = asyncio.get_running_loop().create_task(
            import_file(history, path, lambda _: first.set()), name="import"
        )
        await first.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        kept = await history.count()
        assert kept > 0
        report = await import_file(history, path)
        assert (report.new + report.known, await history.count()) == (200, 200)


async def test_what_is_no_file_or_has_no_room_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with history_in(tmp_path) as history:
        with pytest.raises(StorageError, match="not a file"):
            await import_file(history, tmp_path)
        with pytest.raises(StorageError, match="not a file"):
            await import_file(history, tmp_path / "none.json")
    path = written(tmp_path, [])
    room_for(tmp_path, path)
    monkeypatch.setattr(importing, "MIN_FREE_BYTES", 2**60)
    with pytest.raises(StorageError, match="too little room"):
        room_for(tmp_path, path)
