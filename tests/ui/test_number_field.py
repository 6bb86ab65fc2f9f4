"""Numbers as people type them."""

import pytest
from pytestqt.qtbot import QtBot

from llama_runner.ui.widgets.number_field import NumberField, NumberRule, parse_number

WHOLE = NumberRule(1, 256)
DECIMAL = NumberRule(0, 5, whole=False, optional=True)


@pytest.mark.parametrize(
    ("text", "rule", "value"),
    [
        ("1", WHOLE, 1),
        (" 256 ", WHOLE, 256),
        ("0,7", DECIMAL, 0.7),
        (".5", DECIMAL, 0.5),
        ("5", DECIMAL, 5),
        ("", DECIMAL, None),
    ],
)
def test_what_people_type_is_understood(text: str, rule: NumberRule, value: float | None) -> None:
    assert parse_number(text, rule) == (value, "")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", WHOLE),
        ("0", WHOLE),
        ("257", WHOLE),
        ("1e1", WHOLE),
        ("1.0", WHOLE),
        ("1,000", WHOLE),
        ("-1", WHOLE),
        ("٣", WHOLE),
        ("9" * 400, WHOLE),
        ("nan", DECIMAL),
        ("inf", DECIMAL),
        ("5.01", DECIMAL),
        ("0.5.1", DECIMAL),
        ("half", DECIMAL),
    ],
)
def test_what_is_no_number_is_told_in_a_sentence(text: str, rule: NumberRule) -> None:
    """U17: exponents, separators, signs, other digits, more than fits."""
    value, problem = parse_number(text, rule)

    assert value is None and problem.endswith(".")


def test_the_field_shows_the_message_beside_it(qtbot: QtBot) -> None:
    field = NumberField("Concurrency", WHOLE, hint="How many.")
    qtbot.addWidget(field)
    field.box.setText("300")

    assert not field.valid and field.whole is None and field.box.property("invalid") is True
    field.set_value(12)
    assert field.valid and field.whole == 12 and field.box.text() == "12"
    field.set_value(None)
    assert not field.valid and field.box.accessibleName() == "Concurrency"
