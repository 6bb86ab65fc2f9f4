"""The verdict about the load generator, at and around every threshold."""

import pytest

from llama_runner.stress.health import ClientStatus, judge_client
from tests.unit.stress.values import a_worker


@pytest.mark.parametrize(
    ("lag_s", "ttft_s", "status"),
    [
        (0.001, 0.2, ClientStatus.OK),
        (0.005, 0.2, ClientStatus.OK),
        (0.006, 0.2, ClientStatus.SUSPECT),
        (0.011, 0.2, ClientStatus.LIMITED),  # over 5 % of the time to first token
        (0.020, 1.0, ClientStatus.SUSPECT),
        (0.021, 1.0, ClientStatus.LIMITED),
        (0.021, None, ClientStatus.LIMITED),
        (0.004, None, ClientStatus.OK),
        (0.0015, 0.004, ClientStatus.OK),  # more than 5 % of 4 ms, but less than a heartbeat can tell
        (0.003, 0.004, ClientStatus.LIMITED),
    ],
)
def test_loop_lag_decides(lag_s: float, ttft_s: float | None, status: ClientStatus) -> None:
    health = judge_client([a_worker(lag_p99_s=lag_s)], ttft_s)
    assert health.status is status
    assert health.lag_p99_s == lag_s
    assert ("kept up" in health.reason) == (status is ClientStatus.OK)


@pytest.mark.parametrize(
    ("cpu_s", "status"),
    [(1.4, ClientStatus.OK), (1.5, ClientStatus.SUSPECT), (1.9, ClientStatus.LIMITED)],
)
def test_processor_use_decides(cpu_s: float, status: ClientStatus) -> None:
    assert judge_client([a_worker(cpu_s=cpu_s, wall_s=2.0)], 1.0).status is status


def test_the_worst_worker_decides() -> None:
    health = judge_client(
        [a_worker(), a_worker(worker=1, lag_p99_s=0.03), a_worker(worker=2, cpu_s=1.5)], 1.0
    )
    assert health.status is ClientStatus.LIMITED
    assert (health.workers, health.lag_p99_s, health.cpu_pct) == (3, 0.03, 75.0)


def test_a_run_too_short_for_processor_figures_says_so() -> None:
    health = judge_client([a_worker(cpu_s=0.1, wall_s=0.1)], 1.0)
    assert health.status is ClientStatus.OK and "too short" in health.reason and health.cpu_pct is None


def test_without_a_worker_report_the_client_is_suspect() -> None:
    assert judge_client([], 1.0).status is ClientStatus.SUSPECT
