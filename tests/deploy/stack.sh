#!/usr/bin/env bash
# Bring the docker-compose stack up as a user does, ask it from outside, stop it, and take everything down again.
# Exits with 2 where there is no Docker engine. The images stay, as the next build's cache.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! docker info >/dev/null 2>&1; then
  echo "deploy-test: no Docker engine answers at ${DOCKER_HOST:-the default socket}" >&2
  exit 2
fi

export STRATA_GRPC_PORT=0 STRATA_HTTP_PORT=0 # published on free ports
compose=(docker compose --project-name "strata-deploy-test-$$" --file docker-compose.yml --file tests/deploy/compose.yml)

tear_down() {
  local status=$?
  if ((status != 0)); then
    "${compose[@]}" ps --all || true
    "${compose[@]}" logs --tail 50 || true
  fi
  "${compose[@]}" down --volumes --remove-orphans --timeout 5
  exit "$status"
}
trap tear_down EXIT

step() { printf '\n== %s\n' "$*"; }

step "build"
"${compose[@]}" build

step "the server's image holds no TensorFlow and does not run as root"
"${compose[@]}" run --rm --no-deps --entrypoint python server -c "
import importlib.util, os
assert importlib.util.find_spec('tensorflow') is None, 'TensorFlow is in the image'
assert os.getuid() != 0, 'it runs as root'
"

step "up"
"${compose[@]}" up --detach --wait

step "ask from outside"
.venv/bin/python tests/deploy/ask.py "$("${compose[@]}" port server 8001)" "$("${compose[@]}" port server 8000)"

step "ask from another container, over HTTP"
"${compose[@]}" run --rm --no-deps --entrypoint python server -c "
import urllib.request
for path in ('/v2/models/digits', '/metrics'):
    with urllib.request.urlopen('http://server:8000' + path, timeout=10) as answer:
        assert answer.status == 200 and b'digits' in answer.read(), path
"

step "a second start finds the model in the volume"
"${compose[@]}" up --detach --wait
"${compose[@]}" logs --no-log-prefix train | grep "the volume holds a model already"

step "a stop is clean"
"${compose[@]}" stop server
[[ $(docker inspect --format '{{.State.ExitCode}}' "$("${compose[@]}" ps --all --quiet server)") == 0 ]]

printf '\ndeploy-test: passed\n'
