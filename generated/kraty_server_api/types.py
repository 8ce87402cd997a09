# Copied by `make regen` from codegen/runtime/types.py.
# Do not edit: change that file instead.
"""The names that this module had in 0.1.0, because pickles made by 0.1.0 refer to them."""

from __future__ import annotations

from .model import Model, ResponseInfo, attach
from .operation import AsyncCall, Call, KeyLifetime, Operation

__all__ = ["AsyncCall", "Call", "KeyLifetime", "Model", "Operation", "ResponseInfo", "attach"]
