from llama_runner.core.consistency import inconsistencies
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.settings import AppConfig, ModelEntry, ModelsConfig, NamedEngine, RuntimeSettings
from llama_runner.core.validation import MAX_PROBLEMS, Severity


def entry(**more: object) -> ModelEntry:
    return ModelEntry(path="m.gguf", **more)  # type: ignore[arg-type]


def keys(runtime: RuntimeSettings, **models: ModelEntry) -> list[str]:
    found = inconsistencies(AppConfig(runtime=runtime), ModelsConfig(models=models))
    assert all(one.severity is Severity.WARNING and one.hint.endswith(".") for one in found)
    return [one.key for one in found]


def test_what_names_something_that_is_there_is_in_order() -> None:
    runtime = RuntimeSettings(engine="ik", engines={"ik": NamedEngine()}, rpc_workers=("box:1",))
    profiles = {"p": LoadOptions(engine="ik", rpc_workers=("box:1",)), "q": LoadOptions(engine="demo")}
    assert keys(runtime, m=entry(profiles=profiles, default_profile="p")) == []
    assert keys(RuntimeSettings(engine="default")) == []
    assert keys(RuntimeSettings()) == []


def test_names_that_lead_nowhere_are_told_with_their_place() -> None:
    """C8: an entry that names what is not there loads, and is told."""
    model = entry(
        default_profile="gone",
        parameters=LoadOptions(engine="ik"),
        profiles={"p": LoadOptions(engine="new", rpc_workers=("box:1", "box:2"))},
    )
    runtime = RuntimeSettings(engine="old", rpc_workers=("box:1",))
    assert keys(runtime, m=model) == [
        "runtime.engine",
        "models.m.default_profile",
        "models.m.parameters.engine",
        "models.m.profiles.p.engine",
        "models.m.profiles.p.rpc_workers",
    ]


def test_engines_that_nobody_could_choose_are_told() -> None:
    engines = {name: NamedEngine() for name in ("default", "a b", "fine")}
    assert keys(RuntimeSettings(engines=engines)) == ["runtime.engines.default", "runtime.engines.a b"]


def test_there_is_an_end_to_it() -> None:
    models = {str(number): entry(default_profile="gone") for number in range(MAX_PROBLEMS + 5)}
    assert len(keys(RuntimeSettings(), **models)) == MAX_PROBLEMS
