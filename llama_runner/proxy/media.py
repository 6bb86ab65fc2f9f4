"""Pictures in requests: nothing is fetched for a client (T9, I25), and only what the engine can read goes on.

Nothing is decoded here: the first bytes tell the kind, the rest goes through as it came.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Final

from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import JsonValue
from llama_runner.proxy.host import LOCAL, OfferedModel

# The first bytes of the picture formats that llama-server decodes; WebP is not among them.
_MAGIC: Final = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)
_DATA_URL: Final = "data:"
# Parts that name what they show: OpenAI's chat and responses.
_URL_KEYS: Final = ("image_url", "video_url", "audio_url", "file_url")
# Parts that hold it, base64; llama-server fetches whatever stands there like an address, or beside it.
_DATA_KEYS: Final = ("input_audio", "input_video")
_VISION: Final = "vision"


def check_media(document: Mapping[str, JsonValue], model: OfferedModel) -> None:
    """Raise InvalidRequestError for media to fetch, no pictures, or such as `model` cannot see."""
    for field in ("messages", "input"):
        for part in _parts(document.get(field)):
            _check(part, model)


def data_url(picture: str) -> str:
    """A picture, base64 with or without a data URL's head, as a data URL. Raises InvalidRequestError."""
    encoded = picture.partition(",")[2] if picture.startswith(_DATA_URL) else picture
    first = _first_bytes(encoded)
    if first is None:
        raise InvalidRequestError("invalid image input", "Give pictures base64 encoded.")
    media_type = next((kind for magic, kind in _MAGIC if first.startswith(magic)), None)
    if media_type is None:
        raise InvalidRequestError(
            "invalid image input: not a PNG, JPEG, GIF or BMP picture", "Convert the picture."
        )
    return f"data:{media_type};base64,{encoded}"


def refuse_unseen(model: OfferedModel) -> None:
    """Raise InvalidRequestError when `model` takes no pictures; what other servers' models can, they say."""
    if _VISION not in model.capabilities and all(step.where == LOCAL for step in model.ways):
        raise InvalidRequestError(
            f"{model.id} does not support images: it has no projector (mmproj file).",
            "Leave the picture out, or use a model with vision.",
        )


def _parts(messages: JsonValue) -> Iterator[Mapping[str, JsonValue]]:
    """Every content part of messages and items, those inside tool results too."""
    for message in messages if isinstance(messages, list) else []:
        if not isinstance(message, dict):
            continue
        # Chat and Anthropic's messages; the responses API's results of tools.
        for content in (message.get("content"), message.get("output")):
            for part in content if isinstance(content, list) else []:
                if isinstance(part, dict):
                    yield part
                    # Anthropic's tool results hold parts of their own.
                    yield from _parts([part]) if part.get("type") == "tool_result" else ()


def _check(part: Mapping[str, JsonValue], model: OfferedModel) -> None:
    """Everything that a part has: which of it counts is the engine's to choose."""
    for key in _URL_KEYS:
        if (value := part.get(key)) is not None:
            _check_url(key, value, model)
    for key in _DATA_KEYS:
        if (value := part.get(key)) is not None:
            _check_data(value)
    source = part.get("source")
    if part.get("type") == "image" and isinstance(source, dict):
        encoded = source.get("data")
        if source.get("type") != "base64" or not isinstance(encoded, str):
            raise _not_fetched()
        data_url(encoded)
        refuse_unseen(model)


def _check_url(key: str, value: JsonValue, model: OfferedModel) -> None:
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str) or not url.startswith(_DATA_URL):
        raise _not_fetched()
    if key == "image_url":
        data_url(url)
        refuse_unseen(model)


def _check_data(value: JsonValue) -> None:
    media = value if isinstance(value, dict) else {}
    encoded = media.get("data")
    if media.get("url") is not None or not isinstance(encoded, str) or _first_bytes(encoded) is None:
        raise _not_fetched()


def _first_bytes(encoded: str) -> bytes | None:
    """What base64 begins with; None for what is none, as every address is: it has a colon early on."""
    start = encoded[:64]
    try:
        return base64.b64decode(start + "=" * (-len(start) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _not_fetched() -> InvalidRequestError:
    return InvalidRequestError(
        "Pictures are taken as data: URLs only; nothing is fetched.",
        "Send the picture or recording itself, base64 encoded.",
    )
