#!/usr/bin/env bash
# One of the examples with three sites on this machine, against the server at $URL: together.sh EXAMPLE
#
# Registers an actor and three sites, runs EXAMPLE/site.py for each site and EXAMPLE/actor.py for the actor.
set -euo pipefail
example=$(cd "$(dirname "$0")/$1" && pwd)
folder=$(mktemp -d)
cd "$folder"
sites=()
trap 'kill "${sites[@]}" 2> /dev/null || true; rm -rf "$folder"' EXIT

STARLING_CLIENT_PASSWORD=$(head -c 24 /dev/urandom | base64)
export STARLING_CLIENT_URL=$URL STARLING_CLIENT_PASSWORD
# A user name is taken for good: the time tells two runs apart.
run=$1-$(date +%s)
actor=$(starling-client register "$run-actor")
for site in 0 1 2; do
    token=$(starling-client register "$run-site-$site")
    STARLING_CLIENT_TOKEN=$token starling-client join "$example/site.py" "$site" 3 > "site-$site.log" &
    sites+=($!)
done
STARLING_CLIENT_TOKEN=$actor python "$example/actor.py" "$run-site-0" "$run-site-1" "$run-site-2"
for site in 0 1 2; do
    wait "${sites[$site]}"
    tail -n 1 "site-$site.log"
done
