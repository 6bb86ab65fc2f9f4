"""What is done to a request on its way to a step."""

import json

import pytest

from llama_runner.core.jsonio import dump_compact
from llama_runner.proxy.answers import BodyThrough
from llama_runner.proxy.asking import MAX_HOPS, _for_model, hops_of
from llama_runner.proxy.calls import Call
from llama_runner.proxy.host import OfferedModel
from llama_runner.proxy.openai_errors import engine_error, error_answer, error_document


def call(name: str, body: bytes) -> Call:
    return Call(
        model=OfferedModel(name, "0" * 64, 1, 0.0),
        path="/v1/chat/completions",
        body=body,
        streamed=True,
        writer=lambda record: BodyThrough(error_document),
        error_answer=error_answer,
        error_body=engine_error,
    )


@pytest.mark.parametrize("name", ["m", 'a"b', "é\u2028", "back\\slash"])
def test_another_models_name_is_put_in_without_reading_the_rest(name: str) -> None:
    # What comes behind the name is no JSON: whoever parsed it would fail.
    body = dump_compact({"model": name}).removesuffix(b"}") + b',"image":\xff never read'
    changed = _for_model(call(name, body), "other")
    assert changed.endswith(b',"image":\xff never read')
    assert changed.startswith(b'{"model"')
    assert b"other" in changed


def test_a_name_that_stands_elsewhere_is_found_too() -> None:
    body = dump_compact({"input": '{"model":"m",', "model": "m"})
    assert json.loads(_for_model(call("m", body), "other")) == {"input": '{"model":"m",', "model": "other"}


@pytest.mark.parametrize(
    ("said", "hops"),
    [(None, 0), (b"0", 0), (b"2", 2), (b"-1", MAX_HOPS), (b"", MAX_HOPS), (b"9" * 400, MAX_HOPS)],
)
def test_hops_are_counted_and_nonsense_is_too_many(said: bytes | None, hops: int) -> None:
    headers = [] if said is None else [(b"x-llama-runner-hops", said)]
    assert hops_of({"type": "http", "headers": headers}) == hops
