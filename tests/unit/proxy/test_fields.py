import pytest

from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import JsonValue
from llama_runner.proxy import fields


def test_what_is_not_on_the_list_never_reaches_the_engine() -> None:
    """I10, I28, H17, H18."""
    asked: dict[str, JsonValue] = {
        "messages": [],
        "temperature": 0.5,
        "n_discard": -32,
        "id_slot": 3,
        "lora": [{"id": 0}],
        "grammar": "root ::= root",
        "api_base": "http://x",
        "base_url": "http://x",
        "headers": {},
        "api_key": "k",
        "chat_parser": "x",
        "slot_save_path": "/tmp",
        "temperature ": 1,
        "__proto__": {},
    }
    assert fields.allowed(asked, fields.CHAT) == {"messages": [], "temperature": 0.5}


def test_null_counts_as_absent() -> None:
    assert fields.allowed({"messages": [], "seed": None, "stop": None}, fields.CHAT) == {"messages": []}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "hot"),
        ("temperature", -1),
        ("temperature", float("nan")),
        ("temperature", True),
        ("seed", 2**70),
        ("seed", 1.5),
        ("n", 1000),
        ("max_tokens", -5),
        ("n_predict", 10**9),
        ("stop", ["x"] * 100_000),
        ("logit_bias", [[1, 2]] * 100_000),
        ("top_p", 2),
        ("messages", {}),
        ("tools", "all"),
        ("stream", "yes"),
        ("repeat_last_n", -1),
        ("logprobs", 3),
    ],
)
def test_what_is_out_of_bounds_is_named(name: str, value: JsonValue) -> None:
    """H18, H25."""
    with pytest.raises(InvalidRequestError, match=name):
        fields.allowed({"messages": [], name: value}, fields.CHAT)


@pytest.mark.parametrize("prompt", ["text", [1, 2, 3], ["a", "b"]])
def test_a_completion_takes_text_and_tokens(prompt: JsonValue) -> None:
    assert fields.allowed({"prompt": prompt}, fields.COMPLETION) == {"prompt": prompt}
