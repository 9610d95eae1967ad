"""The gRPC side: what comes in is converted, given to the engine, and what it answers converted back."""
