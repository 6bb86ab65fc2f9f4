"""The form of sampling options: what is chosen is asked for, what is left alone is not."""

import pytest
from PySide6.QtWidgets import QComboBox, QLineEdit
from pytestqt.qtbot import QtBot

from llama_runner.backends.request import Effort, SamplingOptions
from llama_runner.ui.widgets.sampling import SamplingForm


@pytest.fixture(params=[True, False], ids=["wide", "narrow"])
def form(request: pytest.FixtureRequest, qtbot: QtBot) -> SamplingForm:
    form = SamplingForm(temperature=None, max_tokens=None, wide=request.param)
    qtbot.addWidget(form)
    return form


def fill(form: SamplingForm, name: str, text: str) -> None:
    (box,) = (box for box in form.findChildren(QLineEdit) if box.accessibleName() == name)
    box.setText(text)


def test_a_form_that_nobody_touched_asks_for_nothing(form: SamplingForm) -> None:
    assert form.options == SamplingOptions()
    assert form.valid


def test_everything_typed_is_asked_for(form: SamplingForm) -> None:
    typed = {
        "Temperature": "0,7",
        "Top-p": "0.9",
        "Top-k": "40",
        "Min-p": "0.05",
        "Longest answer (tokens)": "100",
        "Seed": "7",
    }
    for name, text in typed.items():
        fill(form, name, text)
    assert form.options == SamplingOptions(
        temperature=0.7, top_p=0.9, top_k=40, min_p=0.05, max_tokens=100, seed=7
    )


@pytest.mark.parametrize(("name", "text"), [("Min-p", "1.5"), ("Top-k", "1.5"), ("Top-k", "-1")])
def test_what_makes_no_sense_may_not_be_sent(form: SamplingForm, name: str, text: str) -> None:
    fill(form, name, text)
    assert not form.valid


@pytest.mark.parametrize(
    ("word", "thinking", "effort"),
    [
        ("default", None, None),
        ("off", False, None),
        ("on", True, None),
        ("short", True, Effort.LOW),
        ("medium", True, Effort.MEDIUM),
        ("long", True, Effort.HIGH),
    ],
)
def test_thinking_is_left_alone_switched_or_measured(
    form: SamplingForm, qtbot: QtBot, word: str, thinking: bool | None, effort: Effort | None
) -> None:
    (box,) = form.findChildren(QComboBox)
    box.setCurrentText("medium" if word == "default" else "default")
    with qtbot.waitSignal(form.edited):
        box.setCurrentText(word)
    assert form.options == SamplingOptions(thinking=thinking, effort=effort)


def test_the_choice_of_thinking_is_read_out(form: SamplingForm) -> None:
    (box,) = form.findChildren(QComboBox)
    assert box.accessibleName() == "Thinking"
    assert "reason before it answers" in box.accessibleDescription()
