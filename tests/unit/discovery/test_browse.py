"""Which services of a network are worth a look. Browsing itself is in `tests/integration`."""

import pytest

from llama_runner.discovery.browse import MODEL_TYPES, WEB_TYPE, Offer, browse, may_be_meant


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_every_service_of_a_model_type_is_looked_at_whatever_its_name(kind: str) -> None:
    assert may_be_meant(kind, f"\u202e anything {kind}")


@pytest.mark.parametrize("name", ["My Ollama", "llama.cpp on box", "LM Studio (mac)", "vLLM", "KoboldCpp"])
def test_web_services_are_looked_at_when_their_name_says_so(name: str) -> None:
    assert may_be_meant(WEB_TYPE, f"{name}.{WEB_TYPE}")


@pytest.mark.parametrize("name", ["HP LaserJet", "router", "", "_http", "camera\x00"])
def test_printers_and_routers_are_left_alone(name: str) -> None:
    assert not may_be_meant(WEB_TYPE, f"{name}.{WEB_TYPE}")


async def test_nobody_is_asked_without_an_interface() -> None:
    offers: list[Offer] = []

    assert await browse((), seconds=60, on_offer=offers.append) is None
    assert offers == []


# The library forgets the socket it had made until then; it is closed when nothing holds it any more.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
async def test_an_interface_that_is_none_is_a_problem_told_in_a_sentence() -> None:
    problem = await browse(("192.0.2.77",), seconds=60, on_offer=lambda offer: None)

    assert problem is not None
    assert problem.startswith("The networks could not be asked by mDNS: ")
