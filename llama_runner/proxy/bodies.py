"""Reading what a client sent, whatever its Content-Type says (curl sends forms), and refusing what is odd."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request

from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import JsonRejected, JsonValue, parse_json

# Safety R2: chats with pictures.
MAX_BODY_BYTES: Final = 32 * 1024 * 1024
_DATA_URL: Final = "data:"


async def read_object(request: Request) -> Mapping[str, JsonValue]:
    """The request's JSON object. Raises InvalidRequestError."""
    body = await request.body()
    if not body:
        raise InvalidRequestError("missing request body", "Send a JSON object.")
    try:
        document = parse_json(body, max_bytes=MAX_BODY_BYTES)
    except JsonRejected as error:
        raise InvalidRequestError(f"The request is not acceptable JSON: {error}.", "Correct it.") from error
    if not isinstance(document, dict):
        raise InvalidRequestError("The request is not a JSON object.", "Send an object.")
    return document


def wants_stream(document: Mapping[str, JsonValue], *, default: bool) -> bool:
    """Whether the answer is to be streamed. Raises InvalidRequestError for what is no yes or no (H25)."""
    stream = document.get("stream")
    if stream is None:
        return default
    if not isinstance(stream, bool):
        raise InvalidRequestError("stream must be true or false.", "Correct the request.")
    return stream


def refuse_fetched_media(messages: JsonValue) -> None:
    """Raise when a message names a picture to fetch: nothing is fetched for a client (T9, I25)."""
    for message in messages if isinstance(messages, list) else []:
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else []:
            url = _media_url(part)
            if url is not None and not url.startswith(_DATA_URL):
                raise InvalidRequestError(
                    "Pictures are taken as data: URLs only; nothing is fetched.",
                    "Send the picture itself, base64 encoded.",
                )


def _media_url(part: JsonValue) -> str | None:
    if not isinstance(part, dict):
        return None
    for kind in ("image_url", "input_image", "video_url", "audio_url"):
        value = part.get(kind) if kind != "input_image" else part.get("image_url")
        if isinstance(value, dict):
            value = value.get("url")
        if isinstance(value, str):
            return value
    # Anthropic's shape.
    source = part.get("source")
    if isinstance(source, dict) and source.get("type") == "url":
        url = source.get("url")
        return url if isinstance(url, str) else ""
    return None
