#!/usr/bin/env bash
# What `make demo` runs: each command as a user types it, in the folder demo/, which it makes anew.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf demo
mkdir demo

say() {
  printf '\n\033[1m$ %s\033[0m\n' "$*"
  "$@"
}

say cd demo
say strata-train fit --data digits --network cnn --run digits
say strata-train export --from digits --model digits --models models

printf '\n\033[1m$ strata-server --models models\033[0m\n'
# Free ports, so that the demo runs beside whatever runs already; the first line says which.
exec 3< <(exec strata-server --models models --grpc-port 0 --http-port 0 2>server.log)
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true' EXIT
if ! read -r -t 60 ready <&3; then
  cat server.log >&2
  exit 1
fi
echo "$ready"
STRATA_SERVER=$(sed -E 's/.*grpc ([^,]+),.*/\1/' <<<"$ready")
export STRATA_SERVER

say strata models
say strata layers digits
say strata predict runs/digits/samples/7.png runs/digits/samples/2.png
say strata activations runs/digits/samples/7.png --layers conv1,pool1,conv2,pool2,dense1,predictions \
  --save activations.npz --plot activations.png
