"""The form of a load test: what it will do, in numbers, and what has to be agreed to before it starts."""

from typing import Final

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QFrame, QScrollArea, QVBoxLayout, QWidget

from llama_runner.backends.base import Target
from llama_runner.core import format
from llama_runner.core.settings import StressSettings
from llama_runner.net.addresses import is_loopback
from llama_runner.stress.plan import CONFIRM_ABOVE_CONCURRENCY, MAX_REQUESTS, BurstPlan
from llama_runner.ui.theme import SPACE_S, tooltip
from llama_runner.ui.widgets.label import NameLabel, PlainLabel
from llama_runner.ui.widgets.number_field import NumberField, NumberRule
from llama_runner.ui.widgets.prompt_edit import PromptEdit

MAX_TOKENS: Final = 1_000_000


class PlanForm(QScrollArea):
    """Concurrency, requests, tokens, prompt. Begins with the settings' values."""

    edited = Signal()
    submitted = Signal()

    def __init__(self, settings: StressSettings) -> None:
        super().__init__()
        self._timeout_s = settings.request_timeout_s
        self._target: Target | None = None
        self._target_label = NameLabel()
        self._target_label.setObjectName("stress-target")
        self._target_label.setAccessibleName(self.tr("Model under load"))
        self._concurrency = self._number(
            "stress-concurrency",
            self.tr("Concurrency"),
            settings.max_concurrency,
            self.tr("Requests kept in flight at the same time: when one ends, the next begins."),
            min(settings.concurrency, settings.max_concurrency),
        )
        self._requests = self._number(
            "stress-requests",
            self.tr("Requests"),
            MAX_REQUESTS,
            self.tr("Requests of the run in all. 6 give a median, 72 a p95, 368 a p99."),
            min(settings.requests, MAX_REQUESTS),
        )
        self._max_tokens = self._number(
            "stress-max-tokens",
            self.tr("Tokens per answer"),
            MAX_TOKENS,
            self.tr("Most tokens each answer may have."),
            settings.max_tokens,
        )
        self._prompt = PromptEdit(name=self.tr("Prompt"), lines=(3, 6), sends=False)
        self._prompt.setObjectName("stress-prompt")
        self._prompt.setPlainText(settings.prompt)
        self._prompt.textChanged.connect(self._show)
        self._prompt.submitted.connect(self.submitted)
        self._ignore_eos = QCheckBox(self.tr("Ignore the end token"))
        self._ignore_eos.setObjectName("stress-ignore-eos")
        self._ignore_eos.setAccessibleName(self.tr("Ignore the end token"))
        self._ignore_eos.setToolTip(
            tooltip(self.tr("Every answer goes on to its most tokens, where the server can do that."))
        )
        self._summary = PlainLabel(muted=True, wrap=True)
        self._summary.setObjectName("stress-summary")
        self._summary.setAccessibleName(self.tr("What the run will do"))
        self._lay_out()
        self._show()

    def _number(self, name: str, title: str, highest: int, hint: str, value: int) -> NumberField:
        field = NumberField(title, NumberRule(1, highest), hint=hint)
        field.box.setObjectName(name)
        field.set_value(value)
        field.box.returnPressed.connect(self.submitted)
        field.edited.connect(self._show)
        return field

    def _lay_out(self) -> None:
        form = QWidget()
        column = QVBoxLayout(form)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE_S)
        prompt_label = PlainLabel(self.tr("Prompt"))
        prompt_label.setBuddy(self._prompt)
        for widget in (
            self._target_label,
            self._concurrency,
            self._requests,
            self._max_tokens,
            prompt_label,
            self._prompt,
            self._ignore_eos,
            self._summary,
        ):
            column.addWidget(widget)
        column.addStretch(1)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setAccessibleName(self.tr("Plan"))
        self.setWidget(form)

    def set_target(self, target: Target | None) -> None:
        """Load this one."""
        self._target = target
        self._target_label.set_name(self.tr("No model chosen") if target is None else target.label)
        self._show()

    @property
    def valid(self) -> bool:
        """Whether the numbers can be used."""
        return all(field.valid for field in (self._concurrency, self._requests, self._max_tokens))

    def why_not(self) -> str:
        """Why it cannot start now; empty when it can."""
        if self._target is None:
            return self.tr("Choose a model first.")
        if not self.valid:
            return self.tr("Correct the numbers first.")
        return "" if self._prompt.text.strip() else self.tr("Write a prompt first.")

    def plan(self, *, agreed: bool) -> BurstPlan | None:
        """What the form says; None while it says nothing that can be done.

        Args:
            agreed: A person has seen `question` and said yes.
        """
        concurrency, requests = self._concurrency.whole, self._requests.whole
        max_tokens = self._max_tokens.whole
        if self._target is None or concurrency is None or requests is None or max_tokens is None:
            return None
        return BurstPlan(
            target=self._target,
            prompt=self._prompt.text,
            concurrency=concurrency,
            total_requests=requests,
            max_tokens=max_tokens,
            request_timeout_s=self._timeout_s,
            ignore_eos=self._ignore_eos.isChecked(),
            confirmed_remote=agreed,
            confirmed_many=agreed,
        )

    def _show(self) -> None:
        self._summary.setText(self._in_numbers())
        self.edited.emit()

    def _in_numbers(self) -> str:
        plan = self.plan(agreed=False)
        return "" if plan is None else in_numbers(self, plan)

    def question(self, plan: BurstPlan) -> str:
        """What has to be agreed to first; empty when nothing has."""
        url = plan.target.endpoint.base_url
        parts: list[str] = []
        if not is_loopback(url):
            text = self.tr("{url} is not this machine. Others may be using it, and they will notice.")
            parts.append(text.format(url=url))
        if plan.concurrency > CONFIRM_ABOVE_CONCURRENCY:
            text = self.tr("{count} requests at the same time are a heavy load.")
            parts.append(text.format(count=format.count(plan.concurrency)))
        return "\n\n".join(parts)


def in_numbers(form: QWidget, plan: BurstPlan) -> str:
    """What a plan will do."""
    text = form.tr(
        "Sends {requests} requests, {concurrency} at a time, each for up to {tokens} tokens: "
        "at most {all} tokens."
    )
    return text.format(
        requests=format.count(plan.total_requests),
        concurrency=format.count(min(plan.concurrency, plan.total_requests)),
        tokens=format.count(plan.max_tokens),
        all=format.count(plan.total_requests * plan.max_tokens),
    )
