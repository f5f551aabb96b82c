# Runs pytest over everything, after making sure that the programs of the real servers are there.
# Where they are not and cannot be installed, the whole run happens in a container, as root: tests
# that kill servers need the servers' processes beside them.
set -eu
cd "$(dirname "$0")/.."
exec 3>&1
if [ $# -eq 0 ]; then
    # Two for each core: half of the time tests wait. A file goes to one worker: its tests share what they start.
    workers=$((2 * $(nproc)))
    set -- -n "$((workers < 8 ? workers : 8))" --dist loadfile --no-loadscope-reorder
fi
if said=$(.venv/bin/python -m tests.support.services_programs 2>&1 >&3); then
    exec .venv/bin/python -m pytest "$@"
fi
if command -v docker >/dev/null && docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1; then
    echo "running the tests in a container, since: $said" >&2
    exec docker compose --file tests/compose.yaml run --rm tests
fi
echo "$said" >&2
exit 69
