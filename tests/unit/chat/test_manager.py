"""Conversations: sending, stopping, regenerating, errors; on scripted streams."""

import asyncio
import logging
import time

import pytest

from llama_runner.backends.events import PromptProgress
from llama_runner.backends.live import AnswerLimits, AnswerState
from llama_runner.backends.request import Message, Role, SamplingOptions
from llama_runner.chat.manager import ChatManager
from llama_runner.core.errors import OverloadedError, TruncatedError, UnreachableError, UsageError
from tests.unit.chat.scripted import CLOCK, Scripted, Step, answer, target, text

NEVER = asyncio.Event  # A fresh gate that nobody opens.


def manager(backend: Scripted, limits: AnswerLimits | None = None) -> ChatManager:
    return ChatManager(connect=backend.connect, clock=CLOCK, limits=lambda: limits or AnswerLimits())


def playing(*steps: Step) -> Scripted:
    return Scripted(lambda _: list(steps))


async def grown(chat: ChatManager, conversation: str, wanted: str) -> None:
    """Return once the last answer's text is `wanted`."""
    changes = chat.changed.subscribe()
    while not any(turn.text == wanted for turn in chat.snapshot(conversation).messages[-1:]):
        async for _ in changes:
            break


async def test_a_turn_is_sent_and_kept_with_its_figures() -> None:
    backend = playing(*answer("Red", ", green"))
    chat = manager(backend)
    conversation = chat.new_conversation("Be brief.")

    turn = await chat.send(conversation, "Colours?", target(), SamplingOptions(seed=1))

    snapshot = chat.snapshot(conversation)
    assert (turn.text, turn.state, turn.finish_reason) == ("Red, green", AnswerState.DONE, "stop")
    assert turn.metrics.output_tokens == 2
    assert turn.metrics.ttft_s is not None
    assert [(t.role, t.text) for t in snapshot.messages] == [
        (Role.USER, "Colours?"),
        (Role.ASSISTANT, "Red, green"),
    ]
    assert snapshot.messages[1] == turn
    assert not snapshot.busy
    (request,) = backend.requests
    assert request.messages == (Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Colours?"))
    assert request.options == SamplingOptions(seed=1)


async def test_the_next_question_takes_the_earlier_turns_along() -> None:
    backend = playing(*answer("Red"))
    chat = manager(backend)
    conversation = chat.new_conversation()

    await chat.send(conversation, "One?", target())
    await chat.send(conversation, "Another?", target())

    assert [m.content for m in backend.requests[1].messages] == ["One?", "Red", "Another?"]


async def test_a_growing_answer_is_seen_and_snapshots_are_the_same_while_nothing_changes() -> None:
    gate = asyncio.Event()
    chat = manager(playing(*text("Re"), gate, *answer("d")[2:]))
    conversation = chat.new_conversation()

    async with asyncio.TaskGroup() as group:
        group.create_task(chat.send(conversation, "?", target()))
        await grown(chat, conversation, "Re")
        first = chat.snapshot(conversation)
        assert first.busy
        assert first.messages[1].state is AnswerState.STREAMING
        assert chat.snapshot(conversation) is first
        gate.set()

    last = chat.snapshot(conversation)
    assert last.messages[1].text == "Red"
    assert last.revision > first.revision
    assert last.messages[1].revision > first.messages[1].revision


async def test_many_events_of_one_read_are_published_once() -> None:
    chat = manager(playing(*answer(*["x"] * 500)))
    conversation = chat.new_conversation()
    changes = chat.changed.subscribe(maxlen=10_000)

    await chat.send(conversation, "?", target())

    assert len(changes.drain()) < 10


async def test_stop_closes_the_stream_and_keeps_the_text() -> None:
    backend = playing(*text("Part"), NEVER())
    chat = manager(backend)
    conversation = chat.new_conversation()

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(chat.send(conversation, "?", target()))
        await grown(chat, conversation, "Part")
        assert backend.open_streams == 1
        await chat.stop(conversation)
        assert backend.open_streams == 0

    turn = sending.result()
    assert (turn.text, turn.state, turn.error) == ("Part", AnswerState.STOPPED, None)
    assert turn.metrics.output_tokens == 1
    assert not chat.snapshot(conversation).busy


async def test_stop_before_the_stream_was_opened_leaves_a_stopped_turn() -> None:
    chat = manager(playing(*answer("x")))
    conversation = chat.new_conversation()

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(chat.send(conversation, "?", target()))
        changes = chat.changed.subscribe()
        async for _ in changes:
            break
        await chat.stop(conversation)

    assert sending.result().state in (AnswerState.STOPPED, AnswerState.DONE)
    assert not chat.snapshot(conversation).busy


async def test_stop_without_an_answer_does_nothing() -> None:
    chat = manager(playing())
    await chat.stop(chat.new_conversation())


async def test_cancelling_the_call_stops_the_answer() -> None:
    backend = playing(*text("Part"), NEVER())
    chat = manager(backend)
    conversation = chat.new_conversation()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await chat.send(conversation, "?", target())

    assert backend.open_streams == 0
    assert chat.snapshot(conversation).messages[1].state is AnswerState.STOPPED


async def test_two_sends_at_once_in_one_conversation_are_refused() -> None:
    chat = manager(playing(*text("x"), NEVER()))
    conversation = chat.new_conversation()

    async with asyncio.TaskGroup() as group:
        group.create_task(chat.send(conversation, "?", target()))
        await grown(chat, conversation, "x")
        with pytest.raises(UsageError, match="still being answered"):
            await chat.send(conversation, "??", target())
        with pytest.raises(UsageError):
            await chat.regenerate(conversation)
        await chat.stop(conversation)

    assert len(chat.snapshot(conversation).messages) == 2


async def test_two_conversations_stream_at_once() -> None:
    gate = asyncio.Event()
    backend = playing(*text("x"), gate, *answer("y")[2:])
    chat = manager(backend)
    one, two = chat.new_conversation(), chat.new_conversation()

    async with asyncio.TaskGroup() as group:
        group.create_task(chat.send(one, "?", target()))
        group.create_task(chat.send(two, "?", target()))
        await grown(chat, one, "x")
        await grown(chat, two, "x")
        assert backend.open_streams == 2
        gate.set()

    assert chat.conversations == (one, two)


async def test_regenerate_drops_the_answer_and_asks_the_same_again() -> None:
    backend = playing(*answer("Red"))
    chat = manager(backend)
    conversation = chat.new_conversation()
    await chat.send(conversation, "?", target("a"), SamplingOptions(temperature=0.5))
    before = chat.snapshot(conversation).revision

    turn = await chat.regenerate(conversation)

    assert len(chat.snapshot(conversation).messages) == 2
    assert chat.snapshot(conversation).revision > before
    assert turn.state is AnswerState.DONE
    assert backend.requests[0] == backend.requests[1]


async def test_regenerate_with_another_target_asks_that_one() -> None:
    backend = playing(*answer("Red"))
    chat = manager(backend)
    conversation = chat.new_conversation()
    await chat.send(conversation, "?", target("a"))

    turn = await chat.regenerate(conversation, target("b"), SamplingOptions(seed=2))

    assert (turn.model_id, backend.requests[1].model_id) == ("b", "b")
    assert backend.requests[1].options.seed == 2


async def test_regenerate_without_an_answer_says_so() -> None:
    chat = manager(playing())
    with pytest.raises(UsageError):
        await chat.regenerate(chat.new_conversation())


async def test_an_error_keeps_the_partial_text_and_says_what_to_do() -> None:
    chat = manager(playing(*text("Part"), OverloadedError("It is busy.", "Wait.")))
    conversation = chat.new_conversation()

    turn = await chat.send(conversation, "?", target())

    assert (turn.text, turn.state) == ("Part", AnswerState.ERROR)
    assert turn.error is not None
    assert (turn.error.message, turn.error.hint) == ("It is busy.", "Wait.")
    assert turn.metrics.output_tokens == 1


async def test_s6_a_stream_without_its_end_is_truncated_and_keeps_its_text() -> None:
    chat = manager(playing(*text("Part"), TruncatedError("Cut.", "Again.")))

    turn = await chat.send(chat.new_conversation(), "?", target())

    assert (turn.text, turn.state) == ("Part", AnswerState.TRUNCATED)


async def test_an_exchange_without_an_answer_is_not_sent_back() -> None:
    """Chat templates want user and assistant to alternate."""
    script: list[list[Step]] = [[OverloadedError("Busy.")], answer("Red")]
    scripts = iter(script)
    backend = Scripted(lambda _: next(scripts))
    chat = manager(backend)
    conversation = chat.new_conversation()

    await chat.send(conversation, "One?", target())
    await chat.send(conversation, "Two?", target())

    assert [m.content for m in backend.requests[1].messages] == ["Two?"]


async def test_a_fault_of_ours_ends_the_answer_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    chat = manager(playing(*text("Part"), ZeroDivisionError("bug")))

    with caplog.at_level(logging.ERROR):
        turn = await chat.send(chat.new_conversation(), "?", target())

    assert turn.state is AnswerState.ERROR
    assert turn.error is not None
    assert turn.error.hint
    assert "ZeroDivisionError" in caplog.text


async def test_a_server_that_cannot_be_asked_is_an_error_turn() -> None:
    backend = playing()
    backend.refuse = UsageError("No such engine.")
    chat = manager(backend)

    turn = await chat.send(chat.new_conversation(), "?", target())

    assert (turn.state, turn.error) == (AnswerState.ERROR, backend.refuse)


async def test_r4_silence_before_the_first_token_is_given_up() -> None:
    backend = playing(*text(), NEVER())
    chat = manager(backend, AnswerLimits(first_token_s=0.05, idle_s=10))

    turn = await chat.send(chat.new_conversation(), "?", target())

    assert turn.state is AnswerState.ERROR
    assert isinstance(turn.error, UnreachableError)
    assert "0.05 s" in turn.error.message
    assert backend.open_streams == 0


async def test_r4_silence_after_a_token_is_truncated() -> None:
    chat = manager(playing(*text("Part"), NEVER()), AnswerLimits(first_token_s=10, idle_s=0.05))

    turn = await chat.send(chat.new_conversation(), "?", target())

    assert (turn.state, turn.text) == (AnswerState.TRUNCATED, "Part")


async def test_prefill_that_moves_on_is_life_and_prefill_that_repeats_is_not() -> None:
    t_ns = CLOCK.now_ns()
    chat = manager(playing(*text(), *[PromptProgress(t_ns, 5, 10)] * 3, NEVER()), AnswerLimits(0.05, 10))
    conversation = chat.new_conversation()

    turn = await chat.send(conversation, "?", target())

    assert turn.state is AnswerState.ERROR
    assert turn.prompt_progress == 0.5


async def test_nothing_to_send_is_refused_and_leaves_no_turn() -> None:
    chat = manager(playing())
    conversation = chat.new_conversation()

    with pytest.raises(UsageError):
        await chat.send(conversation, "  \n", target())

    assert chat.snapshot(conversation).messages == ()


async def test_the_system_prompt_counts_from_the_next_message_on() -> None:
    backend = playing(*answer("x"))
    chat = manager(backend)
    conversation = chat.new_conversation("old")
    before = chat.snapshot(conversation)

    chat.set_system_prompt(conversation, "new")
    await chat.send(conversation, "?", target())

    assert backend.requests[0].messages[0] == Message(Role.SYSTEM, "new")
    assert chat.snapshot(conversation).revision > before.revision
    assert chat.snapshot(conversation).system_prompt == "new"


async def test_a_deleted_conversation_stops_and_is_gone() -> None:
    backend = playing(*text("x"), NEVER())
    chat = manager(backend)
    conversation = chat.new_conversation()

    async with asyncio.TaskGroup() as group:
        group.create_task(chat.send(conversation, "?", target()))
        await grown(chat, conversation, "x")
        await chat.delete(conversation)

    assert chat.conversations == ()
    assert backend.open_streams == 0
    with pytest.raises(UsageError):
        chat.snapshot(conversation)


async def test_closing_leaves_no_stream_and_refuses_more() -> None:
    backend = playing(*text("x"), NEVER())
    chat = manager(backend)
    conversation = chat.new_conversation()

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(chat.send(conversation, "?", target()))
        await grown(chat, conversation, "x")
        await chat.close()
        await chat.close()

    assert sending.result().state is AnswerState.STOPPED
    assert backend.open_streams == 0
    with pytest.raises(UsageError, match="closing"):
        await chat.send(conversation, "?", target())


async def test_a_long_answer_is_cheap_to_watch() -> None:
    """Growing text must not cost by its length per token: 20,000 tokens, watched, in well under a second."""
    chat = manager(playing(*answer(*["token "] * 20_000)))
    started_s = time.thread_time()

    turn = await chat.send(chat.new_conversation(), "?", target())

    assert len(turn.text) == 120_000
    assert time.thread_time() - started_s < 2
