import asyncio
import logging
import time

import pytest

from llama_runner.core import errors
from llama_runner.core.clock import SystemClock, seconds
from llama_runner.core.tasks import TaskOwner
from llama_runner.core.topic import Topic


def test_the_system_clock_is_monotonic_and_its_wall_time_aware() -> None:
    clock = SystemClock()
    before = time.perf_counter_ns()
    assert before <= clock.now_ns() <= time.perf_counter_ns()
    assert clock.utc().utcoffset() is not None


def test_seconds_between_two_stamps() -> None:
    assert seconds(3_500_000_000, 1_000_000_000) == 2.5


async def test_a_full_subscription_drops_its_oldest_and_counts_it() -> None:
    topic: Topic[int] = Topic()
    small, large = topic.subscribe(maxlen=2), topic.subscribe()
    for value in range(4):
        topic.publish(value)
    assert small.drain() == [2, 3]
    assert small.dropped == 2
    assert large.drain() == [0, 1, 2, 3]
    assert large.drain() == []
    assert topic.latest == 3


async def test_a_topic_without_readers_keeps_only_the_latest() -> None:
    topic: Topic[str] = Topic()
    assert topic.latest is None
    topic.publish("a")
    assert topic.subscribe().drain() == []


async def test_a_closed_subscription_receives_nothing() -> None:
    topic: Topic[int] = Topic()
    subscription = topic.subscribe()
    subscription.close()
    subscription.close()
    topic.publish(1)
    assert subscription.drain() == []


async def test_iterating_wakes_up_for_what_is_published_later() -> None:
    topic: Topic[int] = Topic()
    subscription = topic.subscribe()
    seen: list[int] = []

    async def read() -> None:
        async for value in subscription:
            seen.append(value)
            if value == 2:
                return

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(read())
        topic.publish(0)
        await asyncio.sleep(0)
        topic.publish(1)
        topic.publish(2)
    assert seen == [0, 1, 2]


async def test_the_task_owner_names_its_tasks_and_forgets_finished_ones() -> None:
    owner, go = TaskOwner(), asyncio.Event()
    task = owner.start(go.wait(), name="b")
    owner.start(asyncio.Event().wait(), name="a")
    assert list(owner.running) == ["a", "b"]
    go.set()
    await task
    assert list(owner.running) == ["a"]
    await owner.close()
    await owner.close()
    assert list(owner.running) == []


async def test_a_failed_task_is_reported_once_and_a_cancelled_one_is_not() -> None:
    reports: list[tuple[str, BaseException]] = []
    owner = TaskOwner(lambda name, error: reports.append((name, error)))
    error = ValueError("x")

    async def fail() -> None:
        raise error

    owner.start(fail(), name="failing")
    owner.start(asyncio.Event().wait(), name="waiting")
    await asyncio.sleep(0)
    await owner.close()
    assert reports == [("failing", error)]


async def test_without_a_reporter_a_failure_is_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    owner = TaskOwner()

    async def fail() -> None:
        raise ValueError("the reason")

    with caplog.at_level(logging.ERROR):
        owner.start(fail(), name="poller")
        await asyncio.sleep(0)
        await owner.close()
    assert "task failed name=poller" in caplog.text
    assert "ValueError: the reason" in caplog.text


def test_an_error_reads_as_what_happened_and_what_to_do() -> None:
    assert str(errors.UsageError("No model is named.", "Use --model.")) == "No model is named. Use --model."
    assert str(errors.UsageError("No model is named.")) == "No model is named."


def test_every_error_has_a_kind_of_its_own_and_an_exit_code() -> None:
    def tree(kind: type[errors.LlamaRunnerError]) -> list[type[errors.LlamaRunnerError]]:
        return [kind] + [below for child in kind.__subclasses__() for below in tree(child)]

    classes = [kind for kind in tree(errors.LlamaRunnerError) if kind.__module__ == errors.__name__]
    assert len({kind.kind for kind in classes}) == len(classes)
    codes = {kind: kind.exit_code for kind in classes if kind.exit_code != errors.ExitCode.FAILED}
    assert codes == {
        errors.UsageError: errors.ExitCode.USAGE,
        errors.ConfigError: errors.ExitCode.USAGE,
        errors.UnreachableError: errors.ExitCode.UNREACHABLE,
        errors.TlsError: errors.ExitCode.UNREACHABLE,
    }


def test_errors_carry_what_their_callers_need() -> None:
    missing = errors.NotFoundError("No model x.", "Did you mean y?", ("y",))
    assert missing.suggestions == ("y",)
    assert errors.OverloadedError("Busy.", retry_after_s=2.0).retry_after_s == 2.0
    odd = errors.ProtocolError("http://127.0.0.1:1/v1/models", "not JSON")
    assert odd.endpoint.endswith("/v1/models") and odd.what == "not JSON"
    assert str(odd).startswith("http://127.0.0.1:1/v1/models answered in an unexpected way: not JSON.")


def test_what_should_not_happen_is_told_by_a_number_alone() -> None:
    """I25."""
    error = errors.InternalError()
    assert error.kind == "internal"
    assert f"(number {error.number})" in error.message
    assert errors.InternalError().number != error.number
