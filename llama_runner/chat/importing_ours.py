"""Our own export, which brings back all that was kept."""

from llama_runner.backends.live import AnswerState
from llama_runner.backends.request import Role
from llama_runner.chat.history_export import FORMAT, FORMAT_VERSION
from llama_runner.chat.history_rows import metrics_of
from llama_runner.chat.history_values import MAX_TURNS, KeptConversation, KeptTurn, from_ms, title_of_text
from llama_runner.chat.importing_parts import (
    Object,
    Remarks,
    Unusable,
    fingerprint,
    id_for,
    list_of,
    moment_of,
    object_of,
    role_of,
    text_of,
)
from llama_runner.core.jsonio import dump_json


def fits(found: Object) -> bool:
    """Whether it looks like one of these."""
    return found.get("format") == FORMAT


def read(found: Object, remarks: Remarks) -> KeptConversation:
    """The conversation. Raises Unusable."""
    version = found.get("version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise Unusable("written by a newer version of this program")
    turns = tuple(_our_turn(object_of(one)) for one in list_of(found.get("turns")))
    if not turns:
        raise Unusable("without any text")
    if (cut := len(turns) - MAX_TURNS) > 0:
        remarks.add("messages before the newest 10,000 of a conversation", cut)
    their_id = text_of(found.get("id"))
    created = moment_of(found.get("created")) or from_ms(0)
    updated = moment_of(found.get("updated")) or created
    return KeptConversation(
        # Its own id: what was never deleted here is here already.
        id=their_id if _is_hex(their_id) else id_for(FORMAT, their_id or fingerprint([*turns], created)),
        title=text_of(found.get("title")) or title_of_text(turns[0].text),
        created=created,
        updated=updated,
        turns=turns[-MAX_TURNS:],
        system_prompt=text_of(found.get("system_prompt")),
        origin=text_of(found.get("origin")),
        imported=updated,
    )


def _is_hex(text: str) -> bool:
    return len(text) == 32 and not set(text) - set("0123456789abcdef")


def _our_turn(found: Object) -> KeptTurn:
    state = text_of(found.get("state"))
    images = found.get("images")
    return KeptTurn(
        role=role_of(found.get("role")) or Role.USER,
        text=text_of(found.get("text")),
        at=moment_of(found.get("at")),
        reasoning=text_of(found.get("reasoning")),
        state=AnswerState(state) if state in set(AnswerState) else AnswerState.DONE,
        error=text_of(found.get("error")),
        hint=text_of(found.get("hint")),
        finish_reason=text_of(found.get("finish_reason")) or None,
        label=text_of(found.get("label")),
        model_id=text_of(found.get("model")),
        images=images if isinstance(images, int) and not isinstance(images, bool) and images > 0 else 0,
        metrics=metrics_of(dump_json(dict(object_of(found.get("metrics")))).decode()),
    )
