"""Messages and responses said as a chat: what is asked, and what is left out."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import dump_json
from llama_runner.proxy.chat_reading import chat_request
from llama_runner.proxy.in_chat import MAX_LEFT_OUT, MAX_NAME_CHARS
from llama_runner.proxy.messages_requests import messages_in_chat
from llama_runner.proxy.responses_requests import responses_in_chat

PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
SHOWN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def of_messages(*turns: tuple[str, Any], **more: Any) -> list[Any]:
    asked = {"messages": [{"role": role, "content": content} for role, content in turns], **more}
    said = messages_in_chat(asked).body["messages"]
    assert isinstance(said, list)
    return said


def of_responses(*items: Any, **more: Any) -> list[Any]:
    said = responses_in_chat({"input": [*items], **more}).body["messages"]
    assert isinstance(said, list)
    return said


def test_what_is_left_out_has_an_end() -> None:
    """H15: every other one would be compared with all before it, and a header tells them."""
    blocks: Any = [{"type": f"{number}" + "x" * 1_000} for number in range(20_000)]
    said = messages_in_chat({"messages": [{"role": "assistant", "content": blocks}]})
    assert len(said.left_out) == MAX_LEFT_OUT
    assert {len(name) for name in said.left_out} == {MAX_NAME_CHARS}


# --- anthropic --------------------------------------------------------------------------------------------


def test_system_texts_come_first_as_one_turn() -> None:
    system = [{"type": "text", "text": "A."}, {"type": "text", "text": "B."}]
    assert of_messages(("user", "x"), system=system)[0] == {"role": "system", "content": "A.\n\nB."}
    assert of_messages(("user", "x"), system="C.")[0]["content"] == "C."


def test_pictures_and_documents_stay_in_their_turn() -> None:
    plain = {"type": "document", "source": {"type": "text", "data": "the paper"}}
    (turn,) = of_messages(
        ("user", [{"type": "text", "text": "Look:"}, {"type": "image", "source": PNG}, plain])
    )
    assert turn["content"] == [
        {"type": "text", "text": "Look:"},
        SHOWN,
        {"type": "text", "text": "the paper"},
    ]


def test_results_come_before_what_else_the_user_says_and_their_pictures_after() -> None:
    result = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "text", "text": "ok"}, {"type": "image", "source": PNG}],
    }
    found = of_messages(("user", [result, {"type": "text", "text": "Go on."}]))
    assert found[0] == {"role": "tool", "tool_call_id": "t1", "content": "ok"}
    assert found[1] == {"role": "user", "content": [SHOWN, {"type": "text", "text": "Go on."}]}


def test_thoughts_go_back_with_the_calls_they_led_to() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "t1", "name": "look", "input": {"é": 1}},
    ]
    (turn,) = of_messages(("assistant", blocks))
    assert (turn["reasoning_content"], turn["content"]) == ("Hm.", "I look.")
    function = turn["tool_calls"][0]["function"]
    assert (function["name"], function["arguments"].replace(" ", "")) == ("look", '{"é":1}')


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_choices_of_tools_have_other_names(choice: Any, said: Any) -> None:
    tools: Any = [{"name": "f", "input_schema": {"type": "object"}}]
    assert messages_in_chat({"tools": tools, "tool_choice": choice}).body["tool_choice"] == said


def test_one_call_at_a_time_is_said() -> None:
    choice: Any = {"type": "auto", "disable_parallel_tool_use": True}
    assert messages_in_chat({"tool_choice": choice}).body["parallel_tool_calls"] is False


def test_the_form_of_an_answer_has_another_place() -> None:
    form: Any = {"format": {"type": "json_schema", "schema": {"type": "object"}}, "effort": "max"}
    said = messages_in_chat({"output_config": form})
    schema = {"name": "answer", "schema": {"type": "object"}}
    assert said.body["response_format"] == {"type": "json_schema", "json_schema": schema}
    assert (said.body["reasoning_effort"], said.left_out) == ("max", [])


def test_what_a_chat_has_no_word_for_is_named() -> None:
    said = messages_in_chat(
        {
            "tools": [{"type": "bash_20250124", "name": "bash"}],
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "messages": [{"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]}],
        }
    )
    assert said.left_out == ["thinking", "bash", "budget_tokens"]
    assert said.body["chat_template_kwargs"] == {"enable_thinking": True}
    assert "tools" not in said.body


@pytest.mark.parametrize(
    "content", [[{"type": "container_upload"}], [{}], [{"type": "image", "source": 3}], [7]]
)
def test_content_without_which_it_is_another_question_is_refused(content: Any) -> None:
    with pytest.raises(InvalidRequestError, match="chat only"):
        of_messages(("user", content))


# --- responses --------------------------------------------------------------------------------------------


def test_words_thoughts_and_calls_of_one_turn_are_one_turn() -> None:
    found = of_responses(
        {"role": "user", "content": "x"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
        {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "2"}]},
        {"type": "function_call", "call_id": "c", "name": "h", "arguments": "{}"},
    )
    assert [turn["role"] for turn in found] == ["user", "assistant", "tool", "tool", "assistant"]
    turn = found[1]
    assert (turn["reasoning_content"], turn["content"]) == ("Hm.", "I look.")
    assert [one["id"] for one in turn["tool_calls"]] == ["a", "b"]
    assert [turn["content"] for turn in found[2:4]] == ["1", "2"]


def test_a_text_alone_is_the_users_and_instructions_come_first() -> None:
    said = responses_in_chat({"input": "x", "instructions": "Be brief."}).body["messages"]
    assert said == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "x"}]
    assert of_responses({"role": "developer", "content": "y"}) == [{"role": "system", "content": "y"}]


def test_a_schema_and_an_effort_have_other_places() -> None:
    schema: Any = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    said = responses_in_chat(
        {"text": {"format": schema, "verbosity": "low"}, "reasoning": {"effort": "high", "summary": "auto"}}
    )
    wanted = {"name": "n", "schema": {"type": "object"}, "strict": True}
    assert said.body["response_format"] == {"type": "json_schema", "json_schema": wanted}
    assert said.body["reasoning_effort"] == "high"
    assert said.left_out == ["summary", "verbosity"]
    off = responses_in_chat({"reasoning": {"effort": "none"}})
    assert off.body["chat_template_kwargs"] == {"enable_thinking": False}


def test_tools_that_only_openai_runs_are_named() -> None:
    tools: Any = [
        {"type": "function", "name": "f"},
        {"type": "custom", "name": "apply_patch"},
        {"type": "mcp"},
    ]
    said = responses_in_chat({"tools": tools, "tool_choice": {"type": "allowed_tools"}})
    assert said.left_out == ["apply_patch", "mcp", "tool_choice"]
    assert said.body["tools"] == [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    ]


@pytest.mark.parametrize(
    "item", [{"type": "item_reference", "id": "x"}, {"role": "user", "content": [{"type": "input_file"}]}]
)
def test_items_that_are_not_here_are_refused(item: Any) -> None:
    with pytest.raises(InvalidRequestError, match="chat only"):
        of_responses(item)


# --- anything ---------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        "type", "role", "content", "text", "assistant", "user", "tool_use", "tool_result", "image", "source",
        "base64", "function_call", "function_call_output", "reasoning", "summary", "output", "name", "tool",
    ]
)  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=6),
    max_leaves=30,
)
TOP = ["messages", "system", "tools", "tool_choice", "thinking", "output_config", "stop_sequences"]
OTHERS = ["input", "instructions", "tools", "tool_choice", "reasoning", "text", "max_output_tokens"]


@given(st.dictionaries(st.sampled_from(TOP), ANYTHING), st.dictionaries(st.sampled_from(OTHERS), ANYTHING))
def test_any_request_is_said_or_refused(messages: Any, responses: Any) -> None:
    """H15: nothing that a client sends is a fault of ours, here or where the chat is said in turn."""
    for said, asked in ((messages_in_chat, messages), (responses_in_chat, responses)):
        with suppress(InvalidRequestError):
            body = said(asked).body
            dump_json(body)
            chat_request({"model": "m", **body})
