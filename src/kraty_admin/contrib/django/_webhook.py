"""A view that receives webhooks."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Final, TypeAlias, overload

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from kraty_admin import WebhookVerificationError, construct_event
from kraty_admin.models import WebhookEvent

from ._client import webhook_secret
from .inbox import once

__all__ = ["webhook"]

Handler: TypeAlias = Callable[[WebhookEvent], object]
View: TypeAlias = Callable[[HttpRequest], HttpResponse]

_log: Final = logging.getLogger("kraty_admin")


@overload
def webhook(handler: Handler, /) -> View: ...
@overload
def webhook(*, using: str = DEFAULT_DB_ALIAS) -> Callable[[Handler], View]: ...
def webhook(
    handler: Handler | None = None, /, *, using: str = DEFAULT_DB_ALIAS
) -> View | Callable[[Handler], View]:
    """Turn a function that handles an event into a view that receives webhooks.

        @webhook
        def kraty_webhook(event: WebhookEvent) -> None:
            Player.objects.filter(pk=event.data["playerId"]).update(...)

    The view verifies the delivery, and answers 401 if the signature is wrong or the delivery too
    old. If the event is new, the view calls the function, in the same transaction that remembers
    the event. If the function raises, the transaction is rolled back, Django answers 500, and
    Kraty delivers the event again. The same happens if the function catches a database error that
    has broken the transaction: put such a statement into its own `atomic()` block. Otherwise the
    view answers 204. Effects outside this database, such as a mail that the function sends, can
    happen twice.

    Args:
        handler: The function. Its result is ignored.
        using: The alias of the database that the function writes to.

    Raises:
        TypeError: The function is asynchronous, which Django's transactions do not support.
    """

    def decorate(function: Handler) -> View:
        if inspect.iscoroutinefunction(function):
            raise TypeError(
                "a handler of webhooks must be a plain function, because Django's transactions "
                "are not asynchronous. Under ASGI, Django runs the view in a thread"
            )

        @csrf_exempt
        @require_POST
        @functools.wraps(function)
        def view(request: HttpRequest) -> HttpResponse:
            try:
                event = construct_event(
                    raw_body=request.body,
                    signature_header=request.headers.get("X-Signature"),
                    secret=webhook_secret(),
                )
            except WebhookVerificationError as error:
                _log.warning("webhook rejected: %s", error.reason)
                return HttpResponse(status=401)
            with transaction.atomic(using=using):
                if once(event, using):
                    function(event)
                    # After a database error that the function has caught, Django or PostgreSQL
                    # would roll back instead of committing, and raise nothing.
                    with connections[using].cursor() as cursor:
                        cursor.execute("SELECT 1")
            return HttpResponse(status=204)

        return view

    return decorate if handler is None else decorate(handler)
