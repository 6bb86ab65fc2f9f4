from llama_runner.runtime.work import WorkWatch

S = 1_000_000_000
IDLE = b"llamacpp:n_decode_total 7\nllamacpp:requests_processing 0\n"
BUSY = b"llamacpp:n_decode_total 7\nllamacpp:requests_processing 1\n"
FURTHER = b"llamacpp:n_decode_total 8\nllamacpp:requests_processing 1\n"


def test_an_idle_engine_stands_still_by_right() -> None:
    watch = WorkWatch()
    assert [watch.still_s(n * S, IDLE, 1.0) for n in range(5)] == [0] * 5


def test_work_without_counters_or_processor_time_stands_still() -> None:
    watch = WorkWatch()
    watch.still_s(0, IDLE, 1.0)
    assert [watch.still_s(n * S, BUSY, 1.0) for n in (5, 10, 15)] == [0, 5, 10]


def test_counters_that_move_are_progress() -> None:
    watch = WorkWatch()
    told = [watch.still_s(n * S, (BUSY, FURTHER)[n % 2], 1.0) for n in range(6)]
    assert told == [0] * 6


def test_a_large_batch_moves_no_counter_and_uses_a_processor() -> None:
    watch = WorkWatch()
    assert [watch.still_s(n * 5 * S, BUSY, 5.0 * n) for n in range(6)] == [0] * 6


def test_an_engine_that_does_not_answer_while_it_works_is_judged_by_its_processor_time() -> None:
    watch = WorkWatch()
    watch.still_s(0, BUSY, 0.0)
    assert watch.still_s(10 * S, None, 9.0) == 0
    assert watch.still_s(20 * S, None, 9.1) == 10
    assert watch.still_s(30 * S, FURTHER, 9.1) == 0


def test_where_the_system_does_not_tell_processor_time_nothing_is_concluded() -> None:
    watch = WorkWatch()
    assert [watch.still_s(n * 100 * S, BUSY, None) for n in range(3)] == [0] * 3
