from llama_runner.runtime.work import NO_STANDSTILL, WorkWatch

S = 1_000_000_000
IDLE = b"llamacpp:n_decode_total 7\nllamacpp:requests_processing 0\n"
BUSY = b"llamacpp:n_decode_total 7\nllamacpp:requests_processing 1\n"
FURTHER = b"llamacpp:n_decode_total 8\nllamacpp:requests_processing 1\n"


def test_an_idle_engine_stands_still_by_right() -> None:
    watch = WorkWatch()
    assert [watch.look(n * S, IDLE, 1.0).still_s for n in range(5)] == [0] * 5


def test_work_without_counters_or_processor_time_stands_still() -> None:
    watch = WorkWatch()
    watch.look(0, IDLE, 1.0)
    assert [watch.look(n * S, BUSY, 1.0).still_s for n in (5, 10, 15)] == [5, 10, 15]


def test_counters_that_move_are_progress() -> None:
    watch = WorkWatch()
    told = [watch.look(n * S, (BUSY, FURTHER)[n % 2], 1.0).fruitless_s for n in range(6)]
    assert told == [0] * 6


def test_a_large_batch_moves_no_counter_and_uses_a_processor() -> None:
    watch = WorkWatch()
    assert [watch.look(n * 5 * S, BUSY, 5.0 * n).still_s for n in range(6)] == [0] * 6


def test_an_engine_that_turns_in_circles_gets_nowhere_though_it_computes() -> None:
    watch = WorkWatch()
    watch.look(0, IDLE, 0.0)
    told = enumerate((BUSY, None, BUSY, None), 1)
    looks = [watch.look(n * 5 * S, counters, 5.0 * n) for n, counters in told]
    assert [(look.still_s, look.fruitless_s) for look in looks] == [(0, 5), (0, 10), (0, 15), (0, 20)]
    assert watch.look(25 * S, FURTHER, 25.0) == watch.look(30 * S, IDLE, 25.0) == NO_STANDSTILL


def test_requests_that_come_and_go_are_no_work_done() -> None:
    watch = WorkWatch()
    waiting = [BUSY + b"llamacpp:requests_deferred %d\n" % n for n in range(4)]
    assert [watch.look(n * 5 * S, told, 5.0 * n).fruitless_s for n, told in enumerate(waiting)] == [
        0,
        5,
        10,
        15,
    ]


def test_an_engine_that_does_not_answer_while_it_works_is_judged_by_its_processor_time() -> None:
    watch = WorkWatch()
    watch.look(0, BUSY, 0.0)
    assert watch.look(10 * S, None, 9.0).still_s == 0
    assert watch.look(20 * S, None, 9.1).still_s == 10
    assert watch.look(30 * S, FURTHER, 9.1).still_s == 0


def test_where_the_system_does_not_tell_processor_time_nothing_is_concluded() -> None:
    watch = WorkWatch()
    assert [watch.look(n * 100 * S, BUSY, None).still_s for n in range(3)] == [0] * 3
