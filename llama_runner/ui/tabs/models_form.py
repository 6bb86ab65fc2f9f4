"""All load options as a form: by group, searched, reset one by one or together."""

from collections.abc import Mapping, Sequence
from typing import Final

from PySide6.QtCore import QCoreApplication, Qt, QTimer, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLineEdit, QPushButton, QScrollArea, QVBoxLayout, QWidget

from llama_runner.core.load_options import FLAGS, NO_OPTIONS, Group, LoadOptions
from llama_runner.ui.tabs.models_option_row import Offer, OptionRow, option_text
from llama_runner.ui.theme import SPACE_S, SPACE_XS, Theme, tooltip
from llama_runner.ui.widgets.fold import FoldButton

# What most people change stands open at first.
OPEN_FIRST: Final = (Group.CONTEXT, Group.GPU)


def group_title(group: Group) -> str:
    """The catalogue's word, translated."""
    return QCoreApplication.translate("models", group.value)


class _GroupBox(QWidget):
    """A heading that folds, and its rows.

    Everything is made inside its parent: a style sheet is applied anew to all that is moved.
    """

    def __init__(self, group: Group, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self._title = group_title(group)
        content = QWidget(self)
        column = QVBoxLayout(content)
        column.setContentsMargins(SPACE_S, 0, 0, SPACE_S)
        column.setSpacing(SPACE_XS)
        self.rows = [OptionRow(name, theme, content) for name in FLAGS if FLAGS[name].group is group]
        for row in self.rows:
            column.addWidget(row)
        self.fold = FoldButton(self._title, content, theme, self)
        self.fold.setChecked(group in OPEN_FIRST)
        self._open = self.fold.isChecked()
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(0)
        outer.addWidget(self.fold)
        outer.addWidget(content)

    def show_count(self) -> None:
        """How many of its options are entered."""
        entered = sum(bool(row.text) for row in self.rows)
        words = self.tr("{title} ({n} set)").format(title=self._title, n=entered) if entered else self._title
        self.fold.setText(words)
        self.fold.setAccessibleName(words)

    def search(self, words: list[str]) -> bool:
        """Only rows that are meant; open while something is looked for, as before afterwards."""
        found = [row.found_by(words) for row in self.rows]
        for row, wanted in zip(self.rows, found, strict=True):
            row.setVisible(wanted)
        self.setVisible(any(found))
        if not self.fold.property("searching"):
            self._open = self.fold.isChecked()
        self.fold.setProperty("searching", bool(words))
        self.fold.setChecked(bool(words) or self._open)
        return any(found)


class OptionsForm(QWidget):
    """`edited` whenever something is entered by hand.

    Args:
        below: Stands after the last group and scrolls with them.
    """

    edited = Signal()

    def __init__(self, theme: Theme, below: QWidget | None = None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._filling = False
        self._area = QScrollArea(self)
        page = QWidget(self._area)
        self._groups = [_GroupBox(group, theme, page) for group in Group]
        by_name = {row.name: row for group in self._groups for row in group.rows}
        self._rows = {name: by_name[name] for name in FLAGS}
        self._search = QLineEdit(self)
        self._search.setPlaceholderText(self.tr("Search options"))
        self._search.setAccessibleName(self.tr("Search options"))
        self._search.setClearButtonEnabled(True)
        self._search.textChanged.connect(self._find)
        self._reset = QPushButton(self.tr("Reset all"), self)
        self._reset.setAccessibleName(self.tr("Reset all options"))
        self._reset.setToolTip(tooltip(self.tr("Leave every option to the engine again.")))
        self._reset.clicked.connect(self.reset)
        self._lay_out(page, below)
        for row in self._rows.values():
            row.edited.connect(lambda row=row: self._row_edited(row))
        self._show_counts()

    def _lay_out(self, page: QWidget, below: QWidget | None) -> None:
        head = QHBoxLayout()
        head.setSpacing(SPACE_S)
        head.addWidget(self._search, 1)
        head.addWidget(self._reset)
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, SPACE_S, 0)
        column.setSpacing(0)
        for group in self._groups:
            column.addWidget(group)
        if below is not None:
            column.addWidget(below)
        column.addStretch(1)
        area = self._area
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setAccessibleName(self.tr("Load options"))
        area.setWidget(page)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(SPACE_XS)
        outer.addLayout(head)
        outer.addWidget(area, 1)

    @property
    def rows(self) -> Mapping[str, OptionRow]:
        """By option."""
        return self._rows

    @property
    def valid(self) -> bool:
        """Whether everything that is entered can be used."""
        return not any(row.problem for row in self._rows.values())

    @property
    def options(self) -> LoadOptions:
        """What is entered; what cannot be used is left out."""
        values = {name: value for name, row in self._rows.items() if (value := row.value) is not None}
        return NO_OPTIONS.model_copy(update=values)

    def set_options(self, options: LoadOptions) -> None:
        """Enter these, without saying that a person did."""
        self._filling = True
        try:
            for name, row in self._rows.items():
                row.set_text(option_text(getattr(options, name)))
        finally:
            self._filling = False
        self._show_counts()

    def show_defaults(self, own: Mapping[str, str]) -> None:
        """What counts where nothing is entered.

        Args:
            own: By option, where it is known.
        """
        usual = self.tr("default")
        for name, row in self._rows.items():
            row.show_default(own.get(name, usual))

    def offer(self, offers: Mapping[str, Sequence[Offer]]) -> None:
        """What can be picked, by option; what is not named has nothing to pick."""
        for name, row in self._rows.items():
            row.offer(offers.get(name, ()))

    def reset(self) -> None:
        """Leave everything to the engine."""
        self.set_options(NO_OPTIONS)
        self.edited.emit()

    def go_to_search(self) -> None:
        """Have the keyboard's focus in the search."""
        self._search.setFocus()
        self._search.selectAll()

    def _find(self, text: str) -> None:
        words = text.casefold().split()
        for group in self._groups:
            group.search(words)

    def _row_edited(self, row: OptionRow) -> None:
        if self._filling:
            return
        self._show_counts()
        self.edited.emit()
        if row.problem:
            # What is wrong with it is told below the field: out of sight perhaps, and laid out only then.
            QTimer.singleShot(0, self, lambda: self._area.ensureWidgetVisible(row, 0, SPACE_S))

    def _show_counts(self) -> None:
        entered = any(row.text for row in self._rows.values())
        self._reset.setEnabled(entered)
        for group in self._groups:
            group.show_count()
