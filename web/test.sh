#!/bin/sh
# Test the page: `make web-test`. Needs the project's Python environment, Node.js and npm, and Chromium.
set -eu
project=$(cd "$(dirname "$0")/.." && pwd)
sh "$project/web/install.sh"

CXR_KD_WEB_FIXTURES=$project/web/.fixtures
export CXR_KD_WEB_FIXTURES
rm -rf "$CXR_KD_WEB_FIXTURES"
python "$project/web/tests/make_fixtures.py" "$CXR_KD_WEB_FIXTURES"
npm test --prefix "$project/web"
