"""The program of GDCM's process (see `gdcm_process`), and the messages between the two: a line of JSON, then bytes.

It imports little, because the first image waits for it to start.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import IO, Any


def send(stream: IO[bytes] | None, header: Mapping[str, Any], content: bytes = b"") -> None:
    """Write a header, as JSON, and bytes; OSError if the other process has ended."""
    assert stream is not None
    stream.write(json.dumps({**header, "bytes": len(content)}).encode() + b"\n")
    stream.write(content)
    stream.flush()


def receive(stream: IO[bytes] | None) -> tuple[dict[str, Any], bytes]:
    """Return the header and the bytes that `send` wrote; EOFError if the other process has ended."""
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
    """Answer requests to decode frames until the standard input closes."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a codec prints must not get between the replies
    while True:
        try:
            request, frame = receive(sys.stdin.buffer)
        except EOFError:
            return
        try:
            decoder = get_decoder(request["syntax"])
            array, _ = decoder.as_array(encapsulate([frame]), index=0, decoding_plugin="gdcm", **request["options"])
            reply, content = {"dtype": array.dtype.str, "shape": array.shape}, array.tobytes()
        except Exception as error:  # of any type: the other process needs only the message
            reply, content = {"error": " ".join(str(error).split())[:200]}, b""
        send(answers, reply, content)


if __name__ == "__main__":
    serve()
