"""The public surface: what is documented exists, and what exists is documented."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import pickle
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from difflib import unified_diff
from functools import cached_property
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final, get_args, get_type_hints
from unittest.mock import AsyncMock, Mock, NonCallableMock, create_autospec, patch

import pytest

import kraty_admin
import kraty_server_api
from contract import operation_of
from kraty_admin import (
    CallInfo,
    KratyAdmin,
    KratyAdminAsync,
    KratyServerError,
    RequestInfo,
    RetryConfig,
    construct_event,
    derive_key,
    fulfil_once,
    models,
    params,
    sign_webhook,
    verify_webhook,
)
from kraty_server_api.model import Model, ResponseInfo
from surface import FOR_DJANGO, RECORD, public_surface

METHODS: Final = {
    "grants.create": (
        "(external_player_id, *, idempotency_key, entries, kind='reward', source_kind='api',"
        " expires_at=None, source_ref_id=None, metadata=None)"
    ),
    "grants.ack": "(external_player_id, grant_id, *, idempotency_key=None)",
    "inventory.grant": (
        "(external_player_id, item_key, *, quantity, reason=None, source_ref_id=None,"
        " idempotency_key=None)"
    ),
    "inventory.revoke": (
        "(external_player_id, item_key, *, quantity, reason=None, source_ref_id=None,"
        " idempotency_key=None)"
    ),
    "wallet.credit": (
        "(external_player_id, economy_key, *, amount, reason=None, source_ref_id=None,"
        " idempotency_key=None)"
    ),
    "wallet.debit": (
        "(external_player_id, economy_key, *, amount, reason=None, source_ref_id=None,"
        " idempotency_key=None)"
    ),
    "lobbies.push": (
        "(game_id, event_key, *, key, external_player_ids, capacity=None, fill_bots=None,"
        " metadata=None, idempotency_key=None)"
    ),
    "lobbies.read": "(game_id, lobby_id)",
    "players.get": "(external_player_id, *, limit=None)",
    "players.delete": "(external_player_id, *, reason=None, idempotency_key=None)",
    "players.export": "(external_player_id)",
    "players.ban": "(external_player_id, *, reason, idempotency_key=None)",
    "players.unban": "(external_player_id, *, idempotency_key=None)",
    "players.merge": ("(from_external_player_id, to_external_player_id, *, idempotency_key=None)"),
    "migrate.players": "(rows, *, idempotency_key=None)",
    "migrate.wallet": "(rows, *, idempotency_key=None)",
    "migrate.inventory": "(rows, *, idempotency_key=None)",
    "health.ping": "()",
    "leaderboards.submit_score": (
        "(external_player_id, key, value, *, segment=None, idempotency_key=None)"
    ),
    "events.report_progress": (
        "(external_player_id, event_key, attempt_id, *, mode, metric_value=None, metrics=None,"
        " occurred_at=None, idempotency_key=None)"
    ),
    "events.finish": "(external_player_id, event_key, attempt_id, *, idempotency_key=None)",
    "players.set_identity": ("(external_player_id, *, name, avatar=UNSET, idempotency_key=None)"),
    "players.friends": "(external_player_id)",
    "players.friend_requests": "(external_player_id)",
    "players.blocks": "(external_player_id)",
}
METHOD_ALIASES: Final = {"events.progress": "events.report_progress"}
IMPORTS: Final[dict[str, str]] = dict.fromkeys(
    ("migrate.import_players", "migrate.import_wallet", "migrate.import_inventory"),
    "(rows, *, mapping=None, preset=None, read_options=None, sum_duplicates=False, failures=None,"
    " journal=None, resume=False, in_flight=4, chunk_size=1000, patience=300.0, on_progress=None)",
)
"""Methods that send any number of rows; the twin accepts asynchronous rows, so its types differ."""
RESOURCES: Final = {name.partition(".")[0] for name in METHODS}

CLIENT: Final = {
    "__init__": (
        "(self, *, api_key=None, base_url=None, timeout=None, deadline=None, retry=None,"
        " retry_budget=100, http_client=None, generate_idempotency_key=None, on_request=None)"
    ),
    "with_options": (
        "(self, *, timeout=UNCHANGED, deadline=UNCHANGED, retry=UNCHANGED, on_request=UNCHANGED)"
    ),
    "request": "(self, method, path, *, body=None, query=None, idempotency_key=None)",
    "close": "(self)",
}
PROPERTIES: Final = {"base_url", "is_closed"}

FUNCTIONS: Final[dict[Callable[..., Any], str]] = {
    derive_key: "(*parts)",
    fulfil_once: "(*parts, on_conflict, operation=None, first_tried_at=None, now=None)",
    verify_webhook: "(*, raw_body, signature_header, secret, tolerance_seconds=300, now=None)",
    construct_event: "(*, raw_body, signature_header, secret, tolerance_seconds=300, now=None)",
    sign_webhook: "(*, raw_body, secret, timestamp=None)",
}

ERROR_CODES: Final = [
    "unauthenticated",
    "session_invalid",
    "forbidden",
    "tenant_mismatch",
    "player_banned",
    "not_found",
    "validation_failed",
    "invalid_metric",
    "score_not_supported",
    "conflict",
    "idempotency_conflict",
    "event_disabled",
    "rate_limited",
    "internal_error",
    "unknown_item",
]


@pytest.fixture(name="sync", scope="module")
def make_sync() -> Iterator[KratyAdmin]:
    """Return a client."""
    with KratyAdmin(api_key="krt_test.secret", base_url="https://api.kraty.io") as kraty:
        yield kraty


@pytest.fixture(name="twin", scope="module")
def make_twin() -> KratyAdminAsync:
    """Return an asynchronous client, which has opened no connection."""
    return KratyAdminAsync(api_key="krt_test.secret", base_url="https://api.kraty.io")


def public(names: Iterator[str] | list[str]) -> set[str]:
    """Return the names that do not begin with an underscore."""
    return {name for name in names if not name.startswith("_")}


def shape(function: Callable[..., Any]) -> str:
    """Return a signature without its types: names, order, kinds and defaults."""
    signature = inspect.signature(function)
    bare = [
        parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()
    ]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


# --- Methods.


@pytest.mark.parametrize("name", METHODS)
def test_a_method_takes_the_documented_arguments(sync: KratyAdmin, name: str) -> None:
    """Names, order, kinds and defaults of each method's arguments are as documented."""
    assert METHODS[name] == shape(operation_of(sync, name))


