"""How to read a source. The class is in the generated package, whose signatures use it."""

from kraty_server_api.read_options import Format, Quoting, ReadOptions

__all__ = ["Format", "Quoting", "ReadOptions"]

# Make reprs and tracebacks name the public module.
ReadOptions.__module__ = "kraty_admin.bulk"
