"""How a request for reasoning is put to an Anthropic model, and what it rules out.

Source: platform.claude.com/docs/en/build-with-claude/extended-thinking, .../adaptive-thinking, .../effort.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from llama_runner.backends.anthropic_messages import has_reasoning
from llama_runner.backends.request import ChatRequest, Effort, ForcedTool, ToolMode
from llama_runner.core.jsonio import JsonValue

# `max_tokens` has to be given: long enough for an answer, within what every model may write.
DEFAULT_MAX_TOKENS: Final = 4096
# The least that the service accepts; a budget also has to stay below `max_tokens`.
MIN_BUDGET_TOKENS: Final = 1024
_BUDGETS: Final[Mapping[Effort | None, int]] = {
    Effort.LOW: 2048,
    None: 8192,
    Effort.MEDIUM: 8192,
    Effort.HIGH: 16_384,
}
# Eight digits are a date, not a minor version.
_CLAUDE: Final = re.compile(r"claude-[a-z]+-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_ADAPTIVE_FROM: Final = (4, 6)


@dataclass(frozen=True, slots=True)
class Thinking:
    """What is sent.

    Attributes:
        switch: The field `thinking`, None where it is not sent.
        effort: For `output_config`, None where it is not sent.
        on: The model is asked to reason, which fixes its temperature.
        not_sent: What was asked and cannot be said.
    """

    max_tokens: int
    switch: Mapping[str, JsonValue] | None = None
    effort: Effort | None = None
    on: bool = False
    not_sent: tuple[str, ...] = field(default=())


def plan(request: ChatRequest) -> Thinking:
    """How a request's `thinking` and `effort` are sent."""
    options = request.options
    limit = options.max_tokens if options.max_tokens is not None else DEFAULT_MAX_TOKENS
    if options.thinking is False:
        dropped = ("effort",) if options.effort else ()
        return Thinking(limit, {"type": "disabled"}, not_sent=dropped)
    if options.thinking is None and options.effort is None:
        return Thinking(limit)
    if _may_think(request):
        budget = _BUDGETS[options.effort]
        room = options.max_tokens if options.max_tokens is not None else DEFAULT_MAX_TOKENS + budget
        if decides_itself(request.model_id):
            switch: dict[str, JsonValue] = {"type": "adaptive", "display": "summarized"}
            return Thinking(room, switch, options.effort, on=True)
        # A conversation that left reasoning out of a loop of calls is refused with a budget.
        if room > MIN_BUDGET_TOKENS and not has_reasoning(request):
            switch = {"type": "enabled", "budget_tokens": min(budget, room - 1)}
            return Thinking(room, switch, on=True)
    asked = {"thinking": options.thinking, "effort": options.effort}
    return Thinking(limit, not_sent=tuple(name for name, value in asked.items() if value is not None))


def decides_itself(model_id: str) -> bool:
    """Whether it is a model that takes no budget: Claude from 4.6 on decides itself how much it thinks."""
    found = _CLAUDE.search(model_id.lower())
    return found is not None and (int(found[1]), int(found[2] or 0)) >= _ADAPTIVE_FROM


def _may_think(request: ChatRequest) -> bool:
    """A call that has to be made leaves no room for reasoning before it."""
    choice = request.tool_choice
    return not isinstance(choice, ForcedTool) and choice is not ToolMode.REQUIRED
