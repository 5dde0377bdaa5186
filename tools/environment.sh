#!/bin/sh
# environment.sh FOLDER: make a virtual environment with pip in FOLDER, with the Python named by $PYTHON, else the first
# on the PATH that is 3.11 or newer. Where Python's venv module is incomplete (Debian splits it off), root installs it.
set -eu
folder=$1

recent() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

choose() {
    for name in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3}; do
        if recent "$name"; then
            echo "$name"
            return
        fi
    done
    if [ -n "${PYTHON:-}" ]; then
        echo "edgevision needs Python 3.11 or newer, and $PYTHON is not; leave PYTHON out or name another" >&2
    else
        echo "edgevision needs Python 3.11 or newer, and there is none on the PATH (apt-get install python3)" >&2
    fi
    exit 1
}

create() {
    rm -rf "$folder"
    "$python" -m venv "$folder" && "$folder/bin/python" -m pip --version >/dev/null
}

python=$(choose)
create >/dev/null 2>&1 && exit
package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
sh "$(dirname "$0")/system_packages.sh" "$package"
create || {
    rm -rf "$folder"
    echo "$python cannot make a virtual environment; install $package (as root: apt-get install $package) and run make again" >&2
    exit 1
}
