"""The types of results, for annotations: `from kraty_admin.models import Grant`.

Each method of a resource returns one of these models, and `construct_event` a `WebhookEvent`.
A model is a dict as the server sent it, with the server's keys, and has typed properties. All
of them are subclasses of `Model`, which `request` returns. Names such as `GrantKind` are
`Literal` types that list the values of this version; the server may send others.
"""

from kraty_server_api import models as _models

# `get_type_hints` looks up here what the annotations of models name.
from kraty_server_api.model import ResponseInfo as ResponseInfo
from kraty_server_api.models import *  # noqa: F403 -- the generated module says what it exports

__all__: list[str] = []
__all__ += _models.__all__
