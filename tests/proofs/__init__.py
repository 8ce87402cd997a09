"""The promise, measured: a call repeated in time under its key never pays out twice.

Each module proves one thing, in the size that it is asked for: `make prove` asks for the
whole of it and prints the figures, the tests ask for a small form.
"""
