"""How a source is read. The class is part of the generated package, whose signatures name it."""

from kraty_server_api.read_options import Format, Inclusion, Quoting, ReadOptions

__all__ = ["Format", "Inclusion", "Quoting", "ReadOptions"]

# Where people import it from. Programs that never import that module see it too.
ReadOptions.__module__ = "kraty_admin.bulk"