@pytest.mark.parametrize("name", METHODS)
def test_the_twin_of_a_method_is_its_equal(
    sync: KratyAdmin, twin: KratyAdminAsync, name: str
) -> None:
    """A method and its twin have the same signature and docstring, and only the twin is awaited."""
    method, awaited = operation_of(sync, name), operation_of(twin, name)

    assert inspect.signature(method) == inspect.signature(awaited)
    assert method.__doc__ == awaited.__doc__
    assert inspect.iscoroutinefunction(awaited)
    assert not inspect.iscoroutinefunction(method)


@pytest.mark.parametrize("name", IMPORTS)
def test_imports_take_the_documented_arguments(
    sync: KratyAdmin, twin: KratyAdminAsync, name: str
) -> None:
    """The imports of both clients take the documented arguments."""
    assert IMPORTS[name] == shape(operation_of(sync, name)) == shape(operation_of(twin, name))
    assert inspect.iscoroutinefunction(operation_of(twin, name))
    assert not inspect.iscoroutinefunction(operation_of(sync, name))


@pytest.mark.parametrize("name", [*METHODS, *IMPORTS])
def test_each_argument_is_described(sync: KratyAdmin, twin: KratyAdminAsync, name: str) -> None:
    """The docstring of each method describes each argument."""
    for method in (operation_of(sync, name), operation_of(twin, name)):
        text = inspect.getdoc(method) or ""
        described = re.findall(r"^    (\w+): ", text.partition("Returns:")[0], re.MULTILINE)
        assert list(inspect.signature(method).parameters) == described


@pytest.mark.parametrize(("alias", "name"), METHOD_ALIASES.items())
def test_an_alias_is_the_method(
    sync: KratyAdmin, twin: KratyAdminAsync, alias: str, name: str
) -> None:
    """An alias is the method under another name."""
    for kraty in (sync, twin):
        assert operation_of(kraty, alias) == operation_of(kraty, name)


def test_there_are_no_other_methods(sync: KratyAdmin, twin: KratyAdminAsync) -> None:
    """Each resource has the documented methods and no others."""
    for kraty in (sync, twin):
        names = {
            f"{resource}.{method}"
            for resource in RESOURCES
            for method in public(dir(getattr(kraty, resource)))
        }
        assert METHODS.keys() | IMPORTS.keys() | METHOD_ALIASES.keys() == names


