#!/bin/sh
# Installs the servers that the tests start themselves; does nothing where they are.
set -eu

missing=""
have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }
have inspircd || missing="$missing inspircd"
have ngircd || missing="$missing ngircd"
have redis-server || missing="$missing redis-server"
have chromium || missing="$missing chromium"
[ -n "$missing" ] || exit 0

as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
if command -v apt-get >/dev/null 2>&1 && { [ -z "$as_root" ] || command -v sudo >/dev/null 2>&1; }; then
    echo "Installing for the tests:$missing"
    # The tests start every server themselves: keep the packages from starting theirs.
    policy=/usr/sbin/policy-rc.d
    if [ -z "$as_root" ] && [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    $as_root apt-get update -qq
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing fonts-dejavu-core >/dev/null
else
    echo "The tests need these servers:$missing. Install them first (macOS: brew install inspircd ngircd redis chromium)." >&2
    exit 1
fi
