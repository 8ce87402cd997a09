"""The admin pages: the intents, their outcomes, and the decisions that a person has to make."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import connections, router, transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from kraty_admin.outbox import OutboxError
from kraty_admin.outbox._store import Action, resolve, retry
from kraty_admin.outbox._tables import TABLES
from kraty_server_api.outbox import REBUILD

from ._connection import DjangoConnection
from .models import InboxEvent, OutboxIntent

__all__ = ["InboxEventAdmin", "OutboxIntentAdmin"]

_DECISIONS: Final[dict[str, list[tuple[str, str]]]] = {
    "unknown": [
        ("applied", "It took effect: mark it as done"),
        ("send-again", "It had no effect: send it again"),
        ("abandon", "Do not send it"),
    ],
    "refused": [("retry", "The reason is gone: send it again under the same key")],
}
"""The decisions that a person may make, by the state of the intent."""


if TYPE_CHECKING:
    _IntentAdmin: TypeAlias = admin.ModelAdmin[OutboxIntent]
    _EventAdmin: TypeAlias = admin.ModelAdmin[InboxEvent]
else:
    _IntentAdmin = _EventAdmin = admin.ModelAdmin  # generic in its stubs only


class DecisionForm(forms.Form):
    """Asks what to do with an intent, and why."""

    why = forms.CharField(
        max_length=1000, help_text="Stored with the intent, with your name and the time."
    )
    confirmed = forms.BooleanField(
        label="I have found out what this intent did",
        help_text=(
            "Look at the player's balance, at the ledger in Kraty's portal and at your webhooks."
        ),
    )

    def __init__(self, state: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        action = forms.ChoiceField(widget=forms.RadioSelect, choices=_DECISIONS[state])
        self.fields = {"action": action, **self.fields}


class OperationFilter(admin.SimpleListFilter):
    """Filters by operation. It lists all operations, because the table may be too long to scan."""

    title = "operation"
    parameter_name = "operation"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return all operations that can be recorded."""
        return [(name, name) for name in sorted(REBUILD)]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[OutboxIntent]
    ) -> QuerySet[OutboxIntent]:
        """Select the intents of the chosen operation."""
        chosen = self.value()
        return queryset if chosen is None else queryset.filter(operation=chosen)


