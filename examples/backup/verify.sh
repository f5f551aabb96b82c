#!/bin/sh
# Fails when a file of the dump differs from its checksum, is missing, or has none.
set -eu
cd "$DUMP"
sha256sum --check --strict --quiet SHA256SUMS
listed=$(wc -l <SHA256SUMS)
found=$(find data -type f -printf x | wc -c)
if [ "$listed" -ne "$found" ]; then
    echo "$found files, $listed checksums" >&2
    exit 1
fi
printf '{"checked": %d}' "$listed" >"$SCHEDULER_RESULT"
