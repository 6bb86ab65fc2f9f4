import base64
from dataclasses import replace
from typing import Any

import pytest

from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import JsonValue
from llama_runner.proxy.host import OfferedModel, Step
from llama_runner.proxy.media import check_media

BLIND = OfferedModel("m", "d" * 64, 1, 0.0)
SEEING = OfferedModel("m", "d" * 64, 1, 0.0, capabilities=("completion", "vision"))
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
DATA = f"data:image/png;base64,{PNG}"
WEBP = base64.b64encode(b"RIFF0000WEBPVP8 ").decode()

# The shapes a picture has in chats, responses and messages, each around an address.
SHAPES: tuple[Any, ...] = (
    lambda url: {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    },
    lambda url: {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": url}]}]},
    lambda url: {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]},
    lambda url: {"input": [{"type": "function_call_output", "output": [{"image_url": url}]}]},
)


def _messages(source: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "image", "source": source}]}]}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://evil.test/x.png",
        "file:///etc/passwd",
        "//evil.test/x",
        "",
    ],
)
def test_no_address_is_ever_fetched(shape: Any, url: str) -> None:
    """T9, I25."""
    with pytest.raises(InvalidRequestError, match="nothing is fetched"):
        check_media(shape(url), SEEING)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("what", [WEBP, "%%%", base64.b64encode(b"<html>").decode(), ""])
def test_what_is_no_picture_the_engine_reads_is_refused(shape: Any, what: str) -> None:
    """T9: whatever its media type says."""
    with pytest.raises(InvalidRequestError, match="invalid image"):
        check_media(shape(f"data:image/png;base64,{what}"), SEEING)


@pytest.mark.parametrize("shape", SHAPES)
def test_pictures_need_a_model_that_sees(shape: Any) -> None:
    document = shape(f"data:image/png;base64,{PNG}")
    check_media(document, SEEING)
    with pytest.raises(InvalidRequestError, match="does not support images"):
        check_media(document, BLIND)


def test_what_another_servers_model_sees_is_for_it_to_say() -> None:
    remote = replace(BLIND, steps=(Step("m@there", "there:1234"),))
    check_media(SHAPES[0](f"data:image/png;base64,{PNG}"), remote)


def test_anthropics_pictures_are_looked_at_also_in_results_of_tools() -> None:
    """T9."""
    good = {"type": "base64", "media_type": "image/png", "data": PNG}
    check_media(_messages(good), SEEING)
    for bad in ({"type": "url", "url": "http://x/"}, {"type": "file", "file_id": "f"}, {"type": "base64"}):
        with pytest.raises(InvalidRequestError, match="nothing is fetched"):
            check_media(_messages(bad), SEEING)
        result = {"type": "tool_result", "content": _messages(bad)["messages"][0]["content"]}
        with pytest.raises(InvalidRequestError, match="nothing is fetched"):
            check_media({"messages": [{"role": "user", "content": [result]}]}, SEEING)


@pytest.mark.parametrize("field", ["video_url", "audio_url", "file_url"])
def test_other_media_is_not_fetched_either(field: str) -> None:
    """T9."""
    document = {"messages": [{"role": "user", "content": [{"type": field, field: {"url": "https://x/y"}}]}]}
    with pytest.raises(InvalidRequestError, match="nothing is fetched"):
        check_media(document, SEEING)  # type: ignore[arg-type]  # dict is invariant


def test_addresses_in_texts_and_arguments_are_nobodys_business() -> None:
    call: JsonValue = {
        "type": "tool_use",
        "id": "1",
        "name": "open",
        "input": {"image_url": "https://x/y.png"},
    }
    text: JsonValue = {"type": "text", "text": "see https://x/y.png"}
    check_media({"messages": [{"role": "assistant", "content": [text, call]}, {"content": "x"}, 5]}, BLIND)
    check_media({"messages": "nonsense", "input": "https://x/y.png"}, BLIND)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "image_url": DATA, "source": {"type": "url", "url": "http://x/"}},
        {"type": "video_url", "image_url": {"url": DATA}, "video_url": {"url": "http://x/"}},
        {"type": "input_audio", "input_audio": {"data": "http://x/a.wav", "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": "file:///etc/passwd"}},
        {"type": "input_audio", "input_audio": {"url": "http://x/a.wav"}},
        {"type": "input_video", "input_video": {"data": "AAAA", "url": "http://x/"}},
        {"type": "input_video", "image_url": DATA, "input_video": "http://x/"},
    ],
)
def test_a_part_that_shows_two_things_hides_no_address_behind_one_that_is_well(part: dict[str, Any]) -> None:
    """T9, I25: llama-server chooses by the part's type, and fetches for recordings too."""
    with pytest.raises(InvalidRequestError, match="nothing is fetched"):
        check_media({"messages": [{"role": "user", "content": [part]}]}, SEEING)


def test_recordings_go_on_as_they_are() -> None:
    sound: dict[str, Any] = {
        "type": "input_audio",
        "input_audio": {"data": "UklGRiQAAABXQVZF", "format": "wav"},
    }
    check_media({"messages": [{"role": "user", "content": [sound]}]}, SEEING)
