"""The logic of a call, without I/O: what to send, what an outcome means, what to do next."""
