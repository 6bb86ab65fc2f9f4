"""Profiles on disk, and models as their engines can serve them."""

import asyncio
import json
from pathlib import Path

import pytest

from llama_runner.core.config import load_models_config
from llama_runner.core.errors import ConfigError, NotFoundError
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.paths import Home, create_folders, home_at
from llama_runner.core.settings import AppConfig, ModelStores, NamedEngine, RuntimeSettings
from llama_runner.runtime.library import ModelLibrary
from tests.fakes.gguf_companions import write_tiny_projector
from tests.fakes.gguf_files import STRING, good_file, key

TOOLS = "{% if tools %}{{ tools }}{% endif %}"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = home_at(tmp_path)
    create_folders(found)
    (found.data_dir / "models").mkdir()
    content = good_file(key("tokenizer.chat_template", STRING, TOOLS))
    (found.data_dir / "models" / "m.gguf").write_bytes(content)
    return found


def library(home: Home, **runtime: object) -> ModelLibrary:
    nowhere = ModelStores(hugging_face=False, lm_studio=False, ollama=False)
    settings = RuntimeSettings(stores=nowhere, **runtime)  # type: ignore[arg-type]
    return ModelLibrary(
        config=lambda: AppConfig(runtime=settings),
        models_config=lambda: load_models_config(home).value,
        home=home,
        demo=False,
    )


async def test_a_profile_is_there_after_a_restart_and_what_else_is_in_the_file_stays(home: Home) -> None:
    other = {"path": "gone.gguf", "display_name": "Other", "my own note": 7}
    home.models_config_file.write_text(json.dumps({"version": 1, "models": {"other": other}, "also": 1}))
    options = LoadOptions(context_length=512, tensor_split=(3.0, 1.0), loras=("a.gguf:0.5",))
    await library(home).save_profile("m", "small", options)
    await library(home).set_default_profile("m", "small")
    found = await library(home).profiles("m")
    assert (found.profiles, found.default) == ({"small": options}, "small")
    raw = json.loads(home.models_config_file.read_bytes())
    assert raw["also"] == 1 and raw["models"]["other"].items() >= other.items()
    # The model that was only found is an entry now, under the id it had.
    assert [model.id for model in (await library(home).models()).models] == ["other", "m"]
    await library(home).remove_profile("m", "small")
    assert (await library(home).profiles("m")).profiles == {}


async def test_saves_at_the_same_time_lose_nothing(home: Home) -> None:
    books = library(home)
    await asyncio.gather(*(books.save_profile("m", f"p{n}", LoadOptions(threads=n + 1)) for n in range(8)))
    assert len((await books.profiles("m")).profiles) == 8


async def test_c1_a_broken_file_is_never_overwritten(home: Home) -> None:
    """C1, C3: the person mends it, or deletes it."""
    home.models_config_file.write_bytes(b'{"models": ')
    with pytest.raises(ConfigError, match="cannot be used"):
        await library(home).save_profile("m", "p", LoadOptions())
    assert home.models_config_file.read_bytes() == b'{"models": '


async def test_c2_a_file_of_a_newer_version_is_only_read(home: Home) -> None:
    home.models_config_file.write_text('{"version": 99, "models": {}}')
    with pytest.raises(ConfigError, match="newer version"):
        await library(home).save_profile("m", "p", LoadOptions())


async def test_there_is_nothing_to_say_about_a_model_that_is_not_there(home: Home) -> None:
    with pytest.raises(NotFoundError, match="no model x"):
        await library(home).profiles("x")


async def test_a_profile_decides_whether_a_model_sees(home: Home) -> None:
    folder = home.data_dir / "models"
    write_tiny_projector(folder / "mmproj-m.gguf")
    write_tiny_projector(folder / "other.gguf")
    books = library(home)

    async def sees() -> tuple[bool, str | None]:
        (model,) = (await books.models()).models
        assert model.header is not None
        return "vision" in model.header.capabilities, model.projector.path.name if model.projector else None

    async def choose(projector: str) -> None:
        await books.save_profile("m", "p", LoadOptions(projector=projector))
        await books.set_default_profile("m", "p")

    assert await sees() == (True, "mmproj-m.gguf")
    await choose("none")
    assert await sees() == (False, None)
    await choose("other.gguf")
    assert await sees() == (True, "other.gguf")
    await choose("gone.gguf")
    assert await sees() == (False, None)


async def test_an_engine_that_calls_no_tools_serves_models_without(home: Home) -> None:
    async def capabilities(books: ModelLibrary) -> tuple[str, ...]:
        (model,) = (await books.models()).models
        assert model.header is not None
        return model.header.capabilities

    engines = {"mute": NamedEngine(supports_tools=False), "able": NamedEngine(supports_tools=True)}
    assert "tools" in await capabilities(library(home))
    assert "tools" in await capabilities(library(home, engines=engines))
    assert "tools" not in await capabilities(library(home, engines=engines, engine="mute"))
    books = library(home, engines=engines)
    await books.save_profile("m", "p", LoadOptions(engine="mute"))
    await books.set_default_profile("m", "p")
    assert "tools" not in await capabilities(books)
    assert "tools" not in await capabilities(library(home, engines=engines, engine="able"))
    assert (await books.wanted("m")).engine == "mute"
    assert (await books.wanted("m", profile="")).engine == "default"
