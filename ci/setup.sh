# Sets up what ci/demo and ci/test need on a Debian 12 machine; sourced by them. Run again, it only looks.
# Leaves the virtual environment first in PATH.

set -eu
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$top/.venv

say() { printf '%s\n' "-- $*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "ci: '$*' needs root, and there is no sudo; run it as root once" >&2
        return 1
    fi
}

# need_packages NAME...: install the Debian packages that are not there yet
need_packages() {
    local missing=()
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null)" = "ii " ] || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    say "installing Debian packages: ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update >/dev/null
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends \
        "${missing[@]}" >"$top/.apt.log" 2>&1 || { tail -n 20 "$top/.apt.log" >&2; return 1; }
}

need_packages git ca-certificates python3-venv perl git-email libmailtools-perl

# The environment is made anew when the dependencies change.
stamp=$(sha256sum <"$top/pyproject.toml" | cut -d' ' -f1)
if [ "$(cat "$venv/stamp" 2>/dev/null)" != "$stamp" ]; then
    say "making the virtual environment .venv"
    rm -rf "$venv"
    python=$(command -v python3)
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || python=/usr/bin/python3
    "$python" -m venv "$venv"
    "$venv/bin/pip" -q --disable-pip-version-check install -e "$top[dev]"
    echo "$stamp" >"$venv/stamp"
fi
PATH=$venv/bin:$PATH

# The compiler and libraries that the era data names, and firmware: repacked sources have none.
# shellcheck disable=SC2046
need_packages $(patchgen build --packages) seabios qemu-system-data

# Some environments keep Python from writing what it compiled; starting would take twice as long.
python -m compileall -q "$top/patchgen"

# Commits are made by whoever runs the tool; these scripts need no configured identity.
export GIT_AUTHOR_NAME=${GIT_AUTHOR_NAME:-patchgen demo} GIT_AUTHOR_EMAIL=${GIT_AUTHOR_EMAIL:-demo@example.org}
export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
