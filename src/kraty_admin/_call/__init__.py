"""One call without I/O: what to send, what an outcome means, and what to do next."""
