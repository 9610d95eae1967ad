"""The strata.v1 protocol: generated messages (`*_pb2`) and gRPC stubs (`*_pb2_grpc`)."""
