"""The Open Inference Protocol with Triton's extensions: its messages, and what answers them over any transport."""
