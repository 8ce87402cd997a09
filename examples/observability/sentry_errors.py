import httpx
import sentry_sdk
from sentry_sdk.types import Event, Hint

from kraty_admin import KratyAdmin, KratyNetworkError, KratyServerError, RequestInfo


def on_request(info: RequestInfo) -> None:
    sentry_sdk.add_breadcrumb(
        type="http",
        category="kraty",
        level="info" if info.ok else "warning",
        message=f"{info.operation}, attempt {info.attempt}",
        data={"status_code": info.status, "error": info.error, "retried": info.will_retry},
    )


def before_send(event: Event, hint: Hint) -> Event:
    error = hint["exc_info"][1] if "exc_info" in hint else None
    if isinstance(error, KratyServerError | KratyNetworkError):
        operation = error.call.operation
        cause = error.code if isinstance(error, KratyServerError) else error.cause_name
        event["fingerprint"] = ["kraty", operation, cause]
        tags = {"operation": operation, "cause": cause, "ambiguous": error.ambiguous}
        for name, value in tags.items():
            event.setdefault("tags", {})[f"kraty.{name}"] = str(value)
    return event


def set_up() -> KratyAdmin:
    sentry_sdk.init(  # the DSN comes from SENTRY_DSN
        before_send=before_send,
        traces_sample_rate=0.1,
        trace_propagation_targets=[],
        include_local_variables=False,
    )
    return KratyAdmin(on_request=on_request, http_client=httpx.Client())
