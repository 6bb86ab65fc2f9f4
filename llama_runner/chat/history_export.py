"""A kept conversation as a text to give away: Markdown, a web page, or JSON that can be imported again."""

import base64
import dataclasses
import hashlib
import html
import re
from collections.abc import Callable, Mapping
from typing import Final

from llama_runner.backends.request import Role
from llama_runner.chat.history_values import KeptConversation, KeptTurn
from llama_runner.core.jsonio import JsonValue, dump_json

FORMAT: Final = "llama-runner-conversation"
FORMAT_VERSION: Final = 1
_FENCE: Final = re.compile(r"`{3,}")
_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem;"
    "color-scheme:light dark}h2{font-size:1rem;margin:1.5rem 0 .25rem}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit;margin:0}small,summary{opacity:.75}"
)
# The page may show itself and nothing else, whatever a model wrote into it.
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY: Final = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'"


def document(kept: KeptConversation) -> dict[str, JsonValue]:
    """The conversation as JSON has it; `importing` reads it back."""
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "id": kept.id,
        "title": kept.title,
        "created": kept.created.isoformat(),
        "updated": kept.updated.isoformat(),
        "origin": kept.origin or None,
        "system_prompt": kept.system_prompt,
        "turns": [_turn(turn) for turn in kept.turns],
    }


def _turn(turn: KeptTurn) -> dict[str, JsonValue]:
    return {
        "role": str(turn.role),
        "text": turn.text,
        "at": None if turn.at is None else turn.at.isoformat(),
        "reasoning": turn.reasoning or None,
        "state": str(turn.state),
        "error": turn.error or None,
        "hint": turn.hint or None,
        "finish_reason": turn.finish_reason,
        "label": turn.label or None,
        "model": turn.model_id or None,
        "images": turn.images,
        "metrics": {
            name: None if value is None else str(value) if isinstance(value, str) else value
            for name, value in dataclasses.asdict(turn.metrics).items()
        },
    }


def _json(kept: KeptConversation) -> str:
    return dump_json(document(kept), indent=2).decode()


def who(turn: KeptTurn) -> str:
    """Who speaks, for people."""
    return "You" if turn.role is Role.USER else turn.label or turn.model_id or "Model"


def remarks(turn: KeptTurn) -> tuple[str, ...]:
    """What has to be said beside a turn's text."""
    found = []
    if turn.images:
        found.append(f"{turn.images} image{'s' if turn.images > 1 else ''}, not kept")
    if turn.error:
        found.append(f"{turn.error} {turn.hint}".rstrip())
    return tuple(found)


def _line(text: str) -> str:
    return " ".join(text.split())


def _markdown(kept: KeptConversation) -> str:
    parts = [f"# {_line(kept.title)}", f"*{kept.updated:%Y-%m-%d %H:%M} UTC*"]
    if kept.system_prompt:
        parts += ["## System prompt", kept.system_prompt]
    for turn in kept.turns:
        parts.append(f"## {_line(who(turn))}")
        if turn.reasoning:
            fence = _fence_for(turn.reasoning)
            parts.append(
                f"<details><summary>Reasoning</summary>\n\n{fence}\n{turn.reasoning}\n{fence}\n\n</details>"
            )
        parts += [turn.text] if turn.text else []
        parts += [f"*({remark})*" for remark in remarks(turn)]
    return "\n\n".join(parts) + "\n"


def _fence_for(text: str) -> str:
    """A fence that `text` does not have."""
    return "`" * (max((len(found) for found in _FENCE.findall(text)), default=2) + 1)


def _html(kept: KeptConversation) -> str:
    title = html.escape(kept.title)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1><p><small>{kept.updated:%Y-%m-%d %H:%M} UTC</small></p>",
    ]
    if kept.system_prompt:
        parts.append(f"<h2>System prompt</h2><pre>{html.escape(kept.system_prompt)}</pre>")
    for turn in kept.turns:
        parts.append(f"<h2>{html.escape(who(turn))}</h2>")
        if turn.reasoning:
            parts.append(
                f"<details><summary>Reasoning</summary><pre>{html.escape(turn.reasoning)}</pre></details>"
            )
        parts.append(f"<pre>{html.escape(turn.text)}</pre>")
        parts += [f"<p><small>{html.escape(remark)}</small></p>" for remark in remarks(turn)]
    parts.append("</body></html>\n")
    return "\n".join(parts)


EXPORTS: Final[Mapping[str, Callable[[KeptConversation], str]]] = {
    "md": _markdown,
    "json": _json,
    "html": _html,
}
