import base64
import json
import time
from typing import Any, cast

import pytest

from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import JsonValue
from llama_runner.proxy import ollama_requests as requests
from llama_runner.proxy.host import OfferedModel

PLAIN = OfferedModel("m", "d" * 64, 1, 0.0)
ABLE = OfferedModel("m", "d" * 64, 1, 0.0, capabilities=("completion", "tools", "thinking", "vision"))
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()


def chat(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    converted = requests.chat_body({"messages": list(messages)}, ABLE)["messages"]
    assert isinstance(converted, list)
    return cast(list[dict[str, Any]], converted)


def test_options_go_under_the_engines_names() -> None:
    options: JsonValue = {
        "temperature": 0.1,
        "top_k": 5,
        "num_predict": 7,
        "stop": ["a"],
        "repeat_last_n": 3,
        "num_ctx": 4096,
        "num_gpu": 1,
        "mirostat": 0,
        "use_mmap": True,
        "unknown": 1,
    }
    assert requests.sampling(options) == {
        "temperature": 0.1,
        "top_k": 5,
        "mirostat": 0,
        "repeat_last_n": 3,
        "stop": ["a"],
        "max_tokens": 7,
    }


@pytest.mark.parametrize("limit", [-1, -2, None])
def test_no_limit_is_not_sent(limit: JsonValue) -> None:
    """llama-server refuses -2."""
    assert requests.sampling({"num_predict": limit, "repeat_last_n": -1}) == {}


def test_a_picture_becomes_a_data_url_of_its_true_kind() -> None:
    (message,) = chat({"role": "user", "content": "look", "images": [PNG]})
    assert message == {
        "role": "user",
        "content": [
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        ],
    }


@pytest.mark.parametrize(
    "image", ["file:///etc/passwd", "http://x/y.png", "%%%", base64.b64encode(b"RIFF0000WEBP").decode(), 5]
)
def test_what_is_no_picture_the_engine_reads_is_refused(image: JsonValue) -> None:
    """T9: nothing is fetched, nothing is guessed."""
    with pytest.raises(InvalidRequestError, match="image"):
        chat({"role": "user", "content": "x", "images": [image]})


def test_pictures_need_a_model_that_sees() -> None:
    """T9: said before the model is loaded, not after."""
    message: JsonValue = {"role": "user", "content": "x", "images": [PNG]}
    with pytest.raises(InvalidRequestError, match="does not support images"):
        requests.chat_body({"messages": [message]}, PLAIN)
    with pytest.raises(InvalidRequestError, match="does not support images"):
        requests.generate_body({"prompt": "x", "images": [PNG]}, PLAIN)


def test_a_suffix_asks_for_what_stands_between() -> None:
    document: JsonValue = {"prompt": "def f(", "suffix": "):", "options": {"num_predict": 5, "seed": 3}}
    assert isinstance(document, dict)
    assert requests.suffix_body(document, PLAIN) == {
        "input_prefix": "def f(",
        "input_suffix": "):",
        "max_tokens": 5,
        "seed": 3,
        "stream": True,
    }


def test_a_tool_loop_keeps_calls_and_results_together() -> None:
    call: JsonValue = {"function": {"name": "clock", "arguments": {"zone": "UTC"}}}
    called, result = chat(
        {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [call]},
        {"role": "tool", "content": "12:00", "tool_name": "clock"},
    )
    (sent,) = called["tool_calls"]
    assert sent["function"] == {"name": "clock", "arguments": json.dumps({"zone": "UTC"})}
    assert called["reasoning_content"] == "hm"
    assert result["tool_call_id"] == sent["id"]


def test_results_without_a_name_go_to_the_oldest_open_call() -> None:
    calls: JsonValue = [{"id": name, "function": {"name": "f", "arguments": {}}} for name in ("a", "b")]
    turns = chat(
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2", "tool_call_id": "b"},
    )
    assert [turn["tool_call_id"] for turn in turns[1:]] == ["a", "b"]


def test_tools_need_a_model_that_knows_them() -> None:
    """Clients look for these words."""
    with pytest.raises(InvalidRequestError, match="does not support tools"):
        requests.chat_body({"messages": [], "tools": [{"type": "function"}]}, PLAIN)


@pytest.mark.parametrize(
    ("think", "sent"),
    [
        (None, {}),
        (False, {"chat_template_kwargs": {"enable_thinking": False}}),
        (True, {"chat_template_kwargs": {"enable_thinking": True}}),
        ("max", {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "high"}),
    ],
)
def test_thinking_is_switched_as_the_engine_does_it(think: JsonValue, sent: JsonValue) -> None:
    assert requests.common_body({"think": think}, ABLE) == sent


def test_thinking_off_is_accepted_by_any_model_and_on_is_not() -> None:
    assert requests.common_body({"think": False}, PLAIN)
    with pytest.raises(InvalidRequestError, match='"m" does not support thinking'):
        requests.common_body({"think": True}, PLAIN)
    with pytest.raises(InvalidRequestError, match="invalid think value"):
        requests.common_body({"think": "much"}, ABLE)


def test_formats() -> None:
    schema: JsonValue = {"type": "object"}
    assert requests.common_body({"format": "json"}, PLAIN) == {"response_format": {"type": "json_object"}}
    assert requests.common_body({"format": ""}, PLAIN) == {}
    assert requests.common_body({"format": schema}, PLAIN) == {
        "response_format": {"type": "json_schema", "json_schema": {"name": "schema", "schema": schema}}
    }
    with pytest.raises(InvalidRequestError, match="invalid format"):
        requests.common_body({"format": "xml"}, PLAIN)


@pytest.mark.parametrize(
    "document",
    [
        {"messages": ["text"]},
        {"messages": "text"},
        {"messages": [{"role": 5}]},
        {"messages": [{"role": "user", "content": ["part"]}]},
        {"messages": [{"role": "assistant", "tool_calls": [5]}]},
        {"messages": [], "options": []},
    ],
)
def test_wrong_shapes_are_refused(document: dict[str, JsonValue]) -> None:
    """H15."""
    with pytest.raises(InvalidRequestError):
        requests.chat_body(document, ABLE)


@pytest.mark.parametrize("top", [21, -1, 10**9, "many"])
def test_log_probabilities_and_tools_have_the_bounds_they_have_in_other_dialects(top: JsonValue) -> None:
    """H18."""
    with pytest.raises(InvalidRequestError, match="top_logprobs"):
        requests.common_body({"logprobs": True, "top_logprobs": top}, ABLE)
    assert requests.common_body({"logprobs": True, "top_logprobs": 3}, ABLE)["top_logprobs"] == 3
    wrong: tuple[JsonValue, ...] = ({"a": 1}, [{}] * 1025)
    for tools in wrong:
        with pytest.raises(InvalidRequestError, match="tools"):
            requests.chat_body({"messages": [], "tools": tools}, ABLE)


@pytest.mark.timing
@pytest.mark.parametrize("answer", [{"tool_name": "f"}, {"tool_call_id": "none"}, {"tool_name": "g"}])
def test_tens_of_thousands_of_calls_and_results_are_matched_in_a_moment(answer: dict[str, Any]) -> None:
    """H15: looking through all of them for each took a minute, in which nobody else was served."""
    calls = [{"function": {"name": "f"}}] * 60_000
    results = [{"role": "tool", **answer}] * 60_000
    began_s = time.process_time()
    turned = chat({"role": "assistant", "tool_calls": calls}, *results)
    assert time.process_time() - began_s < 20
    ids = [message["tool_call_id"] for message in turned[1:]]
    assert ids[:2] == (["none"] * 2 if "tool_call_id" in answer else ["call_0_0", "call_0_1"])


def test_the_last_call_of_an_id_counts() -> None:
    calls = [{"id": "a", "function": {"name": name}} for name in ("f", "g")]
    results = [{"role": "tool", "tool_name": name} for name in ("f", "g")]
    turned = chat({"role": "assistant", "tool_calls": calls}, *results)
    assert [message["tool_call_id"] for message in turned[1:]] == ["a", "call_0"]
