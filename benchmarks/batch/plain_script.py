"""What one writes in an hour: a thread pool, tritonclient, Pillow and pyarrow.

    python -m benchmarks.batch.plain_script HOST:PORT FOLDER OUT.parquet LAYER

It prints the seconds that it took, without its imports.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tritonclient.grpc as triton
from PIL import Image

BATCH = 64
THREADS = 8


def main() -> None:
    """Do it."""
    address, folder, out, layer = sys.argv[1:]
    start = time.perf_counter()
    client = triton.InferenceServerClient(address)
    files = sorted(Path(folder).rglob("*.png"))
    outputs = [triton.InferRequestedOutput(layer), triton.InferRequestedOutput("predictions")]

    def ask(batch: list[Path]) -> tuple[np.ndarray, np.ndarray]:
        pixels = np.stack([np.asarray(Image.open(path).convert("L")) for path in batch])
        entry = triton.InferInput("image", [len(batch), 28, 28, 1], "FP32")
        entry.set_data_from_numpy((pixels[..., None] / 255).astype(np.float32))
        answer = client.infer("digits", [entry], outputs=outputs)
        return answer.as_numpy(layer), answer.as_numpy("predictions")

    batches = [files[at : at + BATCH] for at in range(0, len(files), BATCH)]
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(ask, batches))
    features = np.concatenate([each for each, _ in answers])
    scores = np.concatenate([each for _, each in answers])
    table = pa.table(
        {
            "key": [str(path.relative_to(folder)) for path in files],
            "label": [str(each) for each in scores.argmax(axis=1)],
            "score": scores.max(axis=1),
            layer: pa.FixedShapeTensorArray.from_numpy_ndarray(features),
        }
    )
    pq.write_table(table, out)
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main()
