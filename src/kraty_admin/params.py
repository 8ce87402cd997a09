"""The shapes of dict arguments, for annotations: `from kraty_admin.params import ...`."""

from kraty_server_api import params as _params
from kraty_server_api.params import *  # noqa: F403 -- the generated module says what it exports

__all__: list[str] = []
__all__ += _params.__all__
