"""Run by the clients' own Python, which has nothing of Llama Runner: one JSON line a check on stdout."""

# mypy: ignore-errors
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import anthropic
import litellm
import lmstudio
import ollama
import openai
from langchain_ollama import ChatOllama, OllamaLLM
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

OPENAI, OLLAMA = os.environ["OPENAI_URL"], os.environ["OLLAMA_URL"]
SMOL, CODER, CALLER = "smol", "coder", "caller"
ASK = [{"role": "user", "content": "Say hi."}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SHORT = {"temperature": 0, "num_predict": 6}


class Number(BaseModel):
    """What a schema asks for."""

    n: int


CHECKS = {}


def check(function):
    """Remember a check by its name."""
    CHECKS[function.__name__] = function


@check
def openai_on_both_ports():
    for url in (OPENAI, OLLAMA):
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="any")
        chunks = list(client.chat.completions.create(model=SMOL, messages=ASK, max_tokens=6, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert client.responses.create(model=SMOL, input="Say hi.", max_output_tokens=6).output_text
        assert client.models.list().data
        parsed = client.chat.completions.parse(
            model=SMOL, messages=ASK, max_tokens=60, temperature=0, response_format=Number
        )
        assert isinstance(parsed.choices[0].message.parsed.n, int)
        client.chat.completions.create(model=CODER, messages=ASK, max_tokens=4, tools=[TOOL], temperature=0)


@check
def anthropic_on_both_ports():
    for url in (OPENAI, OLLAMA):
        client = anthropic.Anthropic(base_url=url, api_key="any")
        with client.messages.stream(model=SMOL, max_tokens=6, messages=ASK) as stream:
            assert "".join(stream.text_stream)
        assert client.messages.count_tokens(model=SMOL, messages=ASK).input_tokens > 5
        try:
            client.messages.create(model="nope", max_tokens=6, messages=ASK)
        except anthropic.NotFoundError as error:
            assert error.body["error"]["type"] == "not_found_error"
        else:
            raise AssertionError("no such model, and no error")


@check
def ollama_chats_lists_and_fills_in():
    client = ollama.Client(OLLAMA)
    for model in client.list().models:
        assert "completion" in client.show(model.model).capabilities
    assert client.chat(SMOL, ASK, options=SHORT).message.content
    assert "".join(part.message.content for part in client.chat(SMOL, ASK, stream=True, options=SHORT))
    whole = client.chat(SMOL, ASK, format=Number.model_json_schema(), options={**SHORT, "num_predict": 60})
    assert isinstance(Number.model_validate_json(whole.message.content).n, int)
    assert client.generate(CODER, "def f(", suffix="):", options=SHORT).response
    client.chat(CODER, ASK, tools=[TOOL], think=True, options=SHORT)
    assert client.ps().models


WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
QUESTION = {"role": "user", "content": "What is the weather in Paris?"}


@check
def anthropic_calls_a_tool_and_answers_with_its_result():
    """From a model here, in an own form, and from a server that knows only chat, where it thinks too."""
    tool = {"name": WEATHER["name"], "input_schema": WEATHER["parameters"], "description": "x"}
    for url in (OPENAI, OLLAMA):
        client = anthropic.Anthropic(base_url=url, api_key="any", max_retries=0)
        # Newer versions have no word for the temperature.
        greedy = {"temperature": 0}
        more = {"model": CALLER, "max_tokens": 80, "tools": [tool], "extra_body": greedy}
        with client.messages.stream(messages=[QUESTION], **more) as stream:
            first = stream.get_final_message()
        (call,) = [block for block in first.content if block.type == "tool_use"]
        assert (first.stop_reason, call.input) == ("tool_use", {"city": "Paris"})
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "Rain, 17 degrees."}
        back = [
            QUESTION,
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [result]},
        ]
        assert "17" in client.messages.create(messages=back, **more).content[0].text
        parsed = client.messages.parse(model=SMOL, max_tokens=60, messages=ASK, output_format=Number)
        assert isinstance(parsed.parsed_output.n, int)
        with client.messages.stream(model="far", max_tokens=80, messages=ASK) as stream:
            kinds = [event.type for event in stream]
            far = stream.get_final_message()
        assert kinds[-1] == "message_stop" and far.usage.output_tokens == 5
        assert [block.type for block in far.content] == ["thinking", "text", "tool_use"]
        assert far.content[2].input == {"zone": "UTC"}


