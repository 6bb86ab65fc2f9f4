"""The desktop window. The only place that knows Qt; it shows what managers publish and computes no metric."""
