"""How a source is read. The class is part of the generated package, whose signatures name it."""

from kraty_server_api.read_options import Format, Quoting, ReadOptions

__all__ = ["Format", "Quoting", "ReadOptions"]

# Reprs and tracebacks name the module that people import it from.
ReadOptions.__module__ = "kraty_admin.bulk"