def test_there_are_no_other_attributes_of_a_client(sync: KratyAdmin, twin: KratyAdminAsync) -> None:
    """A client has the documented resources, properties and methods, and no others."""
    for kraty in (sync, twin):
        assert RESOURCES | PROPERTIES | public(list(CLIENT)) == public(dir(kraty))


@pytest.mark.parametrize("name", CLIENT)
@pytest.mark.parametrize("client", [KratyAdmin, KratyAdminAsync])
def test_a_client_takes_the_documented_options(client: type[object], name: str) -> None:
    """Both clients take the documented options."""
    assert CLIENT[name] == shape(getattr(client, name))


def test_the_twins_of_a_clients_methods_are_awaited() -> None:
    """Only the asynchronous client's methods that do I/O are awaited."""
    awaited = {
        name for name in CLIENT if inspect.iscoroutinefunction(getattr(KratyAdminAsync, name))
    }

    assert {"request", "close"} == awaited
    assert not any(inspect.iscoroutinefunction(getattr(KratyAdmin, name)) for name in CLIENT)


@pytest.mark.parametrize("function", [pytest.param(each, id=each.__name__) for each in FUNCTIONS])
def test_a_function_takes_the_documented_arguments(function: Callable[..., Any]) -> None:
    """Names, order, kinds and defaults of each function's arguments are as documented."""
    assert FUNCTIONS[function] == shape(function)


def test_a_double_of_a_client_takes_what_the_client_takes(
    sync: KratyAdmin, twin: KratyAdminAsync
) -> None:
    """A mock with a client as its spec has the client's methods, refuses other arguments, and is
    awaited like the client."""
    double = create_autospec(sync)
    double.wallet.credit("player_42", "gold", amount=500)

    with pytest.raises(TypeError, match="economy_key"):
        double.wallet.credit("player_42", amount=500)
    with pytest.raises(AttributeError, match="mint"):
        double.wallet.mint("player_42")
    assert isinstance(create_autospec(twin).wallet.credit, AsyncMock)


CLIENTS: Final = [pytest.param(KratyAdmin, id="sync"), pytest.param(KratyAdminAsync, id="async")]


@pytest.fixture(scope="module", params=CLIENTS)
def doubled(request: pytest.FixtureRequest) -> tuple[type[Any], list[Any]]:
    """Return a client class, and mocks of it: as an instance, and as a class that is called."""
    client: type[Any] = request.param
    return client, [create_autospec(client, instance=True), create_autospec(client)(api_key="k")]


@pytest.mark.parametrize("name", [*METHODS, *IMPORTS])
def test_a_double_of_the_class_takes_what_a_client_takes(
    doubled: tuple[type[Any], list[Any]], name: str
) -> None:
    """A mock with the class as its spec has the methods and their signatures."""
    client, doubles = doubled
    parameters = inspect.signature(operation_of(client, name)).parameters.values()
    needed = {each.name: "x" for each in parameters if each.default is each.empty}
    for double in doubles:
        method = operation_of(double, name)

        answer = method(**needed)
        if client is KratyAdminAsync:
            answer.close()
        with pytest.raises(TypeError, match="got an unexpected keyword argument 'nonsense'"):
            method(**needed, nonsense=1)
        assert isinstance(method, AsyncMock) is (client is KratyAdminAsync)
        with pytest.raises(AttributeError, match="nonsense"):
            operation_of(double, f"{name.partition('.')[0]}.nonsense")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_mock_with_the_class_as_its_spec_has_the_resources(client: type[Any]) -> None:
    """`Mock(spec=...)` has each resource, and nothing that a client lacks."""
    double = Mock(spec=client)

    for name in RESOURCES:
        getattr(double, name).anything()
    with pytest.raises(AttributeError, match="nonsense"):
        _ = double.nonsense


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("autospec", [None, True], ids=["plain", "autospec"])
def test_a_resource_can_be_replaced_on_the_class(client: type[Any], autospec: bool | None) -> None:
    """A resource that is patched on the class is used by all clients until the patch ends."""
    kraty = client(api_key="krt_test.secret")

    with patch.object(client, "wallet", autospec=autospec) as wallet:
        assert wallet is kraty.wallet is client(api_key="krt_test.secret").wallet
        if autospec:
            with pytest.raises(TypeError, match="economy_key"):
                kraty.wallet.credit("player_42", amount=500)
    assert not isinstance(kraty.wallet, NonCallableMock)
    assert kraty.wallet is kraty.wallet


