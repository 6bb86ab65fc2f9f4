"""The OpenAI, LM Studio and Ollama dialects that other programs reach local models by."""
