"""Which model is meant."""

import pytest

from llama_runner.backends.models import ModelInfo
from llama_runner.control.values import ServedModel
from llama_runner.core.errors import ModelFileError, NotFoundError, UsageError
from llama_runner.workspace.choice import MAX_NAMES, choose_local, choose_remote


def served(*ids: str, origin: str = "models folder", problem: str | None = None) -> tuple[ServedModel, ...]:
    return tuple(ServedModel(id=i, path=f"/m/{i}.gguf", origin=origin, problem=problem) for i in ids)


DEMO = served("demo", origin="demo package")


def local(
    models: tuple[ServedModel, ...],
    wanted: str | None = None,
    *,
    default: str | None = None,
    ready: tuple[str, ...] = (),
    demo: bool = False,
) -> str:
    return choose_local(models, wanted, default=default, ready=ready, demo=demo)


def test_a_named_model_is_taken() -> None:
    assert local(served("a", "b"), "b", default="a", ready=("a",)) == "b"


def test_a_name_that_is_close_is_suggested() -> None:
    with pytest.raises(NotFoundError, match="Did you mean llama-3-8b") as caught:
        local(served("llama-3-8b", "phi"), "lama-3-8b")
    assert caught.value.suggestions == ("llama-3-8b",)


def test_a_name_like_no_other_gets_the_list() -> None:
    with pytest.raises(NotFoundError, match="Known models: alpha, beta"):
        local(served("alpha", "beta"), "xyz")
    with pytest.raises(NotFoundError, match="Known models: none"):
        local((), "xyz")


def test_a_named_model_with_a_problem_says_which() -> None:
    with pytest.raises(ModelFileError, match="broken"):
        local(served("a", problem="It is broken."), "a")


def test_the_default_then_the_loaded_then_the_only_one() -> None:
    models = served("a", "b")
    assert local(models, default="b", ready=("a",)) == "b"
    assert local(models, default="gone", ready=("a",)) == "a"
    assert local(served("a") + served("b", problem="x")) == "a"


def test_the_demo_model_is_taken_among_several_with_demo_only() -> None:
    assert local(served("a") + DEMO, demo=True) == "demo"
    with pytest.raises(UsageError, match="Name one with --model: a, demo"):
        local(served("a") + DEMO)


def test_without_any_model_the_advice_is_where_to_put_one() -> None:
    with pytest.raises(ModelFileError, match="There is no model to load") as caught:
        local(())
    assert "--demo" in caught.value.hint


def test_when_no_file_can_be_loaded_it_says_why() -> None:
    with pytest.raises(ModelFileError, match=r"a: It is a web page"):
        local(served("a", problem="It is a web page."))


def test_a_long_list_of_names_is_cut() -> None:
    with pytest.raises(UsageError, match="and 5 more"):
        local(served(*(f"m{n}" for n in range(MAX_NAMES + 5))))


def remote(*models: ModelInfo, wanted: str | None = None) -> str:
    return choose_remote(models, wanted, "http://127.0.0.1:1")


def test_a_name_given_for_a_server_is_taken_as_it_is() -> None:
    """Servers accept aliases that they do not list."""
    assert remote(ModelInfo("a"), wanted="alias") == "alias"


def test_the_only_model_of_a_server_or_the_only_one_in_memory_is_taken() -> None:
    assert remote(ModelInfo("a", loaded=False)) == "a"
    assert remote(ModelInfo("a", loaded=False), ModelInfo("b", loaded=True)) == "b"


def test_several_models_of_a_server_are_the_callers_choice() -> None:
    with pytest.raises(UsageError, match="--model: a, b"):
        remote(ModelInfo("a"), ModelInfo("b"))
    with pytest.raises(UsageError):
        remote(ModelInfo("a", loaded=True), ModelInfo("b", loaded=True))


def test_a_server_without_models_says_so() -> None:
    with pytest.raises(NotFoundError, match="offers no model"):
        remote()