@pytest.mark.parametrize("client", CLIENTS)
def test_a_resource_can_be_replaced_on_a_client(client: type[Any]) -> None:
    """A resource that is patched on a client is replaced there only, even after it was used."""
    kraty, other = client(api_key="krt_test.secret"), client(api_key="krt_test.secret")
    real = kraty.wallet

    with patch.object(kraty, "wallet") as wallet:
        assert wallet is kraty.wallet
        assert wallet is not other.wallet
    assert real is kraty.wallet


# --- Names.


def test_everything_that_is_exposed_is_listed() -> None:
    """`__all__` lists everything that the package exposes except modules, sorted."""
    exposed = {
        name
        for name, value in vars(kraty_admin).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }

    assert exposed | {"__version__"} == set(kraty_admin.__all__)
    in_order = sorted(set(kraty_admin.__all__), key=lambda name: (not name.isupper(), name))
    assert in_order == kraty_admin.__all__


# Types that have no name of their own at run time.
ALIASES: Final = {"ErrorCode", "RequestHook"}


@pytest.mark.parametrize("name", sorted(set(kraty_admin.__all__) - {"__version__"} - ALIASES))
def test_what_is_exposed_says_where_to_import_it_from(name: str) -> None:
    """The module of each exposed name is the package, also in pickles."""
    value = getattr(kraty_admin, name)

    assert "kraty_admin" == value.__module__
    assert value is pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("module", [models, params])
def test_models_and_params_say_where_to_import_them_from(module: ModuleType) -> None:
    """The module of each class is the public one, also in pickles and for `get_type_hints`."""
    exported = [getattr(module, name) for name in module.__all__]
    classes = [value for value in exported if isinstance(value, type)]

    assert 5 < len(classes)
    for cls in classes:
        assert module.__name__ == cls.__module__
        assert cls is pickle.loads(pickle.dumps(cls))
        assert get_type_hints(cls).keys() == get_annotations(cls).keys()


def get_annotations(cls: type[Any]) -> dict[str, Any]:
    """Return the annotations of a class and its bases."""
    return {
        name: value
        for base in reversed(cls.__mro__)
        for name, value in inspect.get_annotations(base).items()
    }


def test_aliases_are_the_types_that_they_stand_for() -> None:
    """`ErrorCode` lists the contract's codes, and `RequestHook` takes a `RequestInfo`."""
    assert set(ERROR_CODES) == set(get_args(kraty_admin.ErrorCode))
    assert ([RequestInfo], object) == get_args(kraty_admin.RequestHook)


def test_a_result_names_the_public_module_without_importing_it() -> None:
    """The class of a result names `kraty_admin.models`, even if the program does not import it."""
    names = modules_after(
        """
import pickle
import httpx
from kraty_admin import KratyAdmin
answer = httpx.MockTransport(lambda request: httpx.Response(200, json={"data": {"balance": 5}}))
with httpx.Client(transport=answer) as http:
    kraty = KratyAdmin(api_key="krt_test.secret", http_client=http)
    for result in (kraty.wallet.credit("player_42", "gold", amount=5), kraty.request("GET", "/x")):
        assert type(result).__module__ == "kraty_admin.models", type(result)
        assert pickle.dumps(result).find(b"kraty_server_api") == -1
"""
    )

    assert "kraty_admin.models" in names  # pickle imports it


# --- The record.


def test_the_public_surface_is_the_recorded_one() -> None:
    """Names, signatures, types and commands are those recorded in `tests/surface/public.txt`."""
    recorded = RECORD.read_text(encoding="utf-8").splitlines()

    diff = list(
        unified_diff(recorded, public_surface().splitlines(), "recorded", "now", n=0, lineterm="")
    )

    assert [] == diff, "\n".join(
        ["the public surface has changed; if that is intended, run `make surface`:", *diff]
    )


# --- Values.


REQUIRED: Final = inspect.Parameter.empty


def fields(cls: type[Any]) -> dict[str, Any]:
    """Return the fields of a value class in order, with their defaults."""
    return {name: field.default for name, field in inspect.signature(cls).parameters.items()}


def test_retries_have_the_documented_defaults() -> None:
    """The fields and defaults of `RetryConfig` are as documented."""
    expected = {
        "attempts": 4,
        "initial_delay": 0.2,
        "max_delay": 10.0,
        "jitter": 0.2,
        "max_retry_after": 60.0,
    }

    assert expected == fields(RetryConfig)
    assert list(expected.items()) == list(dataclasses.asdict(RetryConfig()).items())


