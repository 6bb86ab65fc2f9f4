"""What a chat template tells of its model. Templates are read as text, never rendered."""

from typing import Final

# A variable that switches thinking, or a tag that it is written in (protocols: the templates of llama.cpp).
_THINKING_SIGNS: Final = (
    "enable_thinking",
    "reasoning_content",
    "<think>",
    "<thinking>",
    "[THINK]",
    "<seed:think>",
    "<mm:think>",
    "<|START_THINKING|>",
    "<|inner_prefix|>",
    "<|channel|>analysis",
    "<|channel>thought",
    "reasoning_effort",
)


def thinks(template: str) -> bool:
    """Whether its model may reason before it answers."""
    return any(sign in template for sign in _THINKING_SIGNS)
