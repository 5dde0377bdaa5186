#!/bin/sh
# system_packages.sh PACKAGE...: have the Debian packages installed where that is possible. Where it is not, say which
# are missing and succeed: whoever needs one says what cannot be done without it.
set -eu
missing=
for package in "$@"; do
    case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true) in
        *"ok installed") ;;
        *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing$missing" >&2
    export DEBIAN_FRONTEND=noninteractive
    install="apt-get install -qq -y --no-install-recommends $missing"
    # The lists of a fresh machine are empty or old.
    if $install >/dev/null 2>&1 || { apt-get update -qq && $install; } >/dev/null; then
        exit 0
    fi
fi
echo "not installed:$missing (as root: apt-get install$missing)" >&2