def test_a_request_info_has_the_documented_fields() -> None:
    """A `RequestInfo` has the documented fields first, and later ones have defaults."""
    documented = ["method", "url", "attempt", "idempotency_key", "duration_ms", "status", "ok"]
    added = {
        "operation": "",
        "error": None,
        "will_retry": False,
        "retry_in": None,
        "request_id": None,
        "first_sent_at": None,
    }

    assert dict.fromkeys(documented, REQUIRED) | added == fields(RequestInfo)
    assert [*documented, *added] == list(fields(RequestInfo))
    assert RequestInfo("GET", "https://api.kraty.io", 1, None, 1.5, 200, True).ok


@pytest.mark.parametrize("cls", [RetryConfig, RequestInfo, ResponseInfo, CallInfo])
def test_values_do_not_change(cls: type[Any]) -> None:
    """No field of a value can be set."""
    required = [name for name, default in fields(cls).items() if default is REQUIRED]
    value = cls(**dict.fromkeys(required))

    for name in fields(cls):
        with pytest.raises(AttributeError):
            setattr(value, name, 1)


# --- Error codes.


@pytest.mark.parametrize("code", [*ERROR_CODES, "brand_new", ""])
def test_a_code_has_a_property(code: str) -> None:
    """Only the `is_` property of the error's code is true, and an unknown code has none."""
    error = KratyServerError("no", code=code, status=400)
    true = {name for name in public(dir(error)) if name.startswith("is_") and name != "is_code"}

    assert {f"is_{each}" for each in ERROR_CODES} == true
    assert {code} & set(ERROR_CODES) == {name[3:] for name in true if getattr(error, name)}
    assert error.is_code(code)
    assert not error.is_code("another")


# --- Texts.


ATTRIBUTES: Final = (FunctionType, classmethod, staticmethod, property, cached_property)


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """Yield a package and its public modules, except those that need an extra."""
    yield package
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        name = info.name.rpartition(".")[2]
        if name.startswith("_") or name == "emulator" or info.name.startswith(FOR_DJANGO):
            continue
        module = importlib.import_module(info.name)
        yield from modules(module) if info.ispkg else [module]


def documented() -> Iterator[tuple[str, object]]:
    """Yield everything public: modules, classes, functions, methods and properties."""
    ours = ("kraty_admin", "kraty_server_api")
    for module in (*modules(kraty_admin), *modules(kraty_server_api)):
        yield module.__name__, module
        for name, value in vars(module).items():
            where = f"{module.__name__}.{name}"
            if name.startswith("_") or not str(getattr(value, "__module__", "")).startswith(ours):
                continue
            if isinstance(value, FunctionType | type):
                yield where, value
            for base in value.__mro__ if isinstance(value, type) else ():
                for member, attribute in (
                    vars(base).items() if base.__module__.startswith(ours) else ()
                ):
                    if not member.startswith("_") and isinstance(attribute, ATTRIBUTES):
                        yield f"{where}.{member}", attribute


def test_everything_public_has_a_text() -> None:
    """Every public module, class, function, method and property has a docstring."""
    everything = dict(documented())

    silent = [
        where
        for where, value in everything.items()
        if not (vars(value).get("__doc__") if isinstance(value, type) else value.__doc__)
    ]

    assert [] == silent
    assert 700 < len(everything)


