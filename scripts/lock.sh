# Renews the hashed requirements: versions from pyproject.toml, for the oldest Python we support.
set -eu
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet --disable-pip-version-check 'uv>=0.13,<0.14'
lock() {
    output=$1
    shift
    # No addresses: which registry is used is the machine's matter.
    "$tools/bin/uv" pip compile --quiet --upgrade --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-header --output-file "$output" "$@"
}
lock requirements/runtime.txt pyproject.toml
lock requirements/dev.txt pyproject.toml --group dev
lock requirements/build.txt --group build