@check
def openais_responses_from_a_server_that_knows_only_chat():
    client = openai.OpenAI(base_url=f"{OPENAI}/v1", api_key="any", max_retries=0)
    with client.responses.stream(model="far", input="x") as stream:
        kinds = [event.type for event in stream]
        answer = stream.get_final_response()
    assert (kinds[-1], answer.output_text) == ("response.completed", "w3 w4 ")
    assert [item.type for item in client.responses.create(model="far", input="x").output][
        2
    ] == "function_call"


@check
def others_call_a_tool():
    asked = ollama.Client(OLLAMA).chat(
        CALLER, [QUESTION], tools=[{"type": "function", "function": WEATHER}], options={"temperature": 0}
    )
    assert asked.message.tool_calls[0].function.arguments == {"city": "Paris"}
    tool = {"type": "function", "function": WEATHER}
    for chat in (
        ChatOllama(model=CALLER, base_url=OLLAMA, temperature=0),
        ChatOpenAI(model=CALLER, base_url=f"{OPENAI}/v1", api_key="any", temperature=0),
        ChatOpenAI(
            model=CALLER, base_url=f"{OPENAI}/v1", api_key="any", temperature=0, use_responses_api=True
        ),
    ):
        (call,) = chat.bind_tools([tool]).invoke(QUESTION["content"]).tool_calls
        assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})


@check
def langchain():
    chat = ChatOllama(model=SMOL, base_url=OLLAMA, num_predict=6, validate_model_on_init=True)
    assert chat.invoke("Say hi.").usage_metadata["output_tokens"] == 6
    assert "".join(part.content for part in chat.stream("Say hi."))
    asked = ChatOllama(model=SMOL, base_url=OLLAMA, num_predict=60, temperature=0)
    assert isinstance(asked.with_structured_output(Number, method="json_schema").invoke("A number.").n, int)
    assert OllamaLLM(model=SMOL, base_url=OLLAMA, num_predict=6).invoke("The sky is")
    plain = ChatOpenAI(model=SMOL, base_url=f"{OPENAI}/v1", api_key="any", max_tokens=6)
    assert plain.invoke("Say hi.").usage_metadata["output_tokens"] == 6


@check
def litellm_each_way():
    more = {"messages": ASK, "max_tokens": 6, "api_key": "any"}
    for name, base in (
        (f"ollama_chat/{SMOL}", OLLAMA),
        (f"ollama/{SMOL}", OLLAMA),
        (f"lm_studio/{SMOL}", f"{OPENAI}/v1"),
        (f"openai/{SMOL}", f"{OPENAI}/v1"),
        (f"anthropic/{SMOL}", OPENAI),
    ):
        assert litellm.completion(model=name, api_base=base, **more).choices[0].message.content, name


@check
def llm_with_its_ollama_plugin():
    llm = Path(sys.executable).with_name("llm")
    env = {**os.environ, "OLLAMA_HOST": OLLAMA, "LLM_USER_PATH": os.environ.get("TMPDIR", "/tmp") + "/llm"}
    argv = [llm, "-m", SMOL, "-o", "num_predict", "6", "Say hi."]
    done = subprocess.run(
        argv, env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.stdout.strip(), done.stderr


@check
def lmstudio_says_that_it_needs_the_real_one():
    """Its WebSocket is not there; it must end with an error, not wait."""
    try:
        lmstudio.Client(OPENAI.removeprefix("http://")).list_loaded_models()
    except lmstudio.LMStudioError:
        return
    raise AssertionError("it reached what is not there")


def main():
    """Run all, and go on after one that fails."""
    warnings.simplefilter("ignore")
    for name, function in CHECKS.items():
        fault = ""
        try:
            function()
        except Exception as error:  # noqa: BLE001  # a check's edge: every fault is told, by its name
            fault = f"{type(error).__name__}: {error}"[:500]
        sys.stdout.write(json.dumps({"check": name, "fault": fault}) + "\n")


if __name__ == "__main__":
    main()
