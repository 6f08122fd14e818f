"""What runs in GDCM's process (see `gdcm_process`), and how the two speak: a line of JSON, then bytes.

It imports as little as it can, for it is waited for when the first image is decoded.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import IO, Any


def send(stream: IO[bytes] | None, header: Mapping[str, Any], content: bytes = b"") -> None:
    """Write a header that JSON can hold, and bytes; OSError where the other process is gone."""
    assert stream is not None
    stream.write(json.dumps({**header, "bytes": len(content)}).encode() + b"\n")
    stream.write(content)
    stream.flush()


def receive(stream: IO[bytes] | None) -> tuple[dict[str, Any], bytes]:
    """Read what `send` wrote; EOFError where the other process is gone."""
    assert stream is not None
    line = stream.readline()
    if not line:
        raise EOFError
    header = json.loads(line)
    content = stream.read(header["bytes"])
    if len(content) < header["bytes"]:
        raise EOFError
    return header, content


def serve() -> None:
    """Decode frames until the standard input closes."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a codec prints must not stand between the answers
    while True:
        try:
            request, frame = receive(sys.stdin.buffer)
        except EOFError:
            return
        try:
            decoder = get_decoder(request["syntax"])
            array, _ = decoder.as_array(encapsulate([frame]), index=0, decoding_plugin="gdcm", **request["options"])
            reply, content = {"dtype": array.dtype.str, "shape": array.shape}, array.tobytes()
        except Exception as error:  # of whatever type: the message is all that counts
            reply, content = {"error": " ".join(str(error).split())[:200]}, b""
        send(answers, reply, content)


if __name__ == "__main__":
    serve()