def is_text(node: ast.AST | None) -> bool:
    """Return whether a statement is a docstring."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def undescribed(tree: ast.Module) -> Iterator[str]:
    """Yield the public fields and attributes of classes without a docstring below them."""
    for cls in ast.walk(tree):
        if not isinstance(cls, ast.ClassDef):
            continue
        init = [
            node
            for node in cls.body
            if isinstance(node, ast.FunctionDef) and node.name == "__init__"
        ]
        for prefix, body in [("", cls.body), *(("self.", node.body) for node in init)]:
            for node, below in zip(body, [*body[1:], None], strict=True):
                targets = (
                    node.targets
                    if isinstance(node, ast.Assign)
                    else [node.target]
                    if isinstance(node, ast.AnnAssign)
                    else []
                )
                for target in targets:
                    name = ast.unparse(target)
                    if not name.startswith(prefix):
                        continue  # a local name
                    name = name.removeprefix(prefix)
                    if not name.startswith("_") and not is_text(below):
                        yield f"{cls.name}.{name}"


@pytest.mark.parametrize(
    "module",
    [
        "kraty_admin._call._retry",
        "kraty_admin.errors",
        "kraty_admin.telemetry",
        "kraty_server_api.params",
        "kraty_server_api.model",
        "kraty_server_api.operation",
    ],
)
def test_every_public_field_has_a_text(module: str) -> None:
    """Each public field has a docstring below it."""
    path = importlib.import_module(module).__file__
    assert path is not None

    assert [] == list(undescribed(ast.parse(Path(path).read_text(encoding="utf-8"))))


def test_models_are_classes_of_their_own() -> None:
    """Each model has its own docstring."""
    texts = [
        value.__doc__
        for value in vars(models).values()
        if isinstance(value, type) and issubclass(value, Model)
    ]

    assert 26 < len(texts)
    assert len(texts) == len(set(texts))


# --- What an import loads.


def modules_after(program: str) -> set[str]:
    """Return the modules that a fresh Python has loaded after a program."""
    code = f"{program}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, check=True, timeout=60
    )
    names: list[str] = json.loads(answer.stdout)
    return set(names)


def of(names: set[str], *packages: str) -> set[str]:
    """Return the modules that belong to these packages."""
    return {name for name in names if any(f"{name}.".startswith(f"{each}.") for each in packages)}


OPTIONAL: Final = (
    "dateutil",
    "fastapi",
    "jsonschema_rs",
    "opentelemetry",
    "starlette",
    "uvicorn",
    "kraty_admin.bulk",
    "kraty_admin.cli",
    "kraty_admin.emulator",
)


SELDOM_NEEDED: Final = (
    "asyncio",
    "attr",
    "attrs",
    "decimal",
    "hmac",
    "httpcore",
    "platform",
    "uuid",
    "kraty_admin._call._request",
    "kraty_admin.webhooks",
)


def test_an_import_loads_no_extras_and_no_models() -> None:
    """`import kraty_admin` loads neither extras nor modules that only calls need."""
    names = modules_after("import kraty_admin")
    generated = of(names, "kraty_server_api")

    assert "kraty_admin" in names
    assert set() == of(names, *OPTIONAL)
    # What httpx imports itself costs nothing more.
    assert set() == of(names, *SELDOM_NEEDED) - modules_after("import httpx")
    assert set() == of(
        names, "kraty_server_api.models", "kraty_server_api.params", "kraty_server_api.operations"
    )
    assert {"kraty_server_api.resources"} == of(generated, "kraty_server_api.resources")


def test_webhooks_are_loaded_on_first_use() -> None:
    """The webhook functions are listed by `dir`, and their module is loaded when one is used."""
    names = modules_after(
        """
import kraty_admin, sys
assert {"construct_event", "sign_webhook", "verify_webhook"} < set(dir(kraty_admin))
assert not hasattr(kraty_admin, "verify_webhok")
assert "kraty_admin.webhooks" not in sys.modules
assert kraty_admin.webhooks.verify_webhook is kraty_admin.verify_webhook
"""
    )

    assert "kraty_admin.webhooks" in names


def test_resources_are_loaded_with_the_first_client() -> None:
    """Creating a client loads all modules, so that a call imports none while another thread
    forks."""
    names = modules_after(
        """
import sys
import httpx
from kraty_admin import KratyAdmin
answer = httpx.MockTransport(lambda request: httpx.Response(200, json={"data": {"balance": 5}}))
with httpx.Client(transport=answer) as http:
    kraty = KratyAdmin(api_key="krt_test.secret", http_client=http)
    loaded = set(sys.modules)
    assert kraty.wallet.credit("player_42", "gold", amount=5).balance == 5
    assert loaded == set(sys.modules), set(sys.modules) - loaded
"""
    )

    assert {f"kraty_server_api.resources.{name}" for name in RESOURCES} < of(
        names, "kraty_server_api.resources"
    )
    assert "kraty_server_api.models" in names
    assert set() == of(names, *OPTIONAL)


def test_a_client_takes_no_memory_for_what_imports_need() -> None:
    """Creating a client loads neither attrs, which takes 1 MiB, nor the importer."""
    # httpcore loads trio where it is installed, and trio loads attrs.
    start = "import sys; sys.modules['trio'] = None; import httpcore, httpx"
    names = modules_after(
        f"{start}\nfrom kraty_admin import KratyAdmin; KratyAdmin(api_key='krt_test.secret')"
    )

    assert "kraty_admin._transport._own" in names
    # Old releases of httpcore load attrs themselves.
    rare = ("attr", "attrs", "kraty_admin._bulk", "kraty_server_api.imports")
    assert set() == of(names, *rare) - modules_after(start)
