"""The command strata: one module for each of its commands."""

import os
import sys

# gRPC reads this when it is imported. Its own log would stand beside the one line that says what is wrong.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

try:
    from strata_client.cli.commands import main
except ModuleNotFoundError as error:
    if error.name != "click":
        raise
    sys.exit("strata: click is not installed: pip install 'strata-client[cli]'")

__all__ = ["main"]
