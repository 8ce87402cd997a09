"""Resources as attributes of a client and of its class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

__all__ = ["resource"]

R = TypeVar("R")


class _Resource(Generic[R]):
    """Makes a client's resource when it is first read.

    The client keeps the resource as an attribute of its own. This class has no `__set__`, so
    that attribute comes first, and a call costs no more than with any other attribute.

    Reading it on the class returns a resource too, so that mocks made from the class have it.
    That one cannot perform a call. A mock put in its place on the class is found by each client
    that has not used the resource yet.
    """

    def __init__(self, make: Callable[[Any], R]) -> None:
        self._make = make

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._owner = owner
        self._name = name

    def __get__(self, client: object, owner: type[Any]) -> R:
        if client is None:
            return self._make(self._owner())
        # Two threads may each make one here. They are alike, so it does not matter which stays.
        made = self._make(client)
        setattr(client, self._name, made)
        return made


def resource(make: Callable[[Any], R]) -> R:
    """Declare a resource in the body of a class.

    Args:
        make: Makes the resource of a client. It also gets an instance of the class that
            declares the resource, which performs no calls.
    """
    return cast("R", _Resource(make))
