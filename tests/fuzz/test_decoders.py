"""A small share of what `python -m tests.fuzz.decoders` does for a million bodies (R4, R5, S1 to S20)."""

import pytest

from llama_runner.backends import openai_decoder
from tests.fuzz.decoders import DECODERS, BrokenPromiseError, fuzz


@pytest.mark.parametrize("name", DECODERS)
def test_odd_bodies_break_no_promise(name: str) -> None:
    ends = fuzz(name, count=1500, seed=1)
    # Were all refused at once, nothing would be tested.
    assert ends["finished"] > 150
    assert ends["TruncatedError"] > 150


def test_a_broken_promise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_decoder, "as_count", lambda value: value)
    with pytest.raises(BrokenPromiseError, match="seed"):
        fuzz("openai", count=3000, seed=1)
