"""How the figures of an answer are worded: from `core.metrics` and `core.format`, computed nowhere here."""

from typing import Final

from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtWidgets import QMessageBox, QToolButton, QWidget

from llama_runner.core import format
from llama_runner.core.metrics import METRICS
from llama_runner.core.trace import RequestMetrics, TokensSource
from llama_runner.ui.theme import Theme, tooltip

ANSWER_FIGURES: Final = ("output_tokens", "tokens_source", "ttft_s", "decode_tps", "e2e_s")
# What a server ends an answer with that ran into its limit of tokens.
LENGTH_REASON: Final = "length"


def _tr(text: str) -> str:
    return QCoreApplication.translate("figures", text)


def source_word(source: TokensSource | None) -> str:
    """Where a token count came from, in a few words; empty when there is no count."""
    words = {
        TokensSource.CHUNK_USAGE: _tr("counted per event"),
        TokensSource.USAGE: _tr("server's count"),
        TokensSource.SERVER_TOKENIZER: _tr("server's tokenizer"),
        TokensSource.LOCAL_TOKENIZER: _tr("local tokenizer"),
        TokensSource.CHUNKS: _tr("chunks, not tokens"),
    }
    return "" if source is None else words[source]


def tokens_text(metrics: RequestMetrics) -> str:
    """ "128 tokens (server's count)"."""
    word = source_word(metrics.tokens_source)
    text = _tr("{count} tokens").format(count=format.count(metrics.output_tokens))
    return f"{text} ({word})" if word else text


def figures_line(metrics: RequestMetrics) -> str:
    """Tokens and their source, time to first token, decode speed, total: one line."""
    return " · ".join(
        (
            tokens_text(metrics),
            _tr("first token {time}").format(time=format.seconds(metrics.ttft_s)),
            _tr("decode {rate}").format(rate=format.rate(metrics.decode_tps)),
            _tr("total {time}").format(time=format.seconds(metrics.e2e_s)),
        )
    )


def not_sent_line(names: tuple[str, ...]) -> str:
    """What was asked for and the server has no word for; empty when there is nothing."""
    if not names:
        return ""
    words = ", ".join(name.removesuffix("_s").replace("_", "-") for name in names)
    return _tr("Not sent, as this server has no such option: {names}.").format(names=words)


def metric_hint(name: str) -> str:
    """What a metric says, and its formula."""
    metric = METRICS[name]
    return f"{metric.title} = {metric.formula}. {metric.help}"


def explanation(names: tuple[str, ...]) -> str:
    """All of these metrics, one paragraph each."""
    return "\n\n".join(metric_hint(name) for name in names)


class FiguresHelp(QToolButton):
    """A question mark that explains figures: on hover, and as a message for the keyboard."""

    def __init__(self, theme: Theme, names: tuple[str, ...] = ANSWER_FIGURES) -> None:
        super().__init__()
        self._text = explanation(names)
        self.setProperty("flat", True)
        self.setAccessibleName(self.tr("What the figures mean"))
        self.setToolTip(tooltip(self._text).replace("\n", "<br>"))
        theme.give_icon(self, "mdi6.help-circle-outline")
        self.clicked.connect(lambda: show_explanation(self, self._text))


def show_explanation(parent: QWidget, text: str) -> None:
    """The text in a message box that waits for nobody."""
    box = QMessageBox(parent)
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setWindowTitle(_tr("What the figures mean"))
    box.setText(text)
    box.open()
