"""The command strata: one module for each of its commands."""

import sys

try:
    from strata_client.cli.commands import main
except ModuleNotFoundError as error:
    if error.name != "click":
        raise
    sys.exit("strata: click is not installed: pip install 'strata-client[cli]'")

__all__ = ["main"]
