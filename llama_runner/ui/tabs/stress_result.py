"""What a run says in the end: whether it may be compared, its figures with their n, where it is saved."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QCoreApplication, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QPushButton, QVBoxLayout

from llama_runner.core import format
from llama_runner.core.metrics import METRICS
from llama_runner.stress.health import ClientStatus
from llama_runner.stress.level import LevelResult
from llama_runner.stress.report import SHOWN_QUANTILES, Badge, StressReport, Verdict, to_json
from llama_runner.stress.statistics import Summary, min_n
from llama_runner.ui.theme import ROW_HEIGHT, SPACE_M, SPACE_S, SPACE_XS, Theme, tooltip
from llama_runner.ui.widgets.figures import FiguresHelp, metric_hint
from llama_runner.ui.widgets.label import NameLabel, PlainLabel
from llama_runner.ui.widgets.questions import open_folder
from llama_runner.ui.widgets.tables import Column, DataTable

SUMMARISED: Final = ("ttft_s", "tpot_s", "decode_tps", "e2e_s")
EXPLAINED: Final = (*SUMMARISED, "output_tps", "window_s", "error_rate")
_BADGE_STATUS: Final = {Badge.VALID: "good", Badge.NOTES: "warning", Badge.NOT_COMPARABLE: "bad"}
_CLIENT_STATUS: Final = {
    ClientStatus.OK: "good",
    ClientStatus.SUSPECT: "warning",
    ClientStatus.LIMITED: "bad",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One metric's summary."""

    name: str
    summary: Summary

    @property
    def show(self) -> Callable[[float | None], str]:
        """How its values are printed."""
        return format.rate if METRICS[self.name].unit == "tok/s" else format.seconds


def rows_of(level: LevelResult) -> tuple[Row, ...]:
    """The rows of the table."""
    return tuple(Row(name, getattr(level, name)) for name in SUMMARISED)


def _tr(text: str) -> str:
    return QCoreApplication.translate("StressResult", text)


def _quantile_column(q: float) -> Column[Row]:
    field = f"p{q * 100:.0f}"

    def hint(row: Row) -> str:
        value: float | None = getattr(row.summary, field)
        if value is None:
            text = _tr("{n} values are too few: a {name} takes at least {least}.")
            return text.format(n=format.count(row.summary.n), name=field, least=format.count(min_n(q)))
        interval = getattr(row.summary, f"{field}_ci")
        if interval is None:
            return row.show(value)
        text = _tr("95 % interval: {low} to {high}")
        return text.format(low=row.show(interval.low), high=row.show(interval.high))

    return Column(
        title=field,
        text=lambda row: row.show(getattr(row.summary, field)),
        sort=lambda row: getattr(row.summary, field),
        number=True,
        hint=_tr("{share} % of the requests were not above this.").format(share=f"{q * 100:.0f}"),
        cell_hint=hint,
    )


def make_table() -> DataTable[Row]:
    """The table, empty."""
    columns: tuple[Column[Row], ...] = (
        Column(
            _tr("Metric"),
            lambda row: METRICS[row.name].title,
            cell_hint=lambda row: metric_hint(row.name),
            stretch=True,
        ),
        *(_quantile_column(q) for q in SHOWN_QUANTILES),
        Column(
            _tr("mean"),
            lambda row: row.show(row.summary.mean),
            sort=lambda row: row.summary.mean,
            number=True,
        ),
        Column(
            "n",
            lambda row: format.count(row.summary.n),
            sort=lambda row: row.summary.n,
            number=True,
            hint=_tr("Successful requests that have this figure."),
        ),
    )
    table = DataTable(columns, lambda row: row.name, name=_tr("Figures of the run"))
    table.setObjectName("stress-table")
    table.setSortingEnabled(False)
    table.setFixedHeight((len(SUMMARISED) + 1) * ROW_HEIGHT + SPACE_S)
    return table


