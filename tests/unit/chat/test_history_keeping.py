"""Chat and history together: what is kept when, and gone on with; on scripted streams and a real file."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from llama_runner.backends.live import AnswerState
from llama_runner.backends.request import Image, Message, Role
from llama_runner.chat import history_keeping
from llama_runner.chat.history import History
from llama_runner.chat.history_keeping import TURNS_READ, Keeper
from llama_runner.chat.history_values import KeptTurn, Summary
from llama_runner.chat.manager import ChatManager
from llama_runner.core.errors import NotFoundError, OverloadedError, StorageError, UsageError
from llama_runner.core.tasks import TaskOwner
from tests.unit.chat.kept import conversation, file_in
from tests.unit.chat.scripted import CLOCK, Scripted, answer, target, text

ID = f"{1:032x}"


class Room:
    """A chat, a history and what joins them."""

    def __init__(self, folder: Path, backend: Scripted) -> None:
        self.backend = backend
        self.chat = ChatManager(connect=backend.connect, clock=CLOCK)
        self.history = History(file_in(folder, busy_s=0.05), CLOCK)
        self.wanted = True
        self.keeper = Keeper(chat=self.chat, history=self.history, clock=CLOCK, wanted=lambda: self.wanted)
        self.written = self.keeper.kept.subscribe()
        self.tasks = TaskOwner()

    async def kept(self) -> tuple[Summary, ...]:
        return await self.history.page(10)

    async def texts(self, conversation_id: str) -> list[str]:
        return [turn.text for turn in (await self.history.load(conversation_id)).turns]


@asynccontextmanager
async def room(folder: Path, *answers: str) -> AsyncIterator[Room]:
    """Each question gets the next answer."""
    left = list(answers)
    found = Room(folder, Scripted(lambda _: list(answer(left.pop(0)))))
    try:
        yield found
    finally:
        await found.tasks.close()
        await found.chat.close()
        await found.keeper.close()
        await found.history.close()


async def test_each_finished_turn_is_kept_as_it_ends(tmp_path: Path) -> None:
    async with room(tmp_path, "Blue.", "Indeed.") as here:
        here.keeper.start()
        conversation_id = here.chat.new_conversation("Be brief.")
        await here.chat.send(conversation_id, "Which colour?", target())
        await here.chat.send(conversation_id, "Really?", target())
        await here.chat.close()
        await here.keeper.close()

        assert await here.texts(conversation_id) == ["Which colour?", "Blue.", "Really?", "Indeed."]
        kept = await here.history.load(conversation_id)
        assert (kept.title, kept.system_prompt) == ("Which colour?", "Be brief.")
        assert kept.turns[1].model_id == "m"
        assert kept.turns[1].metrics.output_tokens == 1
        assert kept.turns[0].at is not None


async def test_a_question_is_on_the_disk_before_its_answer_ends(tmp_path: Path) -> None:
    """Safety 3.4: a crash in the middle loses at most what came in the last second."""
    gate = asyncio.Event()
    async with room(tmp_path) as here:
        here.backend.scripts = lambda _: [*text("Half an"), gate, *answer(" answer")[2:]]
        here.keeper.start()
        conversation_id = here.chat.new_conversation()
        asking = here.tasks.start(here.chat.send(conversation_id, "Why?", target()), name="ask")
        async for _ in here.written:
            break
        # As another program sees it, or this one after a crash.
        with closing(sqlite3.connect(tmp_path / "history.db")) as other:
            kept = other.execute("SELECT text FROM messages ORDER BY position").fetchall()
        assert kept[0] == ("Why?",)
        gate.set()
        await asking


async def test_private_conversations_and_a_switched_off_setting_keep_nothing(tmp_path: Path) -> None:
    async with room(tmp_path, "a", "b", "c") as here:
        here.keeper.start()
        private = here.chat.new_conversation(private=True)
        await here.chat.send(private, "secret", target())
        here.wanted = False
        unwanted = here.chat.new_conversation()
        await here.chat.send(unwanted, "unkept", target())
        await here.keeper.close()
        assert await here.kept() == ()
        with pytest.raises(NotFoundError):
            await here.keeper.delete(private)
        assert private in here.chat.conversations


async def test_an_answer_asked_for_again_replaces_the_kept_one(tmp_path: Path) -> None:
    async with room(tmp_path, "first", "second", "third") as here:
        conversation_id = here.chat.new_conversation()
        await here.chat.send(conversation_id, "q1", target())
        await here.chat.send(conversation_id, "q2", target())
        await here.keeper.keep(conversation_id)
        await here.chat.regenerate(conversation_id)
        await here.keeper.keep(conversation_id)
        assert await here.texts(conversation_id) == ["q1", "first", "q2", "third"]


async def test_a_kept_conversation_is_gone_on_with(tmp_path: Path) -> None:
    failed = OverloadedError("The server is busy.", "Wait.")
    async with room(tmp_path, "One.") as here:
        here.backend.scripts = lambda request: (
            [*text("Half"), failed] if len(request.messages) == 4 else list(answer("One."))
        )
        conversation_id = here.chat.new_conversation("Be brief.")
        picture = Image("image/png", b"x")
        await here.chat.send(conversation_id, "first", target(), images=(picture,))
        await here.chat.send(conversation_id, "second", target())
        await here.keeper.keep(conversation_id)
        before = here.chat.snapshot(conversation_id)
        await here.chat.delete(conversation_id)

        await here.keeper.open(conversation_id)
        again = here.chat.snapshot(conversation_id)
        assert [(turn.role, turn.text, turn.label) for turn in again.messages] == [
            (turn.role, turn.text, turn.label) for turn in before.messages
        ]
        assert again.messages[1].metrics == before.messages[1].metrics
        assert again.messages[3].state is AnswerState.ERROR
        assert str(again.messages[3].error) == str(failed)
        assert (again.title, again.system_prompt, again.earlier) == ("first", "Be brief.", 0)

        here.backend.scripts = lambda _: list(answer("Three."))
        await here.chat.send(conversation_id, "third", target("other"))
        await here.keeper.keep(conversation_id)
        assert await here.texts(conversation_id) == ["first", "One.", "second", "Half", "third", "Three."]
        assert here.backend.requests[-1].messages == (
            Message(Role.SYSTEM, "Be brief."),
            Message(Role.USER, "first"),
            Message(Role.ASSISTANT, "One."),
            Message(Role.USER, "second"),
            Message(Role.ASSISTANT, "Half"),
            Message(Role.USER, "third"),
        )
        # How many pictures there were is still known.
        assert (await here.history.load(conversation_id)).turns[0].images == 1


async def test_the_last_answer_of_another_day_is_asked_for_again(tmp_path: Path) -> None:
    async with room(tmp_path, "better") as here:
        await here.history.put(conversation(1, "q1", "a1", "q2", "a2"))
        await here.keeper.open(ID)
        with pytest.raises(UsageError, match="not known any more"):
            await here.chat.regenerate(ID)
        await here.chat.regenerate(ID, target())
        await here.keeper.keep(ID)
        assert await here.texts(ID) == ["q1", "a1", "q2", "better"]


@pytest.mark.parametrize(
    ("roles", "shown"),
    [
        ("ua", ["0", "1"]),
        ("a", ["0"]),
        ("aua", ["0", "1", "2"]),
        ("u", ["0", ""]),
        ("uua", ["0", "", "1", "2"]),
        ("uaa", ["0", "1", "2"]),
    ],
)
async def test_talk_that_does_not_alternate_is_gone_on_with(
    tmp_path: Path, roles: str, shown: list[str]
) -> None:
    """B7: imported, or an answer that never came."""
    turns = tuple(
        KeptTurn(Role.USER if role == "u" else Role.ASSISTANT, str(number))
        for number, role in enumerate(roles)
    )
    async with room(tmp_path, "new") as here:
        await here.history.put(replace(conversation(1, "x"), turns=turns))
        await here.keeper.open(ID)
        assert [turn.text for turn in here.chat.snapshot(ID).messages] == shown
        await here.chat.send(ID, "next", target())
        await here.keeper.keep(ID)
        assert await here.texts(ID) == [*map(str, range(len(roles))), "next", "new"]


async def test_only_the_newest_turns_of_a_long_conversation_are_read_and_all_stay(tmp_path: Path) -> None:
    async with room(tmp_path, "new") as here:
        await here.history.put(conversation(1, *map(str, range(TURNS_READ + 10))))
        await here.keeper.open(ID)
        snapshot = here.chat.snapshot(ID)
        assert (snapshot.earlier, snapshot.messages[0].text) == (10, "10")
        await here.chat.send(ID, "next", target())
        await here.keeper.keep(ID)
        assert await here.texts(ID) == [*map(str, range(TURNS_READ + 10)), "next", "new"]


async def test_renaming_is_nothing_new_that_was_said(tmp_path: Path) -> None:
    async with room(tmp_path) as here:
        await here.history.put(conversation(1, "q", "a"))
        await here.keeper.open(ID)
        await here.keeper.rename(ID, " New \n title ")
        await here.keeper.keep(ID)
        kept = await here.history.load(ID)
        assert (kept.title, kept.updated) == ("New title", conversation(1, "q").updated)
        assert here.chat.snapshot(ID).title == "New title"


async def test_a_deleted_conversation_can_be_put_back(tmp_path: Path) -> None:
    async with room(tmp_path) as here:
        gate = asyncio.Event()
        here.backend.scripts = lambda _: [*text("Half"), gate]
        changes = here.chat.changed.subscribe()
        here.keeper.start()
        conversation_id = here.chat.new_conversation()
        asking = here.tasks.start(here.chat.send(conversation_id, "q", target()), name="ask")
        async for _ in here.written:
            break
        async for _ in changes:
            if here.chat.snapshot(conversation_id).messages[-1].text:
                break
        kept = await here.keeper.delete(conversation_id)
        assert await here.kept() == ()
        assert conversation_id not in here.chat.conversations
        await asking

        await here.keeper.put_back(kept)
        assert await here.texts(conversation_id) == ["q", "Half"]
        await here.keeper.open(conversation_id)
        assert here.chat.snapshot(conversation_id).messages[1].state is AnswerState.STOPPED


async def test_what_could_not_be_kept_stays_and_is_tried_again(tmp_path: Path) -> None:
    """B4, B9: told once; the chat goes on; the next turn brings the missed one along."""
    async with room(tmp_path, "a1", "a2", "a3") as here:
        assert await here.history.count() == 0
        problems = here.keeper.problems.subscribe()
        here.keeper.start()
        with closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            conversation_id = here.chat.new_conversation()
            await here.chat.send(conversation_id, "q1", target())
            async for problem in problems:
                assert "in use by another program" in problem.message
                break
            await here.chat.send(conversation_id, "q2", target())
            other.execute("COMMIT")
        await here.chat.send(conversation_id, "q3", target())
        async for _ in here.written:
            if len(await here.texts(conversation_id)) == 6:
                break
        assert await here.texts(conversation_id) == ["q1", "a1", "q2", "a2", "q3", "a3"]
        assert problems.drain() == []


async def test_what_could_not_be_kept_is_kept_later_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B9: the disk has room again."""
    monkeypatch.setattr(history_keeping, "RETRY_S", 0.01)
    async with room(tmp_path, "a1") as here:
        assert await here.history.count() == 0
        problems = here.keeper.problems.subscribe()
        here.keeper.start()
        with closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            conversation_id = here.chat.new_conversation()
            await here.chat.send(conversation_id, "q1", target())
            async for _ in problems:
                break
            other.execute("COMMIT")
        async for _ in here.written:
            break
        assert await here.texts(conversation_id) == ["q1", "a1"]


