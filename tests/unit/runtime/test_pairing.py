from dataclasses import replace
from pathlib import Path

import pytest

from llama_runner.runtime.gguf import GgufHeader
from llama_runner.runtime.pairing import (
    Companion,
    Subject,
    adapters_for,
    one_family,
    projector_for,
)

PLAIN = GgufHeader(
    architecture="llama",
    name=None,
    quantization=None,
    context_length=None,
    block_count=None,
    embedding_length=None,
    n_tensors=1,
    chat_template_sha256=None,
    file_size_bytes=1,
)
FOLDER = Path("/m")


def _model(
    stem: str, *, name: str | None = None, folder: Path = FOLDER, architecture: str = "llama"
) -> Subject:
    return Subject(folder / f"{stem}.gguf", stem, replace(PLAIN, name=name, architecture=architecture))


def _projector(stem: str, *, name: str | None = None, quantization: str | None = "F16") -> Companion:
    header = replace(PLAIN, name=name, quantization=quantization, kind="mmproj", architecture="clip")
    return Companion(FOLDER / f"{stem}.gguf", header)


def _adapter(stem: str, *, folder: Path = FOLDER, base: str | None = None, arch: str = "llama") -> Companion:
    header = replace(PLAIN, kind="adapter", architecture=arch, base_model=base)
    return Companion(folder / f"{stem}.gguf", header)


@pytest.mark.parametrize(
    ("model", "projector"),
    [
        ("Qwen2.5-VL-7B-Instruct-Q4_K_M", "mmproj-Qwen2.5-VL-7B-Instruct-f16"),
        ("google_gemma-3-4b-it-IQ2_XXS", "mmproj-google_gemma-3-4b-it-bf16"),
        ("gemma-3-4b-it-UD-Q4_K_XL", "gemma-3-4b-it.mmproj-Q8_0"),
        ("SmolVLM-500M-Instruct-Q8_0", "mmproj-SmolVLM-500M-Instruct-Q8_0"),
        ("Thing.i1-IQ1_S", "Thing-mmproj"),
        ("gpt-vision-mxfp4_moe", "mmproj-gpt-vision-F32"),
    ],
)
def test_a_projector_named_after_its_model_goes_with_it_among_others(model: str, projector: str) -> None:
    found = projector_for(_model(model), [_projector("mmproj-other"), _projector(projector)], alone=False)
    assert found is not None
    assert found.path.stem == projector


@pytest.mark.parametrize(
    ("model", "projector"),
    [
        ("Qwen2.5-VL-32B-Instruct-Q4_K_M", "mmproj-Qwen2.5-VL-3B-Instruct-f16"),
        ("phi-1-Q8_0", "mmproj-phi-3-f16"),
        ("Mistral-7B-Q4_0", "mmproj-model-f16"),
        ("Mistral-7B-Q4_0", "mmproj-F16"),
    ],
)
def test_in_doubt_there_is_none(model: str, projector: str) -> None:
    assert projector_for(_model(model), [_projector(projector)], alone=False) is None


@pytest.mark.parametrize("name", ["mmproj-F16", "mmproj-model-f16", "mmproj"])
def test_a_projector_without_a_name_goes_with_the_only_model_of_its_folder(name: str) -> None:
    assert projector_for(_model("Tiny-Q4_0"), [_projector(name)], alone=True) is not None


def test_a_projector_named_after_another_model_goes_with_none() -> None:
    assert projector_for(_model("Tiny-Q4_0"), [_projector("mmproj-Other-f16")], alone=True) is None


def test_equal_names_inside_are_enough() -> None:
    model = _model("renamed", name="Tiny VL 1B")
    assert projector_for(model, [_projector("eyes", name="tiny-vl-1b")], alone=False) is not None


def test_of_several_the_one_in_sixteen_bits_is_taken() -> None:
    kinds = {"mmproj-F32": "F32", "mmproj-Q8_0": "Q8_0", "mmproj-BF16": "BF16", "mmproj-F16": "F16"}
    found = [_projector(stem, quantization=kind) for stem, kind in kinds.items()]
    for expected in ("mmproj-F16", "mmproj-BF16", "mmproj-Q8_0", "mmproj-F32"):
        taken = projector_for(_model("Tiny-Q4_0"), found, alone=True)
        assert taken is not None
        assert taken.path.stem == expected
        found.remove(taken)


def test_a_model_for_embeddings_sees_nothing() -> None:
    model = _model("Tiny-Q4_0")
    embedding = replace(model, header=replace(model.header, capabilities=("embedding",)))
    assert projector_for(embedding, [_projector("mmproj-F16")], alone=True) is None


@pytest.mark.parametrize(
    ("stems", "one"),
    [
        (["Tiny-Q4_0", "Tiny-Q8_0", "Tiny.i1-IQ3_XXS", "Tiny-UD-Q4_K_XL", "Tiny-f16"], True),
        (["Tiny-Q4_0", "Other-Q4_0"], False),
        (["phi-1", "phi-3"], False),
        ([], False),
    ],
)
def test_one_model_stored_in_several_ways_is_one_family(stems: list[str], one: bool) -> None:
    assert one_family(stems) is one


def test_adapters_beside_a_model_of_their_kind_can_be_applied() -> None:
    adapters = [_adapter("style"), _adapter("other", arch="qwen2"), _adapter("far", folder=Path("/x"))]
    assert [one.path.stem for one in adapters_for(_model("Tiny-Q4_0"), adapters)] == ["style"]


@pytest.mark.parametrize("base", ["Tiny 1B", "tiny_1b", "Tiny-1B"])
def test_adapters_elsewhere_can_be_applied_when_they_name_the_model(base: str) -> None:
    adapters = [_adapter("style", folder=Path("/loras"), base=base)]
    assert len(adapters_for(_model("Tiny-1B-Q4_0"), adapters)) == 1
    assert len(adapters_for(_model("x", name="Tiny 1B"), adapters)) == 1
    assert adapters_for(_model("Tiny-1B-Q4_0", architecture="qwen2"), adapters) == ()
    assert adapters_for(_model("Tiny-7B-Q4_0"), adapters) == ()
