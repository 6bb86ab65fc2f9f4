"""What an engine tells of its work, read from what real and broken ones write."""

import pytest

from llama_runner.runtime.activity import Activity, parse_figures, parse_slots

WRITTEN = """\
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 120
llamacpp:prompt_seconds_total 0.5
llamacpp:tokens_predicted_seconds_total nan
llamacpp:n_busy_slots_per_decode inf
llamacpp:requests_processing -1
llamacpp:requests_deferred many
other:requests_deferred 3
llamacpp:
"""


def test_figures_are_read_and_nonsense_is_unknown() -> None:
    assert parse_figures(WRITTEN) == {"prompt_tokens_total": 120.0, "prompt_seconds_total": 0.5}
    assert parse_figures("") == {}


@pytest.mark.parametrize(
    ("props", "expected"),
    [
        (b'{"total_slots": 4, "default_generation_settings": {"n_ctx": 256}}', (4, 256)),
        (b'{"total_slots": true, "default_generation_settings": []}', (None, None)),
        (b'{"total_slots": -1}', (None, None)),
        (b"[" * 1000, (None, None)),
        (b"<html>", (None, None)),
        (b"[1]", (None, None)),
        (None, (None, None)),
    ],
)
def test_slots_are_read_and_nonsense_is_unknown(
    props: bytes | None, expected: tuple[int | None, int | None]
) -> None:
    assert parse_slots(props) == expected


def test_speeds_are_of_the_time_worked_and_unknown_before_any_work() -> None:
    assert Activity(prompt_tokens=120, prompt_s=0.5, output_tokens=10, output_s=2.0).prompt_tps == 240
    assert Activity(output_tokens=10, output_s=2.0).decode_tps == 5
    assert Activity(output_tokens=0, output_s=0.0).decode_tps is None
    assert Activity().prompt_tps is None
