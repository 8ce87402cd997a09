"""The only I/O of a call: its retry loop, and the channels that perform one attempt.

A `Sender` runs the retry loop. For each attempt it asks a channel: an `OwnChannel` sends
over connections of the SDK's own, a `LentChannel` over a client that the caller made.
Each has an asynchronous twin, which differs by `await`, and by what event loops and
cancellation need.

The modules with own connections import httpcore, which takes longer than all else here.
So they are imported when the first client is made, and not with the package.
"""
