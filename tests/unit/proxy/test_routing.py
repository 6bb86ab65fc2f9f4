"""Which model a name means, and what is said when it means none (H17)."""

from collections.abc import Sequence
from typing import Any

import pytest

from llama_runner.core.errors import InvalidRequestError, NotFoundError
from llama_runner.proxy import lm_studio_errors, ollama_errors, openai_errors
from llama_runner.proxy.host import ModelState, OfferedModel, Step
from llama_runner.proxy.routing import MAX_NAME_CHARS, choose, named


def model(name: str, *, loaded: bool = False, where: str = "") -> OfferedModel:
    state = ModelState.LOADED if loaded else ModelState.NOT_LOADED
    steps = (Step(name, where),) if where else ()
    return OfferedModel(name, "0" * 64, 1, 0.0, state=state, steps=steps)


OFFERED = [model("Qwen3-8B"), model("llama3:8b"), model("big@box:1", where="box:1")]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("Qwen3-8B", "Qwen3-8B"),
        ("qwen3-8b", "Qwen3-8B"),
        ("qwen3-8b:latest", "Qwen3-8B"),
        ("llama3:8b", "llama3:8b"),
        ("big@box:1:latest", "big@box:1"),
        ("../Qwen3-8B", None),
        ("Qwen3-8B\x00", None),
        ("x" * (MAX_NAME_CHARS + 1), None),
    ],
)
def test_h17_names_are_looked_up_and_never_resolved(wanted: str, found: str | None) -> None:
    result = named(OFFERED, wanted)
    assert (result.id if result else None) == found


@pytest.mark.parametrize(
    ("offered", "found"),
    [
        ([model("a")], "a"),
        ([model("a"), model("b", loaded=True)], "b"),
        ([model("a"), model("b@box:1", where="box:1")], "a"),
    ],
)
def test_without_a_name_the_only_one_here_is_meant(offered: Sequence[OfferedModel], found: str) -> None:
    assert choose(offered, None).id == found


@pytest.mark.parametrize("offered", [[], [model("a"), model("b")], [model("b@box:1", where="box:1")]])
def test_without_a_name_nothing_leaves_this_machine_and_nothing_is_guessed(
    offered: Sequence[OfferedModel],
) -> None:
    with pytest.raises(InvalidRequestError):
        choose(offered, "")


@pytest.mark.parametrize("wanted", [1, True, ["a"], {"id": "a"}])
def test_a_name_that_is_no_text_is_refused(wanted: Any) -> None:
    with pytest.raises(InvalidRequestError):
        choose(OFFERED, wanted)


def test_a_name_that_comes_close_is_suggested_in_every_dialect() -> None:
    with pytest.raises(NotFoundError) as caught:
        choose(OFFERED, "qwen3-8")
    for errors in (openai_errors, ollama_errors, lm_studio_errors):
        status, document = errors.error_answer(caught.value)
        assert status == 404
        assert "model 'qwen3-8' not found" in str(document).replace('\\"', '"')
        assert "Did you mean Qwen3-8B" in str(document)


def test_an_ollama_client_reads_its_own_words_where_nothing_comes_close() -> None:
    with pytest.raises(NotFoundError) as caught:
        choose(OFFERED, "zzzzzzzzzz")
    assert ollama_errors.error_answer(caught.value) == (404, {"error": "model 'zzzzzzzzzz' not found"})