class _ReadOnly:
    """Rows that only the outbox changes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # If a row were deleted, its receipt could be paid out again.
        return False


@admin.register(OutboxIntent)
class OutboxIntentAdmin(_ReadOnly, _IntentAdmin):
    """The list of intents, the page of one intent, and the page to decide about it."""

    change_form_template = "admin/kraty/outboxintent/change_form.html"
    list_display = (
        "id",
        "state",
        "operation",
        "named",
        "idempotency_key",
        "attempts",
        "created_at",
        "last_error",
    )
    list_filter = ("state", OperationFilter)
    search_fields = ("idempotency_key__exact", "operation__startswith", "players__player__exact")
    search_help_text = "A whole idempotency key, a whole player id, or the start of an operation"
    ordering = ("-id",)
    show_full_result_count = False  # it would count a table that only grows
    fields = (
        "state",
        "operation",
        "named",
        "idempotency_key",
        "target",
        "attempts",
        "created_at",
        "due_at",
        "first_sent_at",
        "stopped_at",
        "path",
        "shown_body",
        "shown_result",
        "shown_error",
        "shown_notes",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[OutboxIntent]:
        """Fetch the players of all rows at once."""
        return super().get_queryset(request).select_related("target").prefetch_related("players")

    @admin.display(description="players")
    def named(self, intent: OutboxIntent) -> str:
        """Show the players."""
        return ", ".join(sorted(each.player for each in intent.players.all()))

    @admin.display(description="last error")
    def last_error(self, intent: OutboxIntent) -> str:
        """Show the error of the last attempt."""
        facts = intent.error_facts
        return str(facts.get("code") or facts.get("message") or "")

    @admin.display(description="created at", ordering="created_ms")
    def created_at(self, intent: OutboxIntent) -> Any:
        """Show when the intent was recorded."""
        return intent.created_at

    @admin.display(description="body")
    def shown_body(self, intent: OutboxIntent) -> str:
        """Show the body that is sent."""
        return _indented(intent.body)

    @admin.display(description="result")
    def shown_result(self, intent: OutboxIntent) -> str:
        """Show what Kraty answered."""
        return _indented(intent.result)

    @admin.display(description="error")
    def shown_error(self, intent: OutboxIntent) -> str:
        """Show the error of the last attempt, in full."""
        return _indented(intent.error)

    @admin.display(description="notes")
    def shown_notes(self, intent: OutboxIntent) -> str:
        """Show who decided what, when and why."""
        return _indented(intent.notes)

    def get_urls(self) -> list[URLPattern]:
        """Add the page of the decision."""
        view = self.admin_site.admin_view(self.decide)
        return [
            path("<path:object_id>/decide/", view, name="kraty_outboxintent_decide"),
            *super().get_urls(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show an intent, with a link to the decision page if there is something to decide."""
        if request.method == "POST":
            raise PermissionDenied  # nothing here can be edited
        intent = self.get_object(request, unquote(object_id))
        can_decide = (
            intent is not None
            and intent.state in _DECISIONS
            and self.has_change_permission(request, intent)
        )
        context = {
            **(extra_context or {}),
            "can_decide": can_decide,
            "show_save": False,
            "show_save_and_continue": False,
        }
        return super().change_view(request, object_id, form_url, context)

    def decide(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for a decision, and pass it to the outbox."""
        intent = self.get_object(request, unquote(object_id))
        if intent is None:
            raise Http404
        if not self.has_change_permission(request, intent):
            raise PermissionDenied
        shown = reverse(f"{self.admin_site.name}:kraty_outboxintent_change", args=[intent.pk])
        if intent.state not in _DECISIONS:
            messages.error(request, f"There is nothing to decide: the intent is {intent.state}.")
            return HttpResponseRedirect(shown)
        form = DecisionForm(intent.state, request.POST or None)
        if form.is_valid():
            action, why = form.cleaned_data["action"], form.cleaned_data["why"]
            try:
                self._carry_out(request, intent, action, why)
            except OutboxError as error:
                # Another person has decided in the meantime.
                messages.error(request, str(error))
            return HttpResponseRedirect(shown)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": intent,
            "title": f"Decide about intent {intent.pk}",
            "form": form,
            "shown": shown,
        }
        request.current_app = self.admin_site.name  # the site that the links lead to
        return TemplateResponse(request, "admin/kraty/outboxintent/decide.html", context)

    def _carry_out(
        self,
        request: HttpRequest,
        intent: OutboxIntent,
        action: Action | Literal["retry"],
        why: str,
    ) -> None:
        using = router.db_for_write(OutboxIntent, instance=intent)
        by = request.user.get_username()
        with transaction.atomic(using=using):
            connection = DjangoConnection(connections[using])
            if action == "retry":
                now = retry(connection, TABLES, intent.pk, by=by, why=why)
            else:
                now = resolve(connection, TABLES, intent.pk, action, by=by, why=why)
        self.log_change(request, intent, f"{action}: {why}")
        messages.success(request, f"Intent {now.id} is now {now.state}.")


@admin.register(InboxEvent)
class InboxEventAdmin(_ReadOnly, _EventAdmin):
    """Webhooks that were handled."""

    list_display = ("event_id", "event_name", "received_at")
    search_fields = ("event_id__exact",)
    ordering = ("-received_ms",)
    show_full_result_count = False
    fields = ("event_id", "event_name", "received_at")
    readonly_fields = fields

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return false: handled webhooks cannot be changed."""
        return False


def _indented(text: str | None) -> str:
    return "" if text is None else json.dumps(json.loads(text), indent=2, ensure_ascii=False)
