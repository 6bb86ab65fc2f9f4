"""Reading what a client sent, whatever its Content-Type says (curl sends forms), and refusing what is odd."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request

from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import JsonRejected, JsonValue, parse_json

# Safety R2: chats with pictures.
MAX_BODY_BYTES: Final = 32 * 1024 * 1024
# H15: lists and objects, which cost more than their bytes do; everybody else waits while they are looked at.
# The longest conversation there may be has half as many messages.
MAX_PARTS: Final = 200_000
# All values of lists and objects; commas in texts count too. No context holds a text of so many.
MAX_VALUES: Final = 1_000_000


async def read_object(request: Request) -> Mapping[str, JsonValue]:
    """The request's JSON object. Raises InvalidRequestError."""
    body = await request.body()
    if not body:
        raise InvalidRequestError("missing request body", "Send a JSON object.")
    if body.count(b"{") + body.count(b"[") > MAX_PARTS or body.count(b",") > MAX_VALUES:
        raise InvalidRequestError("The request has too many parts.", "Send less at once.")
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
