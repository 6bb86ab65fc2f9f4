"""Two programs, one list of servers: what holds when both changed it. Pure rules."""

from dataclasses import replace
from typing import Any, Final

from llama_runner.discovery.registry import PERSONS_FIELDS, ServerRecord

# Where the key is stands with the keys, not in this file.
_SAVED_DECISIONS: Final = tuple(name for name in PERSONS_FIELDS if name != "key_place")


def merge(
    base: tuple[ServerRecord, ...], mine: tuple[ServerRecord, ...], theirs: tuple[ServerRecord, ...]
) -> tuple[ServerRecord, ...]:
    """The list after both sides' changes, in my order, then theirs.

    What was observed is mine: it is about to be observed again. What a person decided is theirs where I left
    it alone, otherwise mine. Removed is what one side removed and the other left alone.

    Args:
        base: What both sides started from.
    """
    before, other = _by_id(base), _by_id(theirs)
    merged = [
        record for own in mine if (record := _merged(before.get(own.id), own, other.get(own.id))) is not None
    ]
    known = {record.id for record in mine} | set(before)
    return (*merged, *(record for record in theirs if record.id not in known))


def decisions(record: ServerRecord) -> dict[str, Any]:
    """What a person decided about it and is saved, by field."""
    return {name: getattr(record, name) for name in _SAVED_DECISIONS}


def _merged(
    before: ServerRecord | None, mine: ServerRecord, theirs: ServerRecord | None
) -> ServerRecord | None:
    left_alone = before is not None and decisions(mine) == decisions(before)
    if theirs is None:
        return None if left_alone else mine
    return replace(mine, **decisions(theirs)) if left_alone else mine


def _by_id(records: tuple[ServerRecord, ...]) -> dict[str, ServerRecord]:
    return {record.id: record for record in records}
