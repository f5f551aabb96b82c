# Makes .venv what requirements/dev.txt and pyproject.toml say, or does nothing when it is.
# One that was left half made (the mark below is still there) is made anew.
set -eu
cd "$(dirname "$0")/.."
mark=.venv/.unfinished
stamp=.venv/.made-from

exec 9<.
flock 9

wanted=$(cat requirements/dev.txt pyproject.toml | sha256sum)
if [ -x .venv/bin/scheduler ] && [ ! -e "$mark" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$PWD $wanted" ]; then
    exit 0
fi

fits() {
    command -v "$1" >/dev/null && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}
for python in python3.11 python3 python3.12 python3.13 python3.14 none; do
    if fits "$python"; then break; fi
done
if [ "$python" = none ]; then
    echo "Python 3.11 or newer is missing; on Debian, as root: apt-get install python3.11-venv" >&2
    exit 69
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing $package" >&2
        apt-get update -q >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$package" >&2
    else
        echo "Python's venv module is missing; on Debian, as root: apt-get install $package" >&2
        exit 69
    fi
fi

# Half made, of a checkout that was elsewhere, or with a python that is gone: it cannot be mended.
if [ -e "$mark" ] || ! grep -qsF "$PWD/.venv" .venv/pyvenv.cfg || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    rm -rf .venv
    mkdir .venv
    : >"$mark"
    "$python" -m venv .venv
fi
: >"$mark"
echo "installing requirements/dev.txt into .venv" >&2
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
echo "$PWD $wanted" >"$stamp"
rm "$mark"
