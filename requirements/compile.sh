#!/usr/bin/env bash
# Write the hashed requirement files into FOLDER (default: this one), keeping the versions that stand in them already.
# Only a changed pyproject.toml, or `make upgrade`, changes them.
#
#   requirements/compile.sh [FOLDER] [extra arguments for uv]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-requirements}
shift || true

compile() {
  local name=$1
  shift
  "${UV:-uv}" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
    --no-emit-find-links --custom-compile-command "make lock" --output-file "$folder/$name.txt" \
    --no-emit-package strata-proto --no-emit-package strata-server \
    --no-emit-package strata-training --no-emit-package strata-client "$@"
}

# The development environment holds everything; the others take their versions from it, so that what is tested is what is installed.
compile dev --group dev pyproject.toml "$@"
for part in server training; do
  compile "$part" "$part/pyproject.toml" --constraints "$folder/dev.txt"
done
compile client client/pyproject.toml --all-extras --constraints "$folder/dev.txt"
compile build requirements/build.in --constraints "$folder/dev.txt"
compile uv requirements/uv.in "$@"
