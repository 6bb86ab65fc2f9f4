"""The only view for rich text from outside (R6): loads nothing, follows nothing, copies plain text."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from PySide6.QtCore import QByteArray, QElapsedTimer, QMimeData, Qt, QTimer, QUrl
from PySide6.QtGui import (
    QImage,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextDocumentFragment,
    QTextOption,
)
from PySide6.QtWidgets import QTextBrowser, QWidget

from llama_runner.ui.theme import SPACE_M, Theme, mono_font
from llama_runner.ui.widgets.questions import open_external
from llama_runner.ui.widgets.safe_html import BREAK, Piece

# Half of the 8 ms a slice of the GUI thread may take; the piece that crosses it is let through.
SLICE_MS: Final = 4

# Qt's own 40 px waste a narrow column.
LIST_INDENT_PX: Final = 24
NO_TYPE: Final = QTextDocument.ResourceType.UnknownResource

Job = Callable[[], None]


def document_style(theme: Theme) -> str:
    """How the elements of a message look."""
    colours = theme.colours
    family = mono_font().family()
    return f"""
    a {{ color: {colours.accent}; }}
    pre {{ font-family: '{family}'; background-color: {colours.raised}; margin: 4px 0 8px 0; }}
    code {{ font-family: '{family}'; background-color: {colours.raised}; }}
    blockquote {{ color: {colours.muted}; margin-left: 12px; }}
    h1, h2, h3, h4, h5, h6 {{ margin: 10px 0 4px 0; }}
    h1 {{ font-size: large; }} h2 {{ font-size: large; }} h3 {{ font-size: medium; }}
    p {{ margin: 0 0 8px 0; }}
    th {{ font-weight: 600; padding: 3px 8px; background-color: {colours.raised}; }}
    td {{ padding: 3px 8px; }}
    """


class SafeBrowser(QTextBrowser):
    """Shows pieces of harmless HTML and plain text, a little per turn of the event loop.

    Its ways in are `show_pieces` and `insert_piece`; never `setHtml`, `setMarkdown` or `setSource`.
    """

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        self._placeholder = QImage(1, 1, QImage.Format.Format_ARGB32)
        self._placeholder.fill(Qt.GlobalColor.transparent)
        self._jobs: list[Job] = []
        self._turn = QTimer(self)
        self._turn.setInterval(0)
        self._turn.timeout.connect(self._work)
        self.setOpenLinks(False)
        self.setOpenExternalLinks(False)
        self.setAcceptDrops(False)
        self.setUndoRedoEnabled(False)
        self.setTabChangesFocus(True)
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.document().setDocumentMargin(SPACE_M)
        self.document().setIndentWidth(LIST_INDENT_PX)
        self.anchorClicked.connect(self.follow)
        self._style_document()
        theme.changed.connect(self._style_document)

    def loadResource(self, type: int, name: QUrl | str) -> object:
        """A fixed transparent dot for every image, nothing for anything else."""
        if type == QTextDocument.ResourceType.ImageResource.value:
            return self._placeholder
        return QByteArray()

    def doSetSource(self, name: QUrl | str, type: QTextDocument.ResourceType = NO_TYPE) -> None:
        """Nothing: this view never goes anywhere."""

    def createMimeDataFromSelection(self) -> QMimeData:
        """The selection as plain text, without the break marks that only the layout needs (U14)."""
        # Qt's own object, emptied: the clipboard keeps it to the end of the program, when an object made in
        # Python would call an interpreter that is gone.
        data = super().createMimeDataFromSelection()
        # Asked once, it holds its formats; before that it only promises them.
        data.text()
        for kind in data.formats():
            data.removeFormat(kind)
        data.setText(self.textCursor().selection().toPlainText().replace(BREAK, ""))
        return data

    def follow(self, url: QUrl) -> None:
        """A link was clicked: ask before leaving."""
        open_external(self, url.toString(QUrl.ComponentFormattingOption.FullyEncoded))

    @property
    def busy(self) -> bool:
        """Whether pieces still wait to be shown."""
        return bool(self._jobs)

    def show_pieces(self, pieces: Iterable[Piece]) -> None:
        """Replace everything by `pieces`, spread over as many turns as they need."""
        self.drop_jobs()
        self.clear()
        for piece in pieces:
            self.queue(partial(self._show, piece))

    def _show(self, piece: Piece) -> None:
        insert_piece(self.end_cursor(), piece)

    def queue(self, job: Job) -> None:
        """Do `job` in this or one of the next turns, after those queued before it."""
        self._jobs.append(job)
        if not self._turn.isActive():
            self._turn.start()

    def drop_jobs(self) -> None:
        """Forget what is queued."""
        self._jobs.clear()
        self._turn.stop()

    def end_cursor(self) -> QTextCursor:
        """A cursor behind the last character."""
        cursor = QTextCursor(self.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        return cursor

    def at_bottom(self) -> bool:
        """Whether the reader looks at the end, so that new text may keep scrolling."""
        bar = self.verticalScrollBar()
        return bar.value() >= bar.maximum() - bar.singleStep()

    def scroll_to_bottom(self) -> None:
        """Look at the end."""
        bar = self.verticalScrollBar()
        bar.setValue(bar.maximum())

    def _work(self) -> None:
        watch = QElapsedTimer()
        watch.start()
        stick = self.at_bottom()
        while self._jobs and watch.elapsed() < SLICE_MS:
            self._jobs.pop(0)()
        if stick:
            self.scroll_to_bottom()
        if not self._jobs:
            self._turn.stop()

    def _style_document(self) -> None:
        self.document().setDefaultStyleSheet(document_style(self.theme))


def insert_piece(cursor: QTextCursor, piece: Piece) -> None:
    """Insert one piece at `cursor` in paragraphs of its own and leave the cursor behind it."""
    if cursor.block().length() > 1 or cursor.currentList() is not None:
        cursor.insertBlock(QTextBlockFormat(), QTextCharFormat())
    if piece.rich:
        _insert_rich(cursor, piece.content)
    else:
        cursor.setBlockFormat(QTextBlockFormat())
        cursor.insertText(piece.content, QTextCharFormat())


def _insert_rich(cursor: QTextCursor, content: str) -> None:
    """Qt melts the first paragraph of what is inserted into the one it comes to, which costs it its look.

    So a throw-away paragraph goes first and is taken out again.
    """
    start = QTextCursor(cursor.document())
    start.setPosition(cursor.position())
    start.setKeepPositionOnInsert(True)
    cursor.insertFragment(QTextDocumentFragment.fromHtml(f"<p>x</p>{content}", cursor.document()))
    start.setPosition(start.position())
    start.deleteChar()
    if start.block().length() == 1 and start.block().next().isValid():
        start.deleteChar()
