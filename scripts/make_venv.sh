#!/bin/sh
# Make a virtual environment in $1 with a Python that is new enough, or say plainly what is missing.
set -eu

found=""
for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
    version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    if ! "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        found="$found $candidate ($version)"
    elif ! "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
        found="$found $candidate ($version, without the venv module)"
    else
        exec "$candidate" -m venv "$1"
    fi
done
echo "unitscope needs Python 3.11 or newer with its venv module (Debian, Ubuntu: python3-venv);" \
    "found:${found:- no Python at all}" >&2
exit 1
