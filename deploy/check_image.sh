#!/usr/bin/env bash
# Build the container image without a container engine, serve from it, and ask it for a picture from outside.
# Needs root, buildah and debootstrap, the network, and .venv (make image-check sees to that).
# DEBIAN_MIRROR, PIP_INDEX_URL: mirrors, if any. Everything is made in a directory that is removed at the end.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in buildah debootstrap; do
    command -v "$tool" >/dev/null || { echo "image check needs $tool" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "image check needs root" >&2; exit 1; }

export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
work=$(mktemp -d)
server=""

finish() {
    [ -z "$server" ] || kill "$(innermost "$server")" 2>/dev/null || true
    wait
    b rm --all >/dev/null 2>&1 || true
    rm -rf "$work"
}

b() { buildah --root "$work/storage" --runroot "$work/run" "$@"; }

# The process that the container runs, below those of buildah.
innermost() {
    local child
    child=$(pgrep -P "$1" | head -n 1) || true
    if [ -n "$child" ]; then innermost "$child"; else echo "$1"; fi
}

free_port() { .venv/bin/python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# The words of an instruction in exec form, one a line.
configured() { b inspect --type image unitscope:check | .venv/bin/python -c "
import json, sys
print(*json.load(sys.stdin)['Docker']['config'].get('$1') or [], sep='\n')"; }

trap finish EXIT

echo "== a base of Debian with Python"
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$work/base" \
    ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$work/debootstrap.log" || { tail "$work/debootstrap.log" >&2; exit 1; }
cp /etc/ssl/certs/ca-certificates.crt "$work/base/etc/ssl/certs/ca-certificates.crt" # it trusts what this machine trusts
base=$(b from scratch)
b add --quiet "$base" "$work/base" / >/dev/null
b commit --quiet "$base" base:check >/dev/null
b rm "$base" >/dev/null
rm -rf "$work/base"

echo "== the image"
b build --quiet --format docker --pull=never --build-arg BASE_IMAGE=localhost/base:check \
    ${PIP_INDEX_URL:+--build-arg PIP_INDEX_URL="$PIP_INDEX_URL"} --tag unitscope:check . >/dev/null
container=$(b from --pull=never localhost/unitscope:check)
[ "$(b run "$container" -- id -u)" = 10001 ] || { echo "it does not run as user 10001" >&2; exit 1; }

echo "== its server"
grpc_port=$(free_port)
http_port=$(free_port)
mapfile -t command < <(configured Entrypoint; configured Cmd)
echo "${command[*]}"
b run --env UNITSCOPE_GRPC_PORT="$grpc_port" --env UNITSCOPE_HTTP_PORT="$http_port" \
    "$container" -- "${command[@]}" >"$work/server.log" 2>&1 &
server=$!
tries=0
until .venv/bin/unitscope health --server "127.0.0.1:$grpc_port" >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" = 60 ] || ! kill -0 "$server"; then
        cat "$work/server.log" >&2
        exit 1
    fi
    sleep 0.5
done

echo "== health from inside, a picture from outside"
b run "$container" -- unitscope health --server "127.0.0.1:$grpc_port"
.venv/bin/unitscope maximize --server "127.0.0.1:$grpc_port" --unit zebra --steps 8 --seed 0 \
    --out "$work/zebra.png" --json >"$work/answer.json"
[ "$(head -c 8 "$work/zebra.png" | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ] || { echo "no PNG came" >&2; exit 1; }

echo "== it stops on SIGTERM"
kill -TERM "$(innermost "$server")"
wait "$server" || { echo "it ended with status $?" >&2; cat "$work/server.log" >&2; exit 1; }
server=""
grep -q stopped "$work/server.log"
echo "the image works"
