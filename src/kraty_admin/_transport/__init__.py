"""The only I/O of a call: its retry loop, and the channels that perform one attempt.

A `Sender` runs the retry loop, and a channel performs each attempt: an `OwnChannel` over the
SDK's own connections, a `LentChannel` over an HTTP client that the caller made. Each has an
asynchronous twin, which differs by `await`, and by what event loops and cancellation need.

The modules with the SDK's own connections import httpcore, which takes longer to import than
the whole package. So the first client imports them, not the package.
"""