class ResultPanel(QFrame):
    """One report."""

    said = Signal(str)

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.setObjectName("stress-result")
        self.setAccessibleName(self.tr("Result"))
        self._report: StressReport | None = None
        self._badge = PlainLabel(bold=True, scale=1.1)
        self._badge.setObjectName("stress-badge")
        self._badge.setAccessibleName(self.tr("May be compared"))
        self._verdict = PlainLabel(muted=True, wrap=True)
        self._verdict.setAccessibleName(self.tr("How the run ended"))
        self._reasons = PlainLabel(wrap=True, selectable=True)
        self._reasons.setObjectName("stress-reasons")
        self._reasons.setAccessibleName(self.tr("Why"))
        self._facts = {
            name: PlainLabel(mono=True, wrap=True, selectable=True) for name in self._fact_titles()
        }
        self._table = make_table()
        self._saved = NameLabel(muted=True)
        self._saved.setObjectName("stress-saved")
        self._saved.setAccessibleName(self.tr("Where it is saved"))
        self._open = self._button(theme, "stress-open", "mdi6.folder-open-outline", self.tr("Open folder"))
        self._open.clicked.connect(self._open_folder)
        self._copy = self._button(theme, "stress-copy", "mdi6.content-copy", self.tr("Copy as JSON"))
        self._copy.clicked.connect(self._copy_json)
        self._lay_out(theme)

    def _fact_titles(self) -> dict[str, tuple[str, str]]:
        return {
            "output_tps": (self.tr("Output throughput"), metric_hint("output_tps")),
            "window_s": (self.tr("Window"), metric_hint("window_s")),
            "requests": (self.tr("Requests"), self.tr("Sent = ok + failed + aborted.")),
            "errors": (self.tr("Errors"), self.tr("Failed requests by kind of error.")),
            "client": (
                self.tr("Load generator"),
                self.tr("Whether this program itself kept up: otherwise the figures may describe it."),
            ),
        }

    @staticmethod
    def _button(theme: Theme, name: str, icon: str, word: str) -> QPushButton:
        button = QPushButton(word)
        button.setObjectName(name)
        button.setAccessibleName(word)
        theme.give_icon(button, icon)
        return button

    def _lay_out(self, theme: Theme) -> None:
        head = QHBoxLayout()
        head.setSpacing(SPACE_M)
        head.addWidget(self._badge)
        head.addWidget(self._verdict, 1)
        head.addWidget(FiguresHelp(theme, EXPLAINED))
        facts = QGridLayout()
        facts.setHorizontalSpacing(SPACE_M)
        facts.setVerticalSpacing(SPACE_XS)
        for row, (name, (title, hint)) in enumerate(self._fact_titles().items()):
            word = PlainLabel(title, muted=True)
            word.setToolTip(tooltip(hint))
            self._facts[name].setAccessibleName(title)
            facts.addWidget(word, row, 0)
            facts.addWidget(self._facts[name], row, 1)
        facts.setColumnStretch(1, 1)
        foot = QHBoxLayout()
        foot.setSpacing(SPACE_S)
        foot.addWidget(self._saved, 1)
        foot.addWidget(self._open)
        foot.addWidget(self._copy)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE_S)
        column.addLayout(head)
        column.addWidget(self._reasons)
        column.addLayout(facts)
        column.addWidget(self._table)
        column.addLayout(foot)

    @property
    def report(self) -> StressReport | None:
        """What is shown."""
        return self._report

    def show_report(self, report: StressReport) -> None:
        """Show a run that has ended."""
        self._report = report
        level = report.levels[0]
        self._badge.setText(self._badge_word(report.badge))
        self._badge.set_status(_BADGE_STATUS[report.badge])
        self._verdict.setText(verdict_text(report))
        reasons = [*report.badge_reasons]
        if report.error is not None:
            reasons.insert(0, str(report.error))
        self._reasons.setText("\n".join(f"• {reason}" for reason in reasons))
        self._reasons.setVisible(bool(reasons))
        self._show_facts(report, level)
        self._table.set_rows(rows_of(level))
        saved = report.run_dir is not None
        self._saved.set_name(
            self.tr("Saved in {folder}").format(folder=report.run_dir) if saved else self.tr("Not saved")
        )
        self._open.setEnabled(saved)

    def _badge_word(self, badge: Badge) -> str:
        return {
            Badge.VALID: self.tr("✓ Valid"),
            Badge.NOTES: self.tr("! Valid, with notes"),
            Badge.NOT_COMPARABLE: self.tr("✗ Not comparable"),
        }[badge]

    def _show_facts(self, report: StressReport, level: LevelResult) -> None:
        counts = level.requests
        text = self.tr("{ok} ok, {failed} failed, {aborted} aborted of {sent} sent, {concurrency} at a time")
        errors = ", ".join(f"{kind} {format.count(number)}" for kind, number in level.errors.items())
        texts = {
            "output_tps": format.rate(level.output_tps),
            "window_s": format.seconds(level.window_s),
            "requests": text.format(
                ok=format.count(counts.ok),
                failed=format.count(counts.failed),
                aborted=format.count(counts.aborted),
                sent=format.count(counts.sent),
                concurrency=format.count(level.concurrency),
            ),
            "errors": errors or self.tr("none"),
            "client": f"{report.client.status.value}: {report.client.reason}",
        }
        for name, shown in texts.items():
            self._facts[name].setText(shown)
        self._facts["client"].set_status(_CLIENT_STATUS[report.client.status])
        self._facts["errors"].set_status("bad" if errors else "")

    def _open_folder(self) -> None:
        if (
            self._report is not None
            and self._report.run_dir is not None
            and not open_folder(self._report.run_dir)
        ):
            self.said.emit(self.tr("This desktop has no program that shows folders."))

    def _copy_json(self) -> None:
        if self._report is not None:
            document = json.dumps(to_json(self._report), ensure_ascii=False, indent=2)
            QGuiApplication.clipboard().setText(document)
            self.said.emit(self.tr("Result copied as JSON."))


def verdict_text(report: StressReport) -> str:
    """How a run ended, of what, when."""
    words = {
        Verdict.COMPLETED: _tr("Completed"),
        Verdict.STOPPED: _tr("Stopped early"),
        Verdict.FAILED: _tr("Broke off"),
    }
    return f"{words[report.verdict]} · {format.moment(report.ended_utc)}"
