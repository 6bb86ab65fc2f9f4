"""D13, R11: what speaks for another server at a known address."""

from dataclasses import replace

import pytest

from llama_runner.backends.base import Engine
from llama_runner.backends.models import ModelInfo
from llama_runner.discovery.identity import moved_from, other_machine, other_models, other_program
from llama_runner.discovery.registry import Certainty, ServerRecord, ServerSource, ServerStatus

MAC, OTHER_MAC = "00:11:22:33:44:55", "00:11:22:33:44:66"


def server(url: str = "http://192.168.7.20:8000", *models: str, product: str = "vllm") -> ServerRecord:
    return ServerRecord(
        id=url,
        base_url=url,
        engine=Engine.VLLM,
        product=product,
        certainty=Certainty.CERTAIN,
        status=ServerStatus.OFFLINE,
        source=ServerSource.FOUND,
        models=tuple(map(ModelInfo, models)),
        mac=MAC,
    )


def test_d13_another_program_is_a_change() -> None:
    assert other_program(server(), "ollama") == "It was vllm and now answers as ollama."
    assert other_program(server(), "openai-compatible")
    assert not other_program(server(), "vllm")


@pytest.mark.parametrize("vague", ["", "openai-compatible", "unknown"])
def test_a_better_name_is_no_change(vague: str) -> None:
    assert not other_program(server(product=vague), "vllm")


def test_d13_another_hardware_address_is_a_change_where_both_are_known() -> None:
    assert OTHER_MAC in other_machine(server(), OTHER_MAC)
    assert not other_machine(server(), MAC)
    assert not other_machine(server(), None)
    assert not other_machine(replace(server(), mac=None), OTHER_MAC)


def test_r11_another_machine_with_none_of_the_models_of_before_is_a_change() -> None:
    known = server("http://192.168.7.20:8000", "a", "b")

    assert other_models(known, (ModelInfo("x"),))
    assert not other_models(known, (ModelInfo("b"), ModelInfo("x")))
    assert not other_models(known, ())
    assert not other_models(server(), (ModelInfo("x"),))
    assert not other_models(server("http://127.0.0.1:8000", "a"), (ModelInfo("x"),))


def test_d13_a_known_machine_at_a_new_address_is_named() -> None:
    old = server("http://192.168.7.20:8000")
    new = server("http://192.168.7.21:8000")

    assert "192.168.7.20:8000" in moved_from([old, new], new, MAC)
    assert not moved_from([old, new], new, OTHER_MAC)
    assert not moved_from([old, new], new, None)


def test_one_machine_may_have_several_addresses_and_several_servers() -> None:
    old = server("http://192.168.7.20:8000")

    assert not moved_from([replace(old, status=ServerStatus.ONLINE)], server("http://10.0.0.5:8000"), MAC)
    assert not moved_from([old], server("http://192.168.7.20:11434"), MAC)
