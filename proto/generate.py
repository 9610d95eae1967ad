"""Generate the messages, services and typed stubs from the .proto files.

python proto/generate.py            writes them beside the .proto files
python proto/generate.py --check    exits 1, naming them, if the committed ones are stale
"""

import argparse
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

WORKSPACE = Path(__file__).resolve().parent.parent

# Each root is what `import` paths in its files are relative to, as Python's are: no import is rewritten.
STRATA = (WORKSPACE / "proto", "strata/v1/*.proto")
OPEN_INFERENCE = (WORKSPACE / "server", "strata_server/rpc/open_inference/*.proto")
CONFIGURATION = (WORKSPACE / "server", "strata_server/configuration/*.proto")

# Triton's and the Open Inference messages are registered in a pool of their own, strata_server/configuration/pool.py
# says why.
DEFAULT_POOL = "from google.protobuf import descriptor_pool as _descriptor_pool"
OWN_POOL = "from strata_server.configuration import pool as _descriptor_pool"


def main(argv: list[str] | None = None) -> int:
    """Write the generated files, or compare them with the committed ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args(argv).check
    generated = generate(*STRATA, services=True)
    for sources in (CONFIGURATION, OPEN_INFERENCE):
        generated |= own_pool(generate(*sources, services=False))
    stale = [path for path, text in generated.items() if not path.exists() or path.read_text() != text]
    stale += sorted(set(committed()) - set(generated))
    if not check:
        for path in stale:
            if path in generated:
                path.write_text(generated[path])
            else:
                path.unlink()
    elif stale:
        names = ", ".join(str(path.relative_to(WORKSPACE)) for path in stale)
        print(f"stale, run `make proto`: {names}", file=sys.stderr)
        return 1
    return 0


def generate(root: Path, pattern: str, *, services: bool) -> dict[Path, str]:
    """Return the text of each file that protoc generates, by the path where it belongs."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [f"--python_out={folder}", f"--pyi_out={folder}"]
        if services:
            plugin = Path(sys.executable).with_name("protoc-gen-mypy_grpc")
            arguments += [
                f"--grpc_python_out={folder}",
                f"--plugin={plugin}",
                f"--mypy_grpc_out=quiet:{folder}",
            ]
        protos = [str(path) for path in sorted(root.glob(pattern))]
        well_known = str(files("grpc_tools") / "_proto")
        if protoc.main(["protoc", f"-I{root}", f"-I{well_known}", *arguments, *protos]) != 0:
            sys.exit("protoc failed")
        written = {root / path.relative_to(folder): path.read_text() for path in Path(folder).rglob("*.py*")}
        return {path: text for path, text in written.items() if "_pb2_grpc" not in path.name or "Stub" in text}


def own_pool(generated: dict[Path, str]) -> dict[Path, str]:
    """Return the same files with their messages in a descriptor pool of their own."""
    modules = [path for path in generated if path.suffix == ".py"]
    for path in modules:
        if generated[path].count(DEFAULT_POOL) != 1:
            sys.exit(f"{path.name}: protoc writes {DEFAULT_POOL} no longer once; see own_pool in {__file__}")
    return {path: text.replace(DEFAULT_POOL, OWN_POOL) for path, text in generated.items()}


def committed() -> list[Path]:
    """Return the generated files that stand in the workspace."""
    folders = [root / Path(pattern).parent for root, pattern in (STRATA, CONFIGURATION, OPEN_INFERENCE)]
    return [path for folder in folders for path in folder.glob("*_pb2*.py*")]


if __name__ == "__main__":
    sys.exit(main())
