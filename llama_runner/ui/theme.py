"""Every colour, distance, radius and font of the window, in a light and a dark set. No literals elsewhere.

Fusion with our own palettes; one style sheet made from the same values. Icons come from an icon font.
"""

import html
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontDatabase, QFontMetricsF, QIcon, QPalette
from PySide6.QtWidgets import QApplication, QWidget

from llama_runner.ui.style_sheet import build_style_sheet
from llama_runner.ui.tick import TickPictures

# The 4 px grid.
UNIT: Final = 4
SPACE_XS: Final = UNIT
SPACE_S: Final = 2 * UNIT
SPACE_M: Final = 3 * UNIT
SPACE_L: Final = 4 * UNIT
SPACE_XL: Final = 6 * UNIT
RADIUS: Final = 6
ICON_SIZE: Final = 18
BIG_ICON_SIZE: Final = 48
CONTROL_HEIGHT: Final = 32
ROW_HEIGHT: Final = 30
# A label of a page that reads as prose gets no wider than this many characters.
PROSE_CHARS: Final = 64

ICON_PROPERTY: Final = "lr_icon"


class ThemeMode(StrEnum):
    """What the user chose."""

    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


@dataclass(frozen=True, slots=True)
class Colours:
    """One set of colours, as #rrggbb.

    Attributes:
        surface: Where content stands: tables, editors, cards.
        series: Okabe-Ito, safe for colour-blind people; the same index is the same thing everywhere.
    """

    dark: bool
    window: str
    surface: str
    raised: str
    hover: str
    border: str
    text: str
    muted: str
    accent: str
    on_accent: str
    selection: str
    good: str
    warning: str
    bad: str
    grid: str
    series: tuple[str, ...]


# Okabe and Ito's eight; black gives way to a grey that shows on the ground in question.
_SERIES_LIGHT: Final = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#8A8000",
    "#4D4D4D",
)
_SERIES_DARK: Final = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#0072B2", "#BBBBBB")

LIGHT: Final = Colours(
    dark=False,
    window="#F4F5F7",
    surface="#FFFFFF",
    raised="#FAFBFC",
    hover="#E8EBF0",
    border="#D3D8DF",
    text="#1A1E24",
    muted="#59636F",
    accent="#1F5FBF",
    on_accent="#FFFFFF",
    selection="#D6E4F9",
    good="#0B7A50",
    warning="#8F5A00",
    bad="#B3261E",
    grid="#E3E7EC",
    series=_SERIES_LIGHT,
)
DARK: Final = Colours(
    dark=True,
    window="#15171B",
    surface="#1C1F25",
    raised="#22262D",
    hover="#2A2F38",
    border="#373D48",
    text="#E4E7EC",
    muted="#9AA3B0",
    accent="#7AA9F7",
    on_accent="#0E1116",
    selection="#2B4066",
    good="#4CC38A",
    warning="#E5A93B",
    bad="#FF8A80",
    grid="#2C313A",
    series=_SERIES_DARK,
)


def palette_of(colours: Colours) -> QPalette:
    """The Qt palette for Fusion."""
    role = QPalette.ColorRole
    palette = QPalette()
    roles = {
        role.Window: colours.window,
        role.WindowText: colours.text,
        role.Base: colours.surface,
        role.AlternateBase: colours.raised,
        role.Text: colours.text,
        role.Button: colours.raised,
        role.ButtonText: colours.text,
        role.BrightText: colours.bad,
        role.Highlight: colours.accent,
        role.HighlightedText: colours.on_accent,
        role.Link: colours.accent,
        role.LinkVisited: colours.accent,
        role.ToolTipBase: colours.raised,
        role.ToolTipText: colours.text,
        role.PlaceholderText: colours.muted,
        role.Accent: colours.accent,
        role.Light: colours.hover,
        role.Midlight: colours.hover,
        role.Mid: colours.border,
        role.Dark: colours.border,
        role.Shadow: colours.border,
    }
    for name, colour in roles.items():
        palette.setColor(name, QColor(colour))
    for name in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, name, QColor(colours.muted))
    return palette


def mono_font(scale: float = 1.0, *, bold: bool = False) -> QFont:
    """Fixed-width font with tabular figures: numbers and code."""
    font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
    font.setPointSizeF(QApplication.font().pointSizeF() * scale)
    font.setBold(bold)
    return font


def text_font(scale: float = 1.0, *, bold: bool = False) -> QFont:
    """The system's font."""
    font = QFont(QApplication.font())
    font.setPointSizeF(font.pointSizeF() * scale)
    font.setBold(bold)
    return font


def prose_width(widget: QWidget) -> int:
    """Pixels of a comfortable line of text in `widget`'s font."""
    return round(QFontMetricsF(widget.font()).averageCharWidth() * PROSE_CHARS)


class Theme(QObject):
    """The look in force. Ask it for colours and icons when painting; listen to `changed`."""

    changed = Signal()

    def __init__(self, application: QApplication, mode: ThemeMode = ThemeMode.SYSTEM) -> None:
        super().__init__(application)
        self._application = application
        self.mode = mode
        self.colours = LIGHT
        self._ticks = TickPictures()
        application.setStyle("Fusion")
        application.styleHints().colorSchemeChanged.connect(self._system_changed)
        self.set_mode(mode)

    def set_mode(self, mode: ThemeMode) -> None:
        """Apply light or dark, or whatever the system says."""
        self.mode = ThemeMode(mode)
        self._apply(DARK if self._wants_dark() else LIGHT)

    def series_colour(self, index: int) -> str:
        """Colour of the contestant, server or curve number `index`."""
        return self.colours.series[index % len(self.colours.series)]

    def icon(self, name: str, colour: str | None = None) -> QIcon:
        """An icon of the icon font in the text colour, or in `colour`."""
        # Imported late: reading the font tables costs a tenth of the time to the first paint.
        import qtawesome

        options: dict[str, Any] = {"color": colour or self.colours.text, "color_disabled": self.colours.muted}
        return QIcon(qtawesome.icon(name, **options))

    def give_icon(self, button: QWidget, name: str) -> None:
        """Put an icon on a button or action holder; it follows the theme from then on."""
        button.setProperty(ICON_PROPERTY, name)
        self._refresh_icon(button)

    def refresh_icons(self, root: QWidget) -> None:
        """Draw the icons below `root` anew, in the colours of now."""
        for widget in root.findChildren(QWidget):
            self._refresh_icon(widget)

    def _refresh_icon(self, widget: QWidget) -> None:
        name = widget.property(ICON_PROPERTY)
        if name and (set_icon := getattr(widget, "setIcon", None)) is not None:
            primary = bool(widget.property("primary"))
            set_icon(self.icon(name, self.colours.on_accent if primary else None))

    def _wants_dark(self) -> bool:
        if self.mode is ThemeMode.SYSTEM:
            return self._application.styleHints().colorScheme() == Qt.ColorScheme.Dark
        return self.mode is ThemeMode.DARK

    def _system_changed(self) -> None:
        if self.mode is ThemeMode.SYSTEM:
            self.set_mode(self.mode)

    def _apply(self, colours: Colours) -> None:
        self.colours = colours
        self._application.setPalette(palette_of(colours))
        tick = self._ticks.picture(colours.on_accent)
        self._application.setStyleSheet(build_style_sheet(colours, tick=tick))
        self.changed.emit()


def tooltip(text: str) -> str:
    """Plain `text` as a tooltip: Qt guesses whether a tooltip is rich text, so it is told (I32)."""
    return f"<qt>{html.escape(text)}</qt>" if text else ""
