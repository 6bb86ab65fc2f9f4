// Run by Node.js beside the clients' modules: one JSON line a check on stdout.
import Anthropic from "@anthropic-ai/sdk";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, streamText } from "ai";
import { createOllama as sdkOllama } from "ai-sdk-ollama";
import { Ollama } from "ollama";
import { createOllama as providerV2 } from "ollama-ai-provider-v2";
import OpenAI from "openai";
import { z } from "zod";

const { OPENAI_URL, OLLAMA_URL } = process.env;
const SMOL = "smol";
const ASK = [{ role: "user", content: "Say hi." }];
const options = { temperature: 0, num_predict: 6 };

function must(condition, told) {
  if (!condition) throw new Error(told ?? "nothing came");
}

async function both(model) {
  const whole = await generateText({ model, prompt: "Say hi.", maxOutputTokens: 6 });
  must(whole.text && whole.usage.outputTokens);
  let text = "";
  const streamed = streamText({ model, prompt: "Say hi.", maxOutputTokens: 6 });
  for await (const part of streamed.textStream) text += part;
  must(text && (await streamed.usage).outputTokens);
}

async function object(model) {
  const output = Output.object({ schema: z.object({ n: z.number().int() }) });
  const answer = await generateText({ model, prompt: "A number.", temperature: 0, maxOutputTokens: 60, output });
  must(Number.isInteger(answer.output.n));
}

const checks = {
  async ollama() {
    const client = new Ollama({ host: OLLAMA_URL });
    must((await client.list()).models.some((model) => model.name === "smol:latest"));
    must((await client.show({ model: SMOL })).capabilities.includes("completion"));
    must((await client.chat({ model: SMOL, messages: ASK, options })).message.content);
    must((await client.generate({ model: "coder", prompt: "def f(", suffix: "):", options })).response);
    let pieces = 0;
    const stream = await client.chat({ model: SMOL, messages: ASK, stream: true });
    try {
      for await (const _ of stream) if (++pieces === 3) stream.abort();
    } catch (error) {
      must(error.name === "AbortError", error.message);
    }
    const missing = await client.chat({ model: "nope", messages: ASK }).catch((error) => error);
    must(missing.status_code === 404 && missing.message.includes("'nope' not found"), missing.message);
  },
  async openai() {
    const client = new OpenAI({ baseURL: `${OPENAI_URL}/v1`, apiKey: "any", maxRetries: 0 });
    const more = { model: SMOL, messages: ASK, max_tokens: 6, stream_options: { include_usage: true } };
    must((await client.chat.completions.stream(more).finalChatCompletion()).usage.completion_tokens === 6);
    const kinds = new Set();
    for await (const event of await client.responses.create({ model: SMOL, input: "hi", max_output_tokens: 6, stream: true }))
      kinds.add(event.type);
    must(kinds.has("response.completed"), [...kinds].join());
  },
  async anthropic() {
    const client = new Anthropic({ baseURL: OPENAI_URL, apiKey: "any", maxRetries: 0 });
    const message = await client.messages.stream({ model: SMOL, max_tokens: 6, messages: ASK }).finalMessage();
    must(message.content[0].text);
  },
  async ai_openai_compatible() {
    await both(createOpenAICompatible({ name: "lr", baseURL: `${OPENAI_URL}/v1`, includeUsage: true })(SMOL));
  },
  async ai_sdk_ollama() {
    const model = sdkOllama({ baseURL: OLLAMA_URL })(SMOL);
    await both(model);
    await object(model);
  },
  async ollama_ai_provider_v2() {
    await object(providerV2({ baseURL: `${OLLAMA_URL}/api` })(SMOL));
  },
};

for (const [check, run] of Object.entries(checks)) {
  let fault = "";
  try {
    await run();
  } catch (error) {
    fault = `${error.name}: ${error.message}`.slice(0, 500);
  }
  console.log(`{"check": ${JSON.stringify(check)}, "fault": ${JSON.stringify(fault)}}`);
}
