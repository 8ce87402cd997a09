"""The models of results, for annotations: `from kraty_admin.models import Grant`."""

from kraty_server_api import models as _models
from kraty_server_api.models import *  # noqa: F403 -- the generated module says what it exports

__all__: list[str] = []
__all__ += _models.__all__
