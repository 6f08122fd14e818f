#!/bin/sh
# Install the page's packages, as package-lock.json pins them, if they are not installed yet.
set -eu
cd "$(dirname "$0")"

for program in node npm; do
  command -v "$program" >/dev/null || {
    echo "The page is built with Node.js 20.19 or later and npm, but there is no \`$program\` here. Debian: apt-get install nodejs npm" >&2
    exit 1
  }
done
# npm writes this file at its end, with the date of the installation.
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci
