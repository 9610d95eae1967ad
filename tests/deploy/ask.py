"""Ask the deployed stack from outside, as a client on the host does.

python tests/deploy/ask.py GRPC_ADDRESS HTTP_ADDRESS
"""

import sys
import urllib.request

import numpy as np
import strata_client
from sklearn.datasets import load_digits

ROWS = 100


def main(grpc_address: str, http_address: str) -> None:
    """Fail unless the server is ready, predicts digits, and answers activations of the right shape."""
    with urllib.request.urlopen(f"http://{http_address}/readyz", timeout=10) as answer:
        assert answer.status == 200
    data = load_digits()
    pixels = np.round(data.images[:ROWS] * 255 / 16).repeat(3, axis=1).repeat(3, axis=2)
    images = (np.pad(pixels, ((0, 0), (2, 2), (2, 2)))[..., np.newaxis] / 255).astype(np.float32)
    with strata_client.Client(grpc_address) as client:
        right = sum(
            row.label == str(digit) for row, digit in zip(client.predict(images), data.target[:ROWS], strict=True)
        )
        # Most were learned from; a network that did not learn gets about 10.
        assert right > 0.95 * ROWS, f"{right} of {ROWS} digits are right"
        conv1 = client.activations(images[:1], layers=["conv1"])["conv1"]
        assert conv1.shape == (1, 28, 28, 25)
    print(f"{right} of {ROWS} digits are right; conv1 is {conv1.shape}")


if __name__ == "__main__":
    main(*sys.argv[1:])
