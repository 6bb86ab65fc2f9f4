from pathlib import Path

from llama_runner.core.load_options import LoadOptions
from llama_runner.runtime.catalogue import ModelFile
from llama_runner.runtime.footprints import MAX_KEPT, Footprint, Footprints

MODEL = ModelFile("m", Path("/m.gguf"), 10, None, None, "models folder")
SMALL = LoadOptions(context_length=512)


def test_what_a_load_took_is_known_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "footprints.json"
    write = Footprints(path).learn(MODEL, SMALL, Footprint(100, 1.5))
    assert write is not None
    write()
    again = Footprints(path)
    assert again.of(MODEL, SMALL) == Footprint(100, 1.5)
    assert again.of(MODEL, LoadOptions()) is None


def test_only_something_new_is_written(tmp_path: Path) -> None:
    known = Footprints(tmp_path / "footprints.json")
    assert known.learn(MODEL, SMALL, Footprint(100, 1.0)) is not None
    assert known.learn(MODEL, SMALL, Footprint(90, 2.0)) is None
    assert known.of(MODEL, SMALL) == Footprint(100, 2.0)
    assert known.learn(MODEL, SMALL, Footprint(110, 2.0)) is not None


def test_a_file_that_is_not_understood_is_begun_anew(tmp_path: Path) -> None:
    """C1, C3."""
    path = tmp_path / "footprints.json"
    for content in (b"", b"{", b"[]", b'{"version":1,"footprints":{"x":{"ram_bytes":"many"}}}', b"\xff\xfe"):
        path.write_bytes(content)
        known = Footprints(path)
        assert known.of(MODEL, SMALL) is None
        write = known.learn(MODEL, SMALL, Footprint(1, 1.0))
        assert write is not None
        write()
        assert Footprints(path).of(MODEL, SMALL) == Footprint(1, 1.0)


def test_the_oldest_are_forgotten(tmp_path: Path) -> None:
    known = Footprints(tmp_path / "footprints.json")
    for tokens in range(1, MAX_KEPT + 3):
        known.learn(MODEL, LoadOptions(context_length=tokens), Footprint(tokens, 1.0))
    assert known.of(MODEL, LoadOptions(context_length=2)) is None
    assert known.of(MODEL, LoadOptions(context_length=MAX_KEPT + 2)) is not None
