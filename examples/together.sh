#!/usr/bin/env bash
# One of the examples with three sites on this machine, against the server at $URL: together.sh EXAMPLE
#
# Registers an actor and three sites, runs EXAMPLE/site.py for each site and EXAMPLE/actor.py for the actor.
set -euo pipefail
example=$(cd "$(dirname "$0")/$1" && pwd)
folder=$(mktemp -d)
cd "$folder"
started=()
trap 'kill "${started[@]}" 2> /dev/null || true; rm -rf "$folder"' EXIT

export STARLING_CLIENT_URL=$URL
password=$(head -c 24 /dev/urandom | base64)
# A user name is taken for good: the time tells two runs apart.
run=$1-$(date +%s)
register() { STARLING_CLIENT_PASSWORD=$password starling-client register "$run-$1"; }

actor=$(register actor)
for site in 0 1 2; do
    token=$(register "site-$site")
    STARLING_CLIENT_TOKEN=$token starling-client join "$example/site.py" "$site" 3 > "site-$site.log" &
    started+=($!)
done
STARLING_CLIENT_TOKEN=$actor python "$example/actor.py" "$run-site-0" "$run-site-1" "$run-site-2" &
started+=($!)
# The first that fails ends all: without a site the actor would wait for ever.
for _ in "${started[@]}"; do
    wait -n
done
for site in 0 1 2; do
    tail -n 1 "site-$site.log"
done
