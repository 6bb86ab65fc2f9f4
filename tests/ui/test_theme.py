"""One place for the look: both themes, contrast, and no colour anywhere else."""

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QPushButton, QWidget
from pytestqt.qtbot import QtBot

import llama_runner.ui
from llama_runner.ui.theme import DARK, LIGHT, Colours, Theme, ThemeMode, tooltip

UI = Path(llama_runner.ui.__file__).parent
# WCAG AA for text.
READABLE = 4.5


@pytest.fixture
def theme(qapp: QApplication) -> Iterator[Theme]:
    made = Theme(qapp, ThemeMode.LIGHT)
    yield made
    made.deleteLater()


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_is_readable_on_every_ground(colours: Colours) -> None:
    for ground in (colours.window, colours.surface, colours.raised, colours.selection):
        assert contrast(colours.text, ground) >= READABLE
    for ground in (colours.window, colours.surface, colours.raised):
        for text in (colours.muted, colours.good, colours.warning, colours.bad, colours.accent):
            assert contrast(text, ground) >= READABLE, (text, ground)
    assert contrast(colours.on_accent, colours.accent) >= READABLE


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_curves_are_seen_on_the_ground_and_told_apart(colours: Colours) -> None:
    assert len(set(colours.series)) == 8
    for colour in colours.series:
        assert contrast(colour, colours.surface) >= 1.9


def test_switching_changes_palette_style_and_icons(theme: Theme, qtbot: QtBot) -> None:
    root = QWidget()
    qtbot.addWidget(root)
    button = QPushButton(root)
    theme.give_icon(button, "mdi6.cog-outline")
    before = button.icon().pixmap(32, 32).toImage()
    theme.set_mode(ThemeMode.DARK)
    theme.refresh_icons(root)
    assert theme.colours is DARK
    assert QApplication.palette().color(QPalette.ColorRole.Window) == QColor(DARK.window)
    assert button.icon().pixmap(32, 32).toImage() != before
    theme.set_mode(ThemeMode.SYSTEM)
    assert theme.colours in (LIGHT, DARK)


def test_no_colour_stands_outside_the_theme() -> None:
    literal = re.compile(r"""["'(\s]#[0-9a-fA-F]{3,8}\b|\brgba?\(|QColor\(\s*\d""")
    found = [
        f"{path.relative_to(UI)}:{number}"
        for path in UI.rglob("*.py")
        if path.name != "theme.py"
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1)
        if literal.search(line)
    ]
    assert found == []


def test_both_themes_name_every_colour_as_six_digits() -> None:
    for colours in (LIGHT, DARK):
        for field in fields(colours):
            value = getattr(colours, field.name)
            for colour in value if isinstance(value, tuple) else [value]:
                assert isinstance(colour, bool) or re.fullmatch(r"#[0-9A-F]{6}", colour)


def test_a_tooltip_shows_markup_as_text() -> None:
    """I32."""
    assert tooltip('<img src="file:///x">') == "<qt>&lt;img src=&quot;file:///x&quot;&gt;</qt>"
    assert tooltip("") == ""
