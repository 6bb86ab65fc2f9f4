"""Coroutines as slots: S of the loop's pitfalls (finding 10), on the loop that Qt drives."""

import asyncio
from typing import Any

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QObject, Signal
from PySide6.QtWidgets import QApplication, QPushButton

from llama_runner.ui.async_slots import async_slot, async_slot_once, cancel_tasks, is_running, start_task
from tests.ui.tab_support import run, until


class Owner(QObject):
    told = Signal(int, str)

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[object] = []
        self.gate = asyncio.Event()

    @async_slot
    async def no_arguments(self) -> None:
        self.calls.append("none")

    @async_slot
    async def one_argument(self, number: int) -> None:
        self.calls.append(number)

    @async_slot
    async def all_arguments(self, *values: object) -> None:
        self.calls.append(values)

    @async_slot_once
    async def once(self) -> None:
        self.calls.append("begun")
        await self.gate.wait()
        self.calls.append("ended")

    @async_slot
    async def fails(self) -> None:
        raise ValueError("on purpose")


def delete(thing: QObject) -> None:
    thing.deleteLater()
    QCoreApplication.sendPostedEvents(thing, QEvent.Type.DeferredDelete.value)


def test_a_slot_takes_as_many_arguments_as_it_declares(qapp: QApplication) -> None:
    async def scenario() -> None:
        owner = Owner()
        owner.told.connect(owner.no_arguments)
        owner.told.connect(owner.one_argument)
        owner.told.connect(owner.all_arguments)
        owner.told.emit(7, "x")
        owner.no_arguments()
        await until(lambda: len(owner.calls) == 4)
        assert owner.calls == ["none", 7, (7, "x"), "none"]
        button = QPushButton()
        button.clicked.connect(owner.no_arguments)
        button.click()
        await until(lambda: len(owner.calls) == 5)
        delete(button)
        delete(owner)

    run(scenario())


def test_fast_clicks_start_one_action(qapp: QApplication) -> None:
    """U16."""

    async def scenario() -> None:
        owner = Owner()
        for _ in range(20):
            owner.once()
        await until(lambda: owner.calls)
        assert is_running(owner, "Owner.once")
        owner.gate.set()
        await until(lambda: "ended" in owner.calls)
        owner.once()
        await until(lambda: len(owner.calls) == 4)
        assert owner.calls == ["begun", "ended", "begun", "ended"]
        delete(owner)

    run(scenario())


def test_a_task_is_cancelled_when_its_object_dies(qapp: QApplication) -> None:
    async def scenario() -> None:
        owner = Owner()
        started, cancelled = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            try:
                started.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        task = start_task(owner, work(), name="work")
        await started.wait()
        delete(owner)
        await asyncio.wait_for(cancelled.wait(), 5)
        await asyncio.wait({task})
        assert task.cancelled()

    run(scenario())


def test_a_failure_reaches_the_handler_of_the_loop(qapp: QApplication) -> None:
    async def scenario() -> None:
        seen: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
        owner = Owner()
        owner.fails()
        await until(lambda: seen)
        assert isinstance(seen[0]["exception"], ValueError)
        assert seen[0]["task"].get_name() == "Owner.fails"
        delete(owner)

    run(scenario())


@pytest.mark.parametrize("stubborn", [False, True])
def test_cancelling_tells_which_task_did_not_end(qapp: QApplication, stubborn: bool) -> None:
    async def scenario() -> None:
        owner = Owner()
        release = asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if stubborn:
                    await release.wait()
                raise

        task = start_task(owner, work(), name="stubborn")
        await asyncio.sleep(0)
        left = await cancel_tasks(owner, timeout_s=0.2)
        assert left == (("stubborn",) if stubborn else ())
        release.set()
        await asyncio.wait({task})
        delete(owner)

    run(scenario())
