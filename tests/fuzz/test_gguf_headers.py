"""A small share of what `python -m tests.fuzz.gguf_headers` does for a hundred thousand files (G1 to G17)."""

from pathlib import Path

import pytest

from llama_runner.runtime import gguf
from tests.fuzz.gguf_headers import BrokenPromiseError, fuzz


def test_g_broken_headers_break_no_promise(demo_model: Path) -> None:
    ends = fuzz(count=200, seed=1)
    # Were all refused, or none, nothing would be tested.
    assert ends["refused"] > 20
    assert ends["read"] > 20


def test_a_broken_promise_is_found(demo_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "_alignment", lambda values: 0)
    with pytest.raises(BrokenPromiseError, match="seed"):
        fuzz(count=50, seed=1)
