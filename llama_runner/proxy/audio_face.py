"""OpenAI's transcription of recordings: passed on to models that hear, here or on known servers.

Source: platform.openai.com/docs/api-reference/audio/createTranscription; Ollama has the same below /v1.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import JsonValue
from llama_runner.proxy import fields, openai_errors
from llama_runner.proxy.answers import AnswerWriter, BodyThrough, SseThrough
from llama_runner.proxy.calls import Call, Relays
from llama_runner.proxy.forms import File, Form, read_form
from llama_runner.proxy.handlers import routed
from llama_runner.proxy.host import LOCAL, OfferedModel
from llama_runner.proxy.records import RequestRecord
from llama_runner.proxy.relay import Relay
from llama_runner.proxy.routing import find_model

PATH: Final = "/v1/audio/transcriptions"
# As OpenAI's and Ollama's.
MAX_FILE_BYTES: Final = 25 * 1024 * 1024
MAX_TEXT_CHARS: Final = 100_000
# What of a form goes on, and which of it may come again.
_SOME: Final = "timestamp_granularities[]"
_TEXTS: Final = ("language", "prompt", "response_format", "temperature", "stream", _SOME)
_PLAIN: Final = ("text", "srt", "vtt")
_END: Final = b"transcript.text.done"


class AudioFace:
    """One route."""

    def __init__(self, shared: Relays) -> None:
        self._shared = shared

    def routes(self) -> list[Route]:
        """All of them."""
        return routed(self._shared, [("POST", PATH, self.transcribe)], openai_errors.error_answer)

    async def transcribe(self, request: Request) -> ASGIApp:
        """POST /v1/audio/transcriptions."""
        found = read_form(request.headers.get("content-type", ""), await request.body())
        texts = _texts(found)
        model = await find_model(self._shared.host, _first(found.get("model")))
        _refuse_unheard(model)
        streamed = texts.get("stream") == ("true",)
        call = Call(
            model=model,
            path=PATH,
            body=b"",
            streamed=streamed,
            writer=partial(_writer, model.id, texts, streamed),
            error_answer=openai_errors.error_answer,
            error_body=openai_errors.engine_error,
            form=Form(_file(found), texts),
        )
        return Relay(self._shared, call, PATH)


def _writer(
    model_id: str, texts: Mapping[str, tuple[str, ...]], streamed: bool, record: RequestRecord
) -> AnswerWriter:
    if streamed:
        return SseThrough(model_id, openai_errors.error_document, _END)
    plain = texts.get("response_format", ("json",))[0] in _PLAIN
    kind = "text/plain; charset=utf-8" if plain else "application/json"
    return BodyThrough(openai_errors.error_document, kind)


def _file(found: Mapping[str, list[str | File]]) -> File:
    file = (found.get("file") or [""])[0]
    if not isinstance(file, File) or not file.data:
        raise InvalidRequestError("The form has no file.", "Send the recording as file.")
    if len(file.data) > MAX_FILE_BYTES:
        raise InvalidRequestError("The recording has more than 25 MB.", "Send it in pieces.")
    return file


def _texts(found: Mapping[str, list[str | File]]) -> dict[str, tuple[str, ...]]:
    kept: dict[str, tuple[str, ...]] = {}
    for name in _TEXTS:
        values = tuple(value for value in found.get(name, ()) if isinstance(value, str))
        if any(len(value) > MAX_TEXT_CHARS for value in values):
            raise InvalidRequestError(f"{name} is too long.", "Make it shorter.")
        if values:
            kept[name] = values if name == _SOME else values[:1]
    if "temperature" in kept:
        fields.allowed({"temperature": _number(kept["temperature"][0])}, fields.CHAT)
    return kept


def _number(text: str) -> JsonValue:
    try:
        return float(text)
    except ValueError:
        return text


def _first(values: list[str | File] | None) -> JsonValue:
    value = values[0] if values else None
    return value if isinstance(value, str) else None


def _refuse_unheard(model: OfferedModel) -> None:
    """What other servers' models can, they say."""
    if "audio" not in model.capabilities and all(step.where == LOCAL for step in model.ways):
        raise InvalidRequestError(
            f"{model.id} does not hear: it has no projector for sound (mmproj file).", "Use another model."
        )
