"""The promise, measured: one receipt, one mint, whatever fails.

Each module proves one thing, in the size that it is asked for: `make prove` asks for the
whole of it and prints the figures, the tests ask for a small form.
"""
