"""Calls in dialects that not every server knows, said as an OpenAI chat where one does not.

A server is asked in the client's own dialect first: only its "no such path" leads here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from llama_runner.backends.base import Backend
from llama_runner.backends.values import as_object
from llama_runner.core.clock import Clock
from llama_runner.core.errors import NotFoundError
from llama_runner.core.jsonio import JsonValue, dump_compact, dump_json
from llama_runner.proxy.answers import AnswerWriter
from llama_runner.proxy.calls import Call
from llama_runner.proxy.chat_reading import chat_request
from llama_runner.proxy.in_chat import InChat
from llama_runner.proxy.messages_answers import MessagesWriter
from llama_runner.proxy.messages_requests import messages_in_chat
from llama_runner.proxy.records import RequestRecord
from llama_runner.proxy.responses_answers import ResponsesWriter
from llama_runner.proxy.responses_requests import responses_in_chat

CHAT_PATH: Final = "/v1/chat/completions"
# There is no such path, or not for this: what a server says that knows no other dialect.
ABSENT: Final = frozenset({404, 405, 501})


def _plain(document: Mapping[str, JsonValue]) -> InChat:
    return InChat({name: value for name, value in document.items() if name != "model"})


def _messages(call: Call, document: Mapping[str, JsonValue], clock: Clock) -> AnswerWriter:
    return MessagesWriter(call.model.id, streamed=call.streamed, clock=clock)


def _responses(call: Call, document: Mapping[str, JsonValue], clock: Clock) -> AnswerWriter:
    return ResponsesWriter(call.model.id, document, streamed=call.streamed, clock=clock)


@dataclass(frozen=True, slots=True)
class _Dialect:
    read: Callable[[Mapping[str, JsonValue]], InChat]
    writer: Callable[[Call, Mapping[str, JsonValue], Clock], AnswerWriter]


_ANSWERED: Final[Mapping[str, _Dialect]] = {
    "/v1/messages": _Dialect(messages_in_chat, _messages),
    "/v1/responses": _Dialect(responses_in_chat, _responses),
}
# Questions for the number of tokens: how each is read, and what the answer has besides it.
_COUNTED: Final[Mapping[str, tuple[Callable[[Mapping[str, JsonValue]], InChat], dict[str, JsonValue]]]] = {
    "/v1/messages/count_tokens": (messages_in_chat, {}),
    "/v1/responses/input_tokens": (responses_in_chat, {"object": "response.input_tokens"}),
    "/v1/chat/completions/input_tokens": (_plain, {"object": "response.input_tokens"}),
}
PATHS: Final = frozenset({*_ANSWERED, *_COUNTED})


def said_as_chat(call: Call, clock: Clock) -> Call | None:
    """The same call as a chat, None when it is none that can be said so. Raises InvalidRequestError."""
    dialect = _ANSWERED.get(call.path)
    if dialect is None:
        return None
    document = call.document()
    said = dialect.read(document)
    # Always a stream: a client that leaves is seen, and the answer is read the same way.
    stream: dict[str, JsonValue] = {"stream": True, "stream_options": {"include_usage": True}}

    def writer(record: RequestRecord) -> AnswerWriter:
        return dialect.writer(call, document, clock)

    return replace(
        call,
        path=CHAT_PATH,
        body=dump_compact({"model": call.model.id, **said.body, **stream}),
        writer=writer,
        translated=True,
        left_out=tuple(said.left_out),
    )


def needs_chat(call: Call) -> bool:
    """Whether a llama-server would leave out what a message's form is to be, which it takes in a chat."""
    if call.path != "/v1/messages" or b'"output_config"' not in call.body:
        return False
    return bool(as_object(call.document().get("output_config")).get("format"))


async def counted(call: Call, model_id: str, backend: Backend) -> bytes | None:
    """The answer to a question for a number of tokens, by whatever the server has for it.

    Args:
        model_id: As the server calls it.

    Returns:
        None when the call asks something else, or the server cannot count.

    Raises:
        InvalidRequestError, ServerError: It cannot be asked, or did not answer.
    """
    found = _COUNTED.get(call.path)
    if found is None:
        return None
    read, besides = found
    request = chat_request({"model": model_id, **read(call.document()).body})
    try:
        count = await backend.count_prompt(request)
    except NotFoundError:
        return None
    return None if count is None else dump_json({"input_tokens": count.tokens, **besides})
