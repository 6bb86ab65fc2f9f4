"""What a view shows when it has nothing to show: empty, loading, failed. Each says what to do next."""

from collections.abc import Callable
from typing import Final

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from llama_runner.core.errors import LlamaRunnerError
from llama_runner.ui.theme import BIG_ICON_SIZE, SPACE_M, SPACE_S, SPACE_XL, Theme, prose_width
from llama_runner.ui.widgets.label import PlainLabel

Action = tuple[str, Callable[[], object]]

PROGRESS_WIDTH: Final = 240


class StatePage(QWidget):
    """An icon, a heading, a sentence, and the first step as a button."""

    def __init__(self, theme: Theme, icon: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._icon_name = icon
        self._icon = PlainLabel()
        self._icon.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._title = PlainLabel(bold=True, scale=1.25, wrap=True)
        self._title.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._text = PlainLabel(muted=True, wrap=True, selectable=True)
        self._text.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._text.setMaximumWidth(prose_width(self))
        self._text.setAccessibleName(self.tr("Explanation"))
        self._progress = QProgressBar()
        self._progress.setRange(0, 0)
        self._progress.setTextVisible(False)
        self._progress.setFixedWidth(PROGRESS_WIDTH)
        self._progress.setAccessibleName(self.tr("In progress"))
        self._details = PlainLabel(mono=True, scale=0.9, wrap=True, selectable=True)
        self._details.setMaximumWidth(round(prose_width(self) * 1.4))
        self._details.setAccessibleName(self.tr("Details"))
        self._fold = QPushButton(self.tr("Show details"))
        self._fold.setProperty("flat", True)
        self._fold.setCheckable(True)
        self._fold.toggled.connect(self._toggle_details)
        self._buttons = QHBoxLayout()
        self._buttons.setSpacing(SPACE_S)
        self._lay_out()
        theme.changed.connect(self._refresh_icon)
        self._refresh_icon()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(SPACE_XL, SPACE_XL, SPACE_XL, SPACE_XL)
        column.setSpacing(SPACE_M)
        column.addStretch(2)
        centre = Qt.AlignmentFlag.AlignHCenter
        column.addWidget(self._icon, 0, centre)
        column.addWidget(self._title)
        column.addLayout(_in_the_middle(self._text))
        column.addWidget(self._progress, 0, centre)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addLayout(self._buttons)
        row.addStretch(1)
        column.addLayout(row)
        column.addWidget(self._fold, 0, centre)
        column.addLayout(_in_the_middle(self._details))
        column.addStretch(3)

    def describe(
        self,
        title: str,
        text: str = "",
        *,
        actions: tuple[Action, ...] = (),
        busy: bool = False,
        details: str = "",
    ) -> None:
        """Say what is going on. The first action is the primary button."""
        self._title.setText(title)
        self._text.setText(text)
        self._text.setVisible(bool(text))
        self._progress.setVisible(busy)
        self._details.setText(details)
        self._fold.setVisible(bool(details))
        self._fold.setChecked(False)
        self._details.setVisible(False)
        self._set_actions(actions)

    def _set_actions(self, actions: tuple[Action, ...]) -> None:
        had_focus = False
        while (item := self._buttons.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                had_focus = had_focus or old.hasFocus()
                # Hidden too: what is about to be deleted must not get the focus.
                old.hide()
                old.deleteLater()
        for number, (word, act) in enumerate(actions):
            button = QPushButton(word)
            button.setProperty("primary", number == 0)
            button.setAccessibleName(word)
            button.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
            button.clicked.connect(lambda _=False, act=act: act())
            self._buttons.addWidget(button)
            # Not when the layout gets to it: what is not shown yet cannot take the focus.
            button.show()
            if number == 0:
                self.setFocusProxy(button)
        if had_focus:
            self.setFocus()

    def _toggle_details(self, shown: bool) -> None:
        self._details.setVisible(shown)
        self._fold.setText(self.tr("Hide details") if shown else self.tr("Show details"))

    def _refresh_icon(self) -> None:
        icon = self._theme.icon(self._icon_name, self._theme.colours.muted)
        self._icon.setPixmap(icon.pixmap(BIG_ICON_SIZE, BIG_ICON_SIZE))


def _in_the_middle(label: QWidget) -> QHBoxLayout:
    # An alignment flag would do, but a layout then asks no wrapped label how tall it is at its width.
    row = QHBoxLayout()
    row.addStretch(1)
    row.addWidget(label, 100)
    row.addStretch(1)
    return row


class StateStack(QStackedWidget):
    """A view's content, or the page that says why there is none."""

    def __init__(self, theme: Theme, content: QWidget, *, icon: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._content = content
        self._page = StatePage(theme, icon)
        self.addWidget(content)
        self.addWidget(self._page)

    @property
    def shows_content(self) -> bool:
        """Whether the content is in front."""
        return self.currentWidget() is self._content

    def show_content(self) -> None:
        """The content."""
        self._bring(self._content)

    def _bring(self, page: QWidget) -> None:
        """To the front. The keyboard's focus goes along: hidden, it would end up anywhere in the window."""
        focus = QApplication.focusWidget()
        had_focus = focus is not None and self.isAncestorOf(focus)
        self.setCurrentWidget(page)
        if had_focus and not self.isAncestorOf(QApplication.focusWidget() or self.window()):
            page.setFocus()

    def show_empty(self, title: str, text: str, *actions: Action) -> None:
        """Nothing here yet: what this is for, and the first step."""
        self._page.describe(title, text, actions=actions)
        self._bring(self._page)

    def show_loading(self, title: str, text: str = "", *actions: Action) -> None:
        """Working on it."""
        self._page.describe(title, text, actions=actions, busy=True)
        self._bring(self._page)

    def show_error(self, error: BaseException, retry: Action, *more: Action, title: str = "") -> None:
        """What happened, what to do, and a way to try again."""
        message, hint = describe_error(error)
        self._page.describe(title or message, hint if not title else f"{message} {hint}".strip(),
                            actions=(retry, *more), details=_details(error))  # fmt: skip
        self._bring(self._page)


def describe_error(error: BaseException) -> tuple[str, str]:
    """One sentence what happened and one what to do next."""
    if isinstance(error, LlamaRunnerError):
        return error.message, error.hint
    return f"Something unexpected went wrong: {type(error).__name__}.", "See the log for the details."


def _details(error: BaseException) -> str:
    chain: list[str] = []
    cause: BaseException | None = error.__cause__ or error.__context__
    if not isinstance(error, LlamaRunnerError):
        chain.append(f"{type(error).__name__}: {error}")
    while cause is not None and len(chain) < 5:
        chain.append(f"{type(cause).__name__}: {cause}")
        cause = cause.__cause__ or cause.__context__
    return "\n".join(chain)[:4000]
