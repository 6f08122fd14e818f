#!/bin/sh
# Build the page, put a model beside it and serve it on this computer: `make demo`, or MODEL=student.onnx make demo.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
student=$project/runs/demo/eeea_net_c2_from_tf_efficientnet_lite0-maps-seed0

fail() {
  echo "$1" >&2
  exit 1
}

if [ -z "${MODEL:-}" ]; then
  [ -f "$student/model.onnx" ] || fail "There is no model in runs/demo yet. Run \`make study\` first, or name a file that \`cxr-kd export\` wrote: make demo MODEL=student.onnx"
  MODEL=$student/model-small.onnx
  [ -f "$MODEL" ] || MODEL=$student/model.onnx
fi
[ -f "$MODEL" ] || fail "$MODEL: no such file. MODEL must be a file that \`cxr-kd export\` wrote."
sh "$project/web/install.sh"

npm run --silent --prefix "$project/web" build -- --logLevel error
cp -- "$MODEL" "$project/web/dist/model.onnx"
echo "Model: $MODEL"
exec node "$project/web/serve.mjs"
