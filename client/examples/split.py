"""Run the first half of a network on one server and the second half on another: split inference.

python split.py pictures/monday --layer pool2 --a localhost:8001 --b localhost:8021

Server A turns pictures into activations of a layer, B goes on from there. It prints what traveled to B, against the
pictures, and how far B's scores are from those of the whole network in A. With --half, float16 travels.
"""

import argparse
from pathlib import Path

import numpy as np
import strata_client


def main() -> None:
    """Run the first half of a network here and the second half there."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="PNG files")
    parser.add_argument("--a", default="localhost:8001", metavar="HOST:PORT", help="has the first half")
    parser.add_argument("--b", default="localhost:8021", metavar="HOST:PORT", help="has the second half")
    parser.add_argument("--model", default="", metavar="NAME[:VERSION]")
    parser.add_argument("--layer", default="pool2", help="where the network is cut")
    parser.add_argument("--half", action="store_true", help="round the activation to float16 on its way")
    asked = parser.parse_args()
    pictures = sorted(asked.folder.glob("*.png"))
    if not pictures:
        parser.error(f"{asked.folder}: expected a folder with PNG files; received none")
    with strata_client.Client(asked.a) as a, strata_client.Client(asked.b) as b:
        model = a.describe(asked.model)
        if b.describe(model.reference).digest != model.digest:
            parser.error(f"expected the same artifact of {model.reference} on A and B; received two")
        reduce = "half" if asked.half else "none"
        sent = a.activations(pictures, [asked.layer], model=model.reference, reduce=reduce)[asked.layer]
        entering = sent.astype(np.float32)  # an activation enters in its own type
        split = b.predict({asked.layer: entering}, model=model.reference)
        whole = a.predict(pictures, model=model.reference)
    same = sum(one.label == other.label for one, other in zip(split, whole, strict=True))
    apart = max(float(np.abs(split.outputs[name] - whole.outputs[name]).max()) for name in whole.outputs)
    print(f"pictures:   {sum(file.stat().st_size for file in pictures) // len(pictures):,} bytes each, as PNG files")
    print(f"activation: {sent.nbytes // len(pictures):,} bytes each, {asked.layer} as {sent.dtype}")
    print(f"labels:     {same} of {len(pictures)} are those of the whole network")
    print(f"scores:     at most {apart:.1e} apart")


if __name__ == "__main__":
    try:
        main()
    except (strata_client.StrataError, OSError) as error:
        raise SystemExit(str(error)) from error
