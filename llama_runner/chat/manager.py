"""Conversations: sends, stops, regenerates. Publishes which conversation changed; views read snapshots.

Owns every streaming answer of the chat; closing it leaves no task and no connection.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable

from llama_runner.backends.base import Backend, Endpoint, Target
from llama_runner.backends.live import AnswerLimits, LiveAnswer
from llama_runner.backends.request import ChatRequest, Image, JsonOutput, SamplingOptions
from llama_runner.chat.conversation import (
    Conversation,
    ConversationSnapshot,
    Exchange,
    Question,
    TurnView,
    answer_turn,
)
from llama_runner.core.clock import Clock
from llama_runner.core.errors import LlamaRunnerError, UsageError
from llama_runner.core.tasks import TaskOwner
from llama_runner.core.topic import Topic

log = logging.getLogger(__name__)


class ChatManager:
    """All conversations of one workspace.

    Args:
        connect: Gives the backend that speaks to an endpoint.
        limits: Asked at every send, so that a changed setting counts from the next message on.
    """

    def __init__(
        self,
        *,
        connect: Callable[[Endpoint], Backend],
        clock: Clock,
        limits: Callable[[], AnswerLimits] = AnswerLimits,
    ) -> None:
        self.changed: Topic[str] = Topic()
        self._connect = connect
        self._clock = clock
        self._limits = limits
        self._tasks = TaskOwner()
        self._conversations: dict[str, Conversation] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    @property
    def conversations(self) -> tuple[str, ...]:
        """Ids, oldest first."""
        return tuple(self._conversations)

    def new_conversation(self, system_prompt: str = "", *, private: bool = False) -> str:
        """Start an empty conversation and return its id.

        Args:
            private: It is never kept.
        """
        conversation = Conversation(uuid.uuid4().hex, system_prompt, private=private)
        self.add(conversation)
        return conversation.id

    def add(self, conversation: Conversation) -> None:
        """Go on with a conversation of another day; one that is here already stays as it is."""
        if conversation.id not in self._conversations:
            self._conversations[conversation.id] = conversation
            self.changed.publish(conversation.id)

    def set_title(self, conversation_id: str, title: str) -> None:
        """Call it `title` from now on."""
        conversation = self._conversation(conversation_id)
        conversation.title = title
        conversation.edited()
        self.changed.publish(conversation_id)

    def exchanges(self, conversation_id: str) -> tuple[Exchange, ...]:
        """Its questions and answers, oldest first, for who keeps them."""
        return tuple(self._conversation(conversation_id).exchanges)

    def set_system_prompt(self, conversation_id: str, system_prompt: str) -> None:
        """Use `system_prompt` from the next message on."""
        conversation = self._conversation(conversation_id)
        conversation.system_prompt = system_prompt
        conversation.edited()
        self.changed.publish(conversation_id)

    def snapshot(self, conversation_id: str) -> ConversationSnapshot:
        """The conversation now. Cheap: the same object while nothing changed."""
        return self._conversation(conversation_id).snapshot()

    def is_asking(self, conversation_id: str) -> bool:
        """Whether `stop` has something to stop: an answer, or the counting of its tokens."""
        return conversation_id in self._running

    async def send(
        self,
        conversation_id: str,
        text: str,
        target: Target,
        options: SamplingOptions | None = None,
        *,
        images: tuple[Image, ...] = (),
        output: JsonOutput | None = None,
    ) -> TurnView:
        """Ask and wait for the whole answer; it grows in the snapshots meanwhile.

        Args:
            images: Shown with the question, and sent again with every later one.
            output: The form of this answer, None for free text.

        Returns:
            The ended turn. A server's error is in its state and `error`, not raised.

        Raises:
            UsageError: Nothing to send, or this conversation is still being answered.

        Cancelling the call stops the answer, and its text stays.
        """
        conversation = self._idle(conversation_id)
        if not text.strip() and not images:
            raise UsageError("There is nothing to send.", "Write a message first.")
        question = Question(text, images, output)
        return await self._ask(conversation, question, target, options or SamplingOptions())

    async def regenerate(
        self, conversation_id: str, target: Target | None = None, options: SamplingOptions | None = None
    ) -> TurnView:
        """Drop the last answer and ask its question again, with the same target and options unless given."""
        conversation = self._idle(conversation_id)
        last = conversation.last()
        asked = target or last.target
        if asked is None:
            raise UsageError("The model that answered is not known any more.", "Choose a model.")
        conversation.drop_last()
        return await self._ask(conversation, last.question, asked, options or last.options)

    async def stop(self, conversation_id: str) -> None:
        """Stop the streaming answer, if any, and keep its text. Returns once its connection is closed."""
        task = self._running.get(conversation_id)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def delete(self, conversation_id: str) -> None:
        """Forget a conversation, stopping its answer first."""
        self._conversation(conversation_id)
        await self.stop(conversation_id)
        self._conversations.pop(conversation_id, None)
        self.changed.publish(conversation_id)

    async def close(self) -> None:
        """Stop everything. Idempotent."""
        self._closed = True
        await self._tasks.close()

    def _conversation(self, conversation_id: str) -> Conversation:
        conversation = self._conversations.get(conversation_id)
        if conversation is None:
            raise UsageError("That conversation does not exist any more.", "Start a new one.")
        return conversation

    def _idle(self, conversation_id: str) -> Conversation:
        conversation = self._conversation(conversation_id)
        if self._closed:
            raise UsageError("The chat is closing.", "Start the program again to continue.")
        if conversation.busy:
            raise UsageError("This conversation is still being answered.", "Wait for the answer, or stop it.")
        return conversation

    async def _ask(
        self, conversation: Conversation, question: Question, target: Target, options: SamplingOptions
    ) -> TurnView:
        request = conversation.request(target, options, question)
        answer = LiveAnswer(
            clock=self._clock,
            limits=self._limits(),
            on_change=lambda: self.changed.publish(conversation.id),
        )
        conversation.exchanges.append(
            Exchange(
                question,
                target,
                options,
                answer,
                label=target.label,
                model_id=target.model_id,
                at=self._clock.utc(),
                position=conversation.next_position,
            )
        )
        conversation.edited()
        task = self._tasks.start(self._answer(answer, target, request), name=f"chat {conversation.id}")
        self._running[conversation.id] = task
        task.add_done_callback(lambda ended: self._ended(conversation.id, ended, answer))
        self.changed.publish(conversation.id)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        return answer_turn(target.label, target.model_id, answer.view())

    async def _answer(self, answer: LiveAnswer, target: Target, request: ChatRequest) -> None:
        try:
            backend = self._connect(target.endpoint)
        except LlamaRunnerError as error:
            answer.fail(error)
            return
        await answer.run(backend, request)
        log.info(
            "answer ended state=%s model=%s endpoint=%s",
            answer.state,
            target.model_id,
            target.endpoint.base_url,
        )

    def _ended(self, conversation_id: str, task: asyncio.Task[None], answer: LiveAnswer) -> None:
        # A task cancelled before its first step never reaches its own clean-up.
        answer.abandon()
        if self._running.get(conversation_id) is task:
            del self._running[conversation_id]
        self.changed.publish(conversation_id)