async def test_opening_what_is_gone_or_there_already_is_harmless(tmp_path: Path) -> None:
    async with room(tmp_path, "a") as here:
        with pytest.raises(NotFoundError):
            await here.keeper.open(ID)
        await here.history.put(conversation(1, "q", "a"))
        await here.keeper.open(ID)
        await here.chat.send(ID, "more", target())
        await here.keeper.open(ID)
        assert len(here.chat.snapshot(ID).messages) == 4
        await here.history.close()
        with pytest.raises(StorageError):
            await here.keeper.keep(ID)


async def test_what_was_only_read_leaves_the_chat_and_what_was_said_stays(tmp_path: Path) -> None:
    async with room(tmp_path, "new") as here:
        for number in (1, 2):
            await here.history.put(conversation(number, "q", "a"))
            await here.keeper.open(f"{number:032x}")
        empty = here.chat.new_conversation()
        await here.chat.send(ID, "more", target())
        for one in (ID, f"{2:032x}", empty, "gone"):
            await here.keeper.leave(one)
        assert here.chat.conversations == (ID,)
        # Being read left no mark.
        assert [one.messages for one in await here.kept()] == [2, 2]


async def test_what_another_program_deleted_is_kept_whole_when_it_is_gone_on_with(tmp_path: Path) -> None:
    async with room(tmp_path, "a1", "a2", "a3") as here:
        conversation_id = here.chat.new_conversation("Be brief.")
        await here.chat.send(conversation_id, "q1", target())
        await here.chat.send(conversation_id, "q2", target())
        await here.keeper.keep(conversation_id)
        await here.history.delete(conversation_id)
        await here.chat.send(conversation_id, "q3", target())
        await here.keeper.keep(conversation_id)
        assert await here.texts(conversation_id) == ["q1", "a1", "q2", "a2", "q3", "a3"]
        kept = await here.history.load(conversation_id)
        assert (kept.title, kept.system_prompt, kept.earlier) == ("q1", "Be brief.", 0)
