"""The one style sheet, made from the theme's colours. Only `ui.theme` uses it."""

from dataclasses import fields
from string import Template
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from llama_runner.ui.theme import Colours

_SHEET: Final = Template("""
QWidget { outline: 0; }
QToolTip { background: $raised; color: $text; border: 1px solid $border; padding: 4px; }

#header { background: $surface; border-bottom: 1px solid $border; }
#statusBar { background: $surface; border-top: 1px solid $border; }
#dock { background: $surface; border-top: 1px solid $border; }
#card { background: $surface; border: 1px solid $border; border-radius: 8px; }
#notice { background: $raised; border: none; border-bottom: 1px solid $border;
    border-left: 4px solid $accent; }
#notice[severity="warning"] { border-left-color: $warning; }
#notice[severity="error"] { border-left-color: $bad; }
#errorText { color: $bad; }
*[muted="true"] { color: $muted; }
*[problem="true"] { color: $bad; }
*[status="good"] { color: $good; }
*[status="warning"] { color: $warning; }
*[status="bad"] { color: $bad; }
*[status="muted"] { color: $muted; }

#navigation, #navigation:focus { background: $surface; padding: 8px 6px; border: 1px solid $surface;
    border-right: 1px solid $border; border-radius: 0; }
#navigation::item { padding: 8px 10px; margin: 1px 0; border-radius: 6px; border: 1px solid transparent; }
#navigation::item:hover { background: $hover; }
#navigation::item:selected { background: $selection; color: $text; }
#navigation::item:selected:focus { border: 1px solid $accent; }

QPushButton, QToolButton { background: $raised; color: $text; border: 1px solid $border; border-radius: 6px;
    padding: 5px 12px; min-height: 20px; }
QToolButton { padding: 5px 6px; }
QPushButton:hover, QToolButton:hover { background: $hover; }
QPushButton:pressed, QToolButton:pressed, QToolButton:checked, QPushButton:checked { background: $selection; }
QPushButton:focus, QToolButton:focus { border: 1px solid $accent; }
QPushButton:disabled, QToolButton:disabled { color: $muted; background: $window; }
QPushButton[primary="true"] { background: $accent; color: $on_accent; border-color: $accent;
    font-weight: 600; }
QPushButton[primary="true"]:hover { background: $accent_hover; }
QPushButton[primary="true"]:focus { border: 2px solid $text; padding: 4px 11px; }
QPushButton[primary="true"]:disabled { background: $hover; color: $muted; border-color: $border; }
QToolButton[flat="true"], QPushButton[flat="true"] { background: transparent; border-color: transparent; }
QToolButton[flat="true"]:hover, QPushButton[flat="true"]:hover { background: $hover; }
QToolButton[flat="true"]:focus, QPushButton[flat="true"]:focus { border: 1px solid $accent; }
QToolButton[flat="true"]:checked { background: $selection; }
QPushButton[fold="true"], QPushButton[fold="true"]:checked { background: transparent; text-align: left;
    font-weight: 600; padding-left: 4px; }
QPushButton[fold="true"]:hover { background: $hover; }
QToolButton::menu-indicator { image: none; }
QLineEdit > QToolButton { background: transparent; border: none; padding: 0; min-height: 0; }

QLineEdit, QPlainTextEdit, QTextEdit, QTextBrowser { background: $surface; color: $text;
    border: 1px solid $border; border-radius: 6px;
    selection-background-color: $selection; selection-color: $text; }
QLineEdit { padding: 4px 8px; min-height: 20px; }
QPlainTextEdit, QTextEdit, QTextBrowser { padding: 4px; }
QLineEdit:focus, QPlainTextEdit:focus, QTextEdit:focus, QTextBrowser:focus { border: 1px solid $accent; }
QLineEdit:disabled, QPlainTextEdit:disabled { color: $muted; background: $window; }
QLineEdit[invalid="true"] { border: 1px solid $bad; }
QComboBox, QSpinBox, QDoubleSpinBox { min-height: 26px; }

QLineEdit[compact="true"] { padding: 1px 6px; min-height: 18px; }
QComboBox[compact="true"] { min-height: 20px; }
QToolButton[compact="true"] { padding: 2px; min-height: 16px; }

QTabWidget::pane { border: none; border-top: 1px solid $border; }
QTabBar { background: transparent; border: none; }
QTabBar::tab { background: transparent; color: $muted; border: none; border-bottom: 2px solid transparent;
    padding: 5px 12px; }
QTabBar::tab:hover { color: $text; background: $hover; }
QTabBar::tab:selected { color: $text; border-bottom-color: $accent; }
QTabBar::tab:selected:focus { background: $selection; }
QTabBar::tab:disabled { color: $muted; }

QTableView, QTreeView, QListView { background: $surface; alternate-background-color: $raised; color: $text;
    border: 1px solid $border; border-radius: 6px; gridline-color: $grid;
    selection-background-color: $selection; selection-color: $text; }
QTableView:focus, QTreeView:focus, QListView:focus { border: 1px solid $accent; }
QTableView::item { padding: 0 8px; border: none; }
QListView::item { padding: 4px 8px; }
QTableView::item:selected { background: $selection; color: $text; }
QHeaderView { background: $raised; border: none; }
QHeaderView::section { background: $raised; color: $muted; border: none; border-bottom: 1px solid $border;
    padding: 6px 8px; font-weight: 600; }
QTableCornerButton::section { background: $raised; border: none; }

QCheckBox::indicator, QListView::indicator { width: 13px; height: 13px; background: $surface;
    border: 1px solid $muted; border-radius: 3px; }
QCheckBox::indicator:checked, QListView::indicator:checked { background: $accent; border-color: $accent;
    $tick }
QCheckBox::indicator:disabled, QListView::indicator:disabled { background: $window; border-color: $border; }
QCheckBox::indicator:checked:disabled, QListView::indicator:checked:disabled { background: $muted;
    border-color: $muted; }
QCheckBox::indicator:focus { border: 2px solid $accent; }
QCheckBox::indicator:checked:focus { border-color: $text; }

QProgressBar { background: $hover; border: none; border-radius: 4px; min-height: 8px; max-height: 8px; }
QProgressBar::chunk { background: $accent; border-radius: 4px; }

QGraphicsView { background: transparent; border: none; }

QSplitter::handle { background: transparent; }
QSplitter::handle:hover { background: $border; }
QScrollArea { border: none; background: transparent; }
QScrollArea > QWidget > QWidget { background: transparent; }
QAbstractScrollArea::corner { background: transparent; border: none; }
QScrollBar { background: transparent; border: none; }
QScrollBar:vertical { width: 12px; }
QScrollBar:horizontal { height: 12px; }
QScrollBar::handle { background: $border; border-radius: 4px; margin: 2px;
    min-height: 28px; min-width: 28px; }
QScrollBar::handle:hover { background: $muted; }
QScrollBar::add-line, QScrollBar::sub-line { width: 0; height: 0; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }

QMenu { background: $raised; color: $text; border: 1px solid $border; padding: 4px; }
QMenu::item { padding: 6px 24px 6px 12px; border-radius: 4px; }
QMenu::item:selected { background: $selection; color: $text; }
QMenu::item:disabled { color: $muted; }
QMenu::separator { height: 1px; background: $border; margin: 4px 8px; }
""")


def _mixed(colour: str, with_colour: str, share: float) -> str:
    pairs = zip(bytes.fromhex(colour[1:]), bytes.fromhex(with_colour[1:]), strict=True)
    return "#" + bytes(round(a * (1 - share) + b * share) for a, b in pairs).hex()


def build_style_sheet(colours: "Colours", *, tick: str = "") -> str:
    """The style sheet in these colours.

    Args:
        tick: The file with the tick of a checked box; without one the box is only filled.
    """
    values = {field.name: str(getattr(colours, field.name)) for field in fields(colours)}
    image = f'image: url("{tick}");' if tick else ""
    return _SHEET.substitute(values, accent_hover=_mixed(colours.accent, colours.text, 0.15), tick=image)
