"""The HTTP side: health for those who do not speak gRPC."""
