"""The types of dict arguments, for annotations, such as `MigrateWalletRowParam`.

Methods send dict arguments (`entries` and `rows`) unchanged. Annotate them with these
`TypedDict` types, and a type checker finds misspelt keys and wrong values. At run time they
are plain dicts, which the SDK does not check.
"""

from kraty_server_api import params as _params
from kraty_server_api.params import *  # noqa: F403 -- the generated module says what it exports

__all__: list[str] = []
__all__ += _params.__all__
