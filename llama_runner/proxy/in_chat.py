"""A request said as an OpenAI chat instead of in its own dialect, and what could not be said so. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from llama_runner.backends.values import as_list, as_object, as_text
from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import JsonValue

# A header tells them; a request may have any number, of any length (H15).
MAX_LEFT_OUT: Final = 20
MAX_NAME_CHARS: Final = 60


@dataclass(slots=True)
class InChat:
    """A chat completion in the making.

    Attributes:
        body: The fields of the chat, the model's name and the stream's not among them.
        left_out: Names of what was asked for and has no word there.
    """

    body: dict[str, JsonValue] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def put(self, name: str, value: JsonValue) -> None:
        """A field, where there is anything to say."""
        if value is not None and value != []:
            self.body[name] = value

    def leave_out(self, name: str) -> None:
        """Note what is not said, once."""
        name = name[:MAX_NAME_CHARS]
        if len(self.left_out) < MAX_LEFT_OUT and name not in self.left_out:
            self.left_out.append(name)


def function(tool: Mapping[str, JsonValue], parameters: JsonValue) -> JsonValue:
    """A function that may be called."""
    named: dict[str, JsonValue] = {"name": tool.get("name"), "parameters": parameters or {"type": "object"}}
    if tool.get("description"):
        named["description"] = tool["description"]
    return {"type": "function", "function": named}


def call(call_id: JsonValue, name: JsonValue, arguments: str) -> JsonValue:
    """A call that the model made."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def text_part(text: str) -> JsonValue:
    """A text among a message's parts."""
    return {"type": "text", "text": text}


def picture_part(url: str) -> JsonValue:
    """A picture among a message's parts."""
    return {"type": "image_url", "image_url": {"url": url}}


def content(parts: Sequence[JsonValue]) -> JsonValue:
    """Parts as a message has them; texts alone as one text, which every server and template understands."""
    if all(as_object(part).get("type") == "text" for part in parts):
        return "\n".join(as_text(as_object(part).get("text")) for part in parts)
    return list(parts)


def split_pictures(parts: Sequence[JsonValue]) -> tuple[list[JsonValue], list[JsonValue]]:
    """Texts, and pictures: a tool's result has room for texts only, so its pictures are shown after it."""
    found: tuple[list[JsonValue], list[JsonValue]] = ([], [])
    for part in parts:
        found[as_object(part).get("type") == "image_url"].append(part)
    return found


def unsayable(what: str, kind: JsonValue) -> InvalidRequestError:
    """For content without which the question is another one."""
    name = as_text(kind)[:MAX_NAME_CHARS] or "without a name"
    return InvalidRequestError(
        f"This server takes no {what} of the kind {name}: it speaks OpenAI's chat only.",
        "Leave it out, or ask a model that runs here.",
    )


def objects(value: JsonValue) -> list[Mapping[str, JsonValue]]:
    """The objects of a list; what is none is none of ours."""
    return [as_object(item) for item in as_list(value)]
