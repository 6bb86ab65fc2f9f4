"""Things that are needed rarely: a button that shows and hides them."""

from PySide6.QtWidgets import QPushButton, QWidget

from llama_runner.ui.theme import Theme


class FoldButton(QPushButton):
    """Shows `content` while it is down."""

    def __init__(self, title: str, content: QWidget, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(title, parent)
        self._content = content
        self._theme = theme
        self.setAccessibleName(title)
        self.setProperty("flat", True)
        self.setProperty("fold", True)
        self.setCheckable(True)
        self.toggled.connect(self._show_content)
        self._show_content(False)

    def _show_content(self, shown: bool) -> None:
        self._content.setVisible(shown)
        self._theme.give_icon(self, "mdi6.chevron-down" if shown else "mdi6.chevron-right")
