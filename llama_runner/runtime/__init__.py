"""Running models on this machine: model files, the engine, and one supervised child per loaded model."""
