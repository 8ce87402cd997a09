"""Response bodies on the SDK's own connections: their size limit, and how to unpack them."""

from __future__ import annotations

from typing import Final

import httpx

__all__ = ["LIMIT", "too_large", "unpack"]

LIMIT: Final = 64 * 1024 * 1024
"""How many bytes a response's body may have, both as received and unpacked."""

_GZIP: Final = 31
_ZLIB: Final = 15
_DEFLATE: Final = -15


def too_large() -> httpx.DecodingError:
    """Return the error for a body that is larger than `LIMIT`."""
    return httpx.DecodingError(f"the response is larger than {LIMIT >> 20} MiB")


def unpack(body: bytes, encoding: str) -> bytes:
    """Undo the content encodings of a body, without holding more than `LIMIT` bytes.

    A body in an encoding other than gzip or deflate stays as it is. This is rare, because
    requests do not ask for any encoding.

    Args:
        body: The body as received.
        encoding: The response's `content-encoding`.

    Raises:
        httpx.DecodingError: The body is damaged, or larger than `LIMIT`.
    """
    for name in reversed([part.strip().lower() for part in encoding.split(",")]):
        if name in ("gzip", "x-gzip"):
            body = _inflate(body, _GZIP)
        elif name == "deflate":
            # Some servers mean zlib's format by it, others the raw deflate data inside it.
            body = _inflate(body, _ZLIB if body[:1] == b"x" else _DEFLATE)
        elif name not in ("identity", ""):
            break
    return body


def _inflate(body: bytes, window: int) -> bytes:
    import zlib

    unpacker = zlib.decompressobj(window)
    try:
        unpacked = unpacker.decompress(body, LIMIT + 1)
    except zlib.error as error:
        raise httpx.DecodingError(str(error)) from None
    if len(unpacked) > LIMIT:
        raise too_large()
    if not unpacker.eof:
        raise httpx.DecodingError("the compressed response ends too early")
    return unpacked
