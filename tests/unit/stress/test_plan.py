"""Plans: what is refused (safety U18), how prompts differ, how the load is divided."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.core.errors import UsageError
from llama_runner.stress.plan import check_plan, marker, request_of, shares, worker_count
from tests.unit.stress.values import a_plan


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"concurrency": 0}, "concurrency of 0"),
        ({"concurrency": 1_000_000, "confirmed_many": True}, "concurrency of 1,000,000"),
        ({"total_requests": 0}, "number of requests of 0"),
        ({"total_requests": 10**9}, "number of requests"),
        ({"max_tokens": 0}, "tokens per answer"),
        ({"request_timeout_s": 0.0}, "timeout"),
        ({"request_timeout_s": float("nan")}, "timeout"),
        ({"prompt": " \n"}, "prompt is empty"),
        ({"prompt": "x" * 2_000_000}, "prompt is too long"),
        ({"prompt": "x" * 900_000, "total_requests": 100_000}, "too large"),
        ({"concurrency": 65}, "need your consent"),
    ],
)
def test_u18_impossible_plans_are_refused_with_a_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        check_plan(a_plan(**changes))
    assert caught.value.hint


def test_u18_many_requests_at_once_need_a_yes() -> None:
    check_plan(a_plan(concurrency=64))
    check_plan(a_plan(concurrency=65, confirmed_many=True))


@pytest.mark.parametrize("url", ["http://10.0.0.7:8080", "http://192.168.1.2:1234", "https://example.org"])
def test_u18_a_machine_that_is_not_this_one_needs_a_yes_and_the_message_says_how_much(url: str) -> None:
    with pytest.raises(UsageError, match=r"not this machine: 32 requests, 4 at a time"):
        check_plan(a_plan(url))
    check_plan(a_plan(url, confirmed_remote=True))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"])
def test_this_machine_needs_no_yes(url: str) -> None:
    check_plan(a_plan(url))


def test_every_prompt_begins_differently_and_the_same_seed_repeats_them() -> None:
    plan = a_plan()
    prompts = [request_of(plan, 7, i).messages[0].content for i in range(1000)]
    assert len({prompt[:14] for prompt in prompts}) == 1000
    assert all(prompt.endswith("] Hello") for prompt in prompts)
    assert prompts == [request_of(plan, 7, i).messages[0].content for i in range(1000)]
    assert marker(7, 0) != marker(8, 0)


def test_requests_carry_the_plan_and_ask_for_no_prompt_cache() -> None:
    options = request_of(a_plan(max_tokens=5, temperature=0.5, ignore_eos=True), 1, 0).options
    assert (options.max_tokens, options.temperature, options.ignore_eos, options.cache_prompt) == (
        5,
        0.5,
        True,
        False,
    )
    assert request_of(a_plan(), 1, 0).options.ignore_eos is None


@pytest.mark.parametrize(
    ("concurrency", "cpus", "workers"),
    [
        (1, 2, 1),
        (64, 64, 1),
        (65, 64, 1),
        (128, 64, 1),
        (129, 64, 2),
        (256, 64, 2),
        (256, 2, 1),
        (4096, 64, 16),
    ],
)
def test_workers_grow_with_the_load_and_leave_two_cores(concurrency: int, cpus: int, workers: int) -> None:
    assert worker_count(concurrency, cpus) == workers


@given(st.integers(1, 300), st.integers(1, 500), st.integers(1, 16))
def test_shares_cover_every_request_once_and_keep_the_concurrency(
    concurrency: int, total: int, workers: int
) -> None:
    parts = shares(concurrency, total, workers)
    assert sorted(index for part in parts for index in part.indices) == list(range(total))
    assert sum(part.concurrency for part in parts) == min(concurrency, total)
    assert all(1 <= part.concurrency <= len(part.indices) for part in parts)
    assert [part.worker for part in parts] == list(range(len(parts)))
    assert max(len(p.indices) for p in parts) - min(len(p.indices) for p in parts) <= 1
