"""Resources as attributes of a client and of its class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

__all__ = ["resource"]

R = TypeVar("R")


class _Resource(Generic[R]):
    """Creates a client's resource when it is first read.

    The resource is stored as an attribute of the client. This class has no `__set__`, so
    later reads find that attribute first, and are as fast as for any other attribute.

    Reading the resource on the class returns one that cannot perform calls, so that mocks made
    from the class have the resource. If a mock replaces it on the class, each client that has not
    used the resource yet finds the mock.
    """

    def __init__(self, make: Callable[[Any], R]) -> None:
        self._make = make

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._owner = owner
        self._name = name

    def __get__(self, client: object, owner: type[Any]) -> R:
        if client is None:
            return self._make(self._owner())
        # Two threads may each make one. They are interchangeable, so either may stay.
        made = self._make(client)
        setattr(client, self._name, made)
        return made


def resource(make: Callable[[Any], R]) -> R:
    """Declare a resource in the body of a class.

    Args:
        make: Creates the resource of a client. It is also called with an instance of the
            class that declares the resource, which performs no calls.
    """
    return cast("R", _Resource(make))
