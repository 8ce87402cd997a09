"""Options of a client: what is refused at construction, and the defaults."""

from __future__ import annotations

import math
import os
import platform
import re
import ssl
from pathlib import Path
from typing import Any

import certifi
import httpx
import pytest

from kraty_admin import KratyAdmin, KratyAdminAsync, RequestInfo, RetryConfig, __version__
from kraty_admin._settings import EMULATOR_KEYS
from kraty_admin._transport import _tls
from loopback import CANARY, KEY, SYNC, Twin, always, settled, twins


def sent_by(twin: Twin, **options: Any) -> httpx.Request:
    """Return the request of one credit, over a caller's client that reaches no network."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json={"data": {}})

    twin.credit(http_client=twin.mocked(answer), **options)
    (request,) = requests
    return request


class TestKey:
    """The API key: from an argument or the environment, and never a broken one."""

    @twins
    def test_argument(self, twin: Twin) -> None:
        """The key that is passed is sent as a bearer token."""
        assert f"Bearer {KEY}" == sent_by(twin, api_key=KEY).headers["authorization"]

    @twins
    def test_environment(self, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
        """The key comes from `KRATY_SERVER_KEY` if none is passed."""
        monkeypatch.setenv("KRATY_SERVER_KEY", "env.secret")
        assert "Bearer env.secret" == sent_by(twin, api_key=None).headers["authorization"]

    @twins
    def test_argument_wins(self, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
        """A key that is passed is preferred to the environment's."""
        monkeypatch.setenv("KRATY_SERVER_KEY", "env.secret")
        assert f"Bearer {KEY}" == sent_by(twin, api_key=KEY).headers["authorization"]

    @pytest.mark.parametrize("client", [KratyAdmin, KratyAdminAsync])
    def test_missing(self, client: type[KratyAdmin | KratyAdminAsync]) -> None:
        """The error for a missing key names the argument and the variable."""
        with pytest.raises(ValueError, match=r"^api_key is missing: .*KRATY_SERVER_KEY$"):
            client()

    @pytest.mark.parametrize(
        "key",
        [
            pytest.param("", id="empty"),
            pytest.param(f"{KEY}\n", id="line-break-at-the-end"),
            pytest.param(f" {KEY}", id="space"),
            pytest.param(f"{KEY}\r\nX-Other: 1", id="header-injection"),
            pytest.param(f"{KEY}é", id="not-ASCII"),
            pytest.param(f"{KEY}\x00", id="NUL"),
            pytest.param(f"{KEY}\x7f", id="DEL"),
            pytest.param(f'"{KEY}"', id="double-quotes"),
            pytest.param(f"'{KEY}", id="single-quote"),
            pytest.param(f"`{KEY}`", id="backticks"),
            pytest.param("${KRATY_SERVER_KEY}", id="variable"),
            pytest.param(f"${{KRATY_SERVER_KEY:-{KEY}}}", id="variable-with-default"),
        ],
    )
    @pytest.mark.parametrize("source", ["api_key", "KRATY_SERVER_KEY"])
    @twins
    def test_unusable(
        self, twin: Twin, source: str, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A key that no header can hold is refused with the name of its source, and not quoted."""
        # Not into the real environment, which cannot hold all of them.
        monkeypatch.setattr(os, "environ", {"KRATY_SERVER_KEY": key})
        with pytest.raises(ValueError, match=f"^{source} ") as raised:
            twin.client(api_key=key if source == "api_key" else None)
        assert CANARY not in str(raised.value)

    @pytest.mark.parametrize("key", [KEY.encode(), 7, ["a"]], ids=["bytes", "int", "list"])
    @twins
    def test_not_a_string(self, twin: Twin, key: Any) -> None:
        """A key that is not a `str` is a `TypeError` that shows only its type."""
        with pytest.raises(TypeError, match=f"^api_key must be a str, not {type(key).__name__}$"):
            twin.client(api_key=key)

    @pytest.mark.parametrize(
        ("key", "expected"),
        [
            pytest.param("kraty_live_7f3a.secret", "key=kraty_live_7f3a.***", id="with-a-prefix"),
            pytest.param("a.b.c", "key=a.***", id="the-first-dot-counts"),
            pytest.param("secret", "key=***", id="without-a-prefix"),
            pytest.param(".secret", "key=***", id="empty-prefix"),
        ],
    )
    @twins
    def test_shown(self, twin: Twin, key: str, expected: str) -> None:
        """The repr of a client shows only the prefix of the key."""
        shown = repr(twin.client(api_key=key))
        assert f"<{twin.client_type.__name__} https://api.kraty.io {expected}>" == shown


class TestBaseUrl:
    """Where requests go."""

    @pytest.mark.parametrize(
        ("base_url", "expected"),
        [
            pytest.param("https://api.kraty.io", "https://api.kraty.io", id="origin"),
            pytest.param("https://api.kraty.io/", "https://api.kraty.io", id="slash"),
            pytest.param("https://api.kraty.io//", "https://api.kraty.io", id="slashes"),
            pytest.param("HTTPS://API.Kraty.IO", "https://api.kraty.io", id="upper-case"),
            pytest.param("https://api.kraty.io:443", "https://api.kraty.io", id="default-port"),
            pytest.param("https://gw.example:8443", "https://gw.example:8443", id="port"),
            pytest.param("https://gw.example/kraty", "https://gw.example/kraty", id="path"),
            pytest.param("https://gw.example/a/b/", "https://gw.example/a/b", id="path-and-slash"),
            pytest.param("https://ü.example", "https://xn--tda.example", id="IDNA"),
            pytest.param("http://localhost:1", "http://localhost:1", id="localhost"),
            pytest.param("http://127.0.0.1:1", "http://127.0.0.1:1", id="IPv4-loopback"),
            pytest.param("http://127.8.8.8:1", "http://127.8.8.8:1", id="all-of-127"),
            pytest.param("http://[::1]:1", "http://[::1]:1", id="IPv6-loopback"),
            pytest.param("https://[2001:db8::1]", "https://[2001:db8::1]", id="IPv6"),
        ],
    )
    @twins
    def test_kept(self, twin: Twin, base_url: str, expected: str) -> None:
        """Host, port and path of `base_url` are kept, and calls go below `/server/v1` there."""
        assert expected == twin.client(base_url=base_url).base_url
        url = f"{expected}/server/v1/players/player_42/wallet/gold/credit"
        assert url == str(sent_by(twin, base_url=base_url).url)

    def test_default(self) -> None:
        """The default of `base_url` is the platform's host."""
        assert "https://api.kraty.io" == SYNC.client().base_url

    @pytest.mark.parametrize(
        ("variable", "argument", "expected"),
        [
            pytest.param("https://env.example/x/", None, "https://env.example/x", id="variable"),
            pytest.param("", None, "https://api.kraty.io", id="empty-variable"),
            pytest.param(
                "https://env.example", "https://arg.example", "https://arg.example", id="both"
            ),
        ],
    )
    @twins
    def test_environment(
        self,
        twin: Twin,
        variable: str,
        argument: str | None,
        expected: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """`KRATY_BASE_URL` is the default of `base_url`, and an argument is preferred to it."""
        monkeypatch.setenv("KRATY_BASE_URL", variable)
        assert expected == twin.client(base_url=argument).base_url

    @pytest.mark.parametrize(
        "base_url",
        [
            pytest.param("http://api.kraty.io", id="http"),
            pytest.param("http://127.0.0.1.example.com", id="http-to-a-lookalike"),
            pytest.param("http://localhost.example.com", id="http-to-another-lookalike"),
            pytest.param("http://10.0.0.1", id="http-to-a-private-network"),
            pytest.param("http://0.0.0.0", id="http-to-any-address"),
        ],
    )
    @twins
    def test_insecure(self, twin: Twin, base_url: str) -> None:
        """`http://` is refused unless the host is loopback, since each request carries the key."""
        with pytest.raises(ValueError, match=r"^base_url must be https://"):
            twin.client(base_url=base_url)

    @twins
    def test_the_emulators_own_keys_need_no_tls(self, twin: Twin) -> None:
        """`http://` to a container is allowed for each published key, and for no other."""
        for key in EMULATOR_KEYS:
            assert (
                "http://kraty:4010"
                == twin.client(api_key=key, base_url="http://kraty:4010").base_url
            )
            with pytest.raises(ValueError, match=r"^base_url must be https://"):
                twin.client(api_key=f"{key}x", base_url="http://kraty:4010")

    @pytest.mark.parametrize(
        "base_url",
        [
            pytest.param("", id="empty"),
            pytest.param("api.kraty.io", id="no-scheme"),
            pytest.param("//api.kraty.io", id="no-scheme-but-slashes"),
            pytest.param("ftp://api.kraty.io", id="other-scheme"),
            pytest.param("https://", id="no-host"),
            pytest.param("https://:443", id="port-only"),
            pytest.param("https:///server", id="path-only"),
            pytest.param(" https://api.kraty.io", id="space-before"),
            pytest.param("https://api.kraty.io ", id="space-after"),
            pytest.param("https://api.kraty.io\n", id="line-break"),
            pytest.param("https://api..kraty.io", id="empty-label"),
            pytest.param("https://.kraty.io", id="leading-dot"),
            pytest.param(f"https://{'a' * 64}.example", id="label-too-long"),
            pytest.param("https://api.kraty.io:0", id="port-0"),
            pytest.param("https://api.kraty.io:65536", id="port-too-large"),
            pytest.param("https://api.kraty.io:port", id="port-in-words"),
            pytest.param("https://[::1", id="broken-IPv6"),
            pytest.param("https://user:pass@api.kraty.io", id="user-and-password"),
            pytest.param("https://user@api.kraty.io", id="user"),
            pytest.param("https://:@api.kraty.io", id="empty-user-and-password"),
            pytest.param("https://api.kraty.io\\@evil.example", id="backslash"),
            pytest.param("https://api.kraty.io?a=1", id="query"),
            pytest.param("https://api.kraty.io/?", id="empty-query"),
            pytest.param("https://api.kraty.io#a", id="fragment"),
            pytest.param("https://api.kraty.io/#", id="empty-fragment"),
            pytest.param("https://api.kraty.io/server/v1", id="with-the-root"),
            pytest.param("https://api.kraty.io/server/v1/", id="with-the-root-and-a-slash"),
        ],
    )
    @pytest.mark.parametrize("source", ["argument", "environment"])
    @twins
    def test_unusable(
        self, twin: Twin, source: str, base_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A wrong `base_url` is refused at construction."""
        if source == "environment":
            monkeypatch.setenv("KRATY_BASE_URL", base_url or "/")
        with pytest.raises(ValueError, match=r"^base_url must "):
            twin.client(base_url=base_url if source == "argument" else None)

    @pytest.mark.parametrize("base_url", [b"https://h", 0, httpx.URL("https://h")], ids=type)
    @twins
    def test_not_a_string(self, twin: Twin, base_url: Any) -> None:
        """A `base_url` that is not a `str` is a `TypeError`, even if it is falsy."""
        with pytest.raises(TypeError, match=r"^base_url must be a str, not "):
            twin.client(base_url=base_url)


class TestHeaders:
    """The headers of every request."""

    @twins
    def test_write(self, twin: Twin) -> None:
        """A write carries key, types, version and length."""
        headers = sent_by(twin).headers
        expected = {
            "accept": "application/json",
            "authorization": f"Bearer {KEY}",
            "content-length": str(len(sent_by(twin).content)),
            "content-type": "application/json",
            "host": "api.kraty.io",
            "user-agent": f"kraty-admin/{__version__} python/{platform.python_version()}",
            "x-kraty-sdk": f"kraty-admin/{__version__}",
        }
        assert expected == {name: headers[name] for name in expected}


class TestTimeout:
    """`timeout` and `deadline`, checked when they are given."""

    @pytest.mark.parametrize("option", ["timeout", "deadline"])
    @pytest.mark.parametrize(
        "value",
        [
            pytest.param(0, id="zero"),
            pytest.param(-1.0, id="negative"),
            pytest.param(math.nan, id="NaN"),
            pytest.param(-math.inf, id="minus-infinity"),
            pytest.param(1e12, id="longer-than-sockets-take"),
            pytest.param(10**400, id="beyond-float"),
        ],
    )
    @twins
    def test_bad_number(self, twin: Twin, option: str, value: float) -> None:
        """A number of seconds that no socket can wait is a `ValueError` that names the option."""
        with pytest.raises(ValueError, match=f"^{option} must be above 0 seconds"):
            twin.client(**{option: value})
        with pytest.raises(ValueError, match=f"^{option} must be above 0 seconds"):
            twin.client().with_options(**{option: value})

    @pytest.mark.parametrize("option", ["timeout", "deadline"])
    @pytest.mark.parametrize("value", [True, "15", [1.0]], ids=["bool", "str", "list"])
    @twins
    def test_not_a_number(self, twin: Twin, option: str, value: Any) -> None:
        """A value that is not a number is a `TypeError` that names the option."""
        with pytest.raises(TypeError, match=f"^{option} must be a number of seconds"):
            twin.client(**{option: value})

    @pytest.mark.parametrize("phase", ["connect", "read", "write", "pool"])
    def test_bad_phase(self, phase: str) -> None:
        """Each phase of an `httpx.Timeout` is checked."""
        phases: dict[str, Any] = {"connect": 1.0, "read": 1.0, "write": 1.0, "pool": 1.0}
        with pytest.raises(ValueError, match=f"^timeout's {phase} must be above 0 seconds"):
            SYNC.client(timeout=httpx.Timeout(**{**phases, phase: 0.0}))

    def test_infinite_timeout(self) -> None:
        """An infinite timeout is refused; no timeout is written `httpx.Timeout(None)`."""
        with pytest.raises(ValueError, match=r"^timeout must be"):
            SYNC.client(timeout=math.inf)

    @twins
    def test_is_copied(self, twin: Twin) -> None:
        """Changing an `httpx.Timeout` later does not change the client."""
        timeout = httpx.Timeout(5.0)
        kraty = twin.client(timeout=timeout)
        timeout.read = 0.001
        assert httpx.Timeout(5.0) == kraty._settings.timeout


class TestCallables:
    """Hooks and other objects that a client takes."""

    @pytest.mark.parametrize("option", ["on_request", "generate_idempotency_key"])
    @twins
    def test_not_callable(self, twin: Twin, option: str) -> None:
        """A hook that cannot be called is a `TypeError` at construction."""
        with pytest.raises(TypeError, match=f"^{option} must be callable"):
            twin.client(**{option: "hook"})

    @twins
    def test_coroutine_function(self, twin: Twin) -> None:
        """A coroutine function as a hook is refused, since nothing would await it."""

        async def hook(info: RequestInfo) -> None: ...

        class Hook:
            async def __call__(self, info: RequestInfo) -> None: ...

        for unfit in (hook, Hook()):
            with pytest.raises(TypeError, match=r"^on_request must be a plain function"):
                twin.client(on_request=unfit)

    @twins
    def test_retry(self, twin: Twin) -> None:
        """A `retry` that is not a `RetryConfig` is refused."""
        with pytest.raises(TypeError, match=r"^retry must be a RetryConfig, not int$"):
            twin.client(retry=3)

    @pytest.mark.parametrize(
        "value", [-1, True, 1.5, "9"], ids=["negative", "bool", "float", "str"]
    )
    @twins
    def test_retry_budget(self, twin: Twin, value: Any) -> None:
        """A `retry_budget` that is not a whole number of at least 0 is refused."""
        with pytest.raises(ValueError, match=r"^retry_budget must be an int of at least 0"):
            twin.client(retry_budget=value)

    @pytest.mark.parametrize(
        ("twin_type", "client"),
        [
            pytest.param(KratyAdmin, httpx.AsyncClient, id="async-to-sync"),
            pytest.param(KratyAdminAsync, httpx.Client, id="sync-to-async"),
            pytest.param(KratyAdmin, object, id="something-else"),
            pytest.param(KratyAdminAsync, object, id="something-else-async"),
        ],
    )
    def test_http_client(self, twin_type: Any, client: Any) -> None:
        """A client of the wrong kind is a `TypeError` that names both kinds."""
        with pytest.raises(TypeError, match=r"^http_client must be an httpx\.\w+, not \w+\.\w+"):
            twin_type(api_key=KEY, http_client=client())

    @twins
    def test_falsy_http_client(self, twin: Twin) -> None:
        """A caller's client is used even if it is falsy."""

        class Falsy(twin.http_client_type):  # type: ignore[name-defined, misc]
            def __bool__(self) -> bool:
                return False

        answered = httpx.MockTransport(always({"data": {"a": 1}}))
        assert {"a": 1} == twin.credit(http_client=Falsy(transport=answered))


class TestEnvironment:
    """Proxies and certificates of the environment: used, or refused at construction."""

    @pytest.mark.parametrize(
        "proxy",
        [
            pytest.param("ftp://proxy.example", id="other-scheme"),
            pytest.param("http://", id="no-host"),
            pytest.param("http://:8080", id="port-only"),
            pytest.param("http://proxy.example:port", id="port-in-words"),
            pytest.param("http://proxy.example:99999", id="port-too-large"),
            pytest.param("http://proxy..example", id="empty-label"),
            pytest.param("://", id="no-scheme"),
            pytest.param("http://[::1", id="broken-IPv6"),
            pytest.param(f"http://user:{CANARY}@", id="credentials-only"),
        ],
    )
    @pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
    @twins
    def test_bad_proxy(
        self, twin: Twin, variable: str, proxy: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A value that is not a proxy is refused at construction, and not quoted."""
        monkeypatch.setenv(variable, proxy)
        with pytest.raises(ValueError, match=r"^https_proxy or all_proxy in the env") as raised:
            twin.client()
        assert CANARY not in str(raised.value)

    @pytest.mark.parametrize(
        ("variables", "base_url"),
        [
            pytest.param({"HTTPS_PROXY": "nonsense://"}, "http://127.0.0.1:1", id="loopback"),
            pytest.param({"HTTP_PROXY": "nonsense://"}, "https://api.kraty.io", id="other-scheme"),
            pytest.param(
                {"HTTPS_PROXY": "nonsense://", "NO_PROXY": "kraty.io"},
                "https://api.kraty.io",
                id="excepted",
            ),
        ],
    )
    @twins
    def test_proxy_that_is_not_used(
        self,
        twin: Twin,
        variables: dict[str, str],
        base_url: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A bad proxy that this host does not use is ignored."""
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert base_url == twin.client(base_url=base_url).base_url

    @pytest.mark.parametrize("kind", ["missing", "a-directory", "no-certificate"])
    @twins
    def test_bad_certificate_file(
        self, twin: Twin, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An `SSL_CERT_FILE` without certificates is refused at construction."""
        file = tmp_path / "ca.pem"
        if kind == "a-directory":
            file.mkdir()
        elif kind == "no-certificate":
            file.write_text("nothing")
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        with pytest.raises(ValueError, match=r"^SSL_CERT_FILE in the environment") as caught:
            twin.client()
        if kind == "no-certificate":
            assert str(file) in str(caught.value)

    @twins
    def test_a_bad_file_of_httpx(self, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
        """If the file that httpx comes with cannot be read, the error names it, and no variable."""

        def fail(*, trust_env: bool) -> ssl.SSLContext:
            raise FileNotFoundError(2, "No such file or directory")

        # httpx 0.27 asks for the file's name only when it is imported.
        monkeypatch.setattr("httpx.create_ssl_context", fail)
        monkeypatch.setattr(_tls, "_contexts", {})
        file = re.escape(certifi.where())
        with pytest.raises(ValueError, match=f"of certifi cannot be used: {file}: "):
            twin.client()

    @twins
    def test_bad_certificate_directory(
        self, twin: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An `SSL_CERT_DIR` that does not exist is refused at construction."""
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "missing"))
        with pytest.raises(ValueError, match=r"^SSL_CERT_DIR in the environment"):
            twin.client()

    @twins
    def test_authorities_that_are_not_asked(
        self, twin: Twin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A client without TLS does not read the certificates."""
        monkeypatch.setenv("SSL_CERT_FILE", "/missing")
        assert "http://127.0.0.1:1" == twin.client(base_url="http://127.0.0.1:1").base_url

    @twins
    def test_certificate_directory(
        self, twin: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An `SSL_CERT_DIR` of several directories needs only one that exists."""
        monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path / 'missing'}:{tmp_path}")
        assert "https://api.kraty.io" == twin.client().base_url

    @twins
    def test_own_client_needs_none_of_it(self, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
        """Proxies and certificates of the environment are not read with a caller's client."""
        http_client = twin.mocked(always({"data": {}}))
        monkeypatch.setenv("SSL_CERT_FILE", "/missing")
        monkeypatch.setenv("HTTPS_PROXY", "nonsense://")
        assert {} == twin.credit(http_client=http_client)


class TestWithOptions:
    """Options for some calls."""

    @twins
    def test_parent_stays_as_it_is(self, twin: Twin) -> None:
        """Changed options of a derived client do not change its parent."""
        parent = twin.client(timeout=5.0, deadline=50.0)
        before = parent._settings
        derived = parent.with_options(
            timeout=1.0, deadline=math.inf, retry=RetryConfig(attempts=1), on_request=print
        )
        assert before is parent._settings
        assert httpx.Timeout(1.0, pool=None) == derived._settings.timeout
        assert math.inf == derived._settings.deadline
        assert RetryConfig(attempts=1) == derived._settings.retry
        assert print is derived._settings.on_request

    @twins
    def test_what_is_left_out_is_inherited(self, twin: Twin) -> None:
        """A derived client inherits the options that are not passed, through several
        generations."""
        parent = twin.client(timeout=5.0, deadline=50.0, retry=RetryConfig(attempts=2))
        derived = parent.with_options(deadline=5.0).with_options(timeout=1.0).with_options()
        assert httpx.Timeout(1.0, pool=None) == derived._settings.timeout
        assert 5.0 == derived._settings.deadline
        assert RetryConfig(attempts=2) == derived._settings.retry

    @twins
    def test_none_is_the_default(self, twin: Twin) -> None:
        """An option of `None` restores its default, and removes a hook."""

        def options(client: Any) -> dict[str, object]:
            settings: object = client._settings
            return vars(settings)

        parent = twin.client(
            timeout=5.0, deadline=50.0, retry=RetryConfig(attempts=2), on_request=print
        )
        before, defaults = options(parent), options(twin.client())
        for each in before:
            option: dict[str, None] = {each: None}
            assert {**before, each: defaults[each]} == options(parent.with_options(**option))

    @pytest.mark.parametrize(
        ("operation", "expected"),
        [pytest.param(None, 15.0, id="call"), pytest.param(60.0, 60.0, id="migrate")],
    )
    def test_timeout_of_each_operation(self, operation: float | None, expected: float) -> None:
        """With `timeout=None`, each operation has its own default again."""
        settings = SYNC.client(timeout=5.0).with_options(timeout=None)._settings
        phases = dict.fromkeys(("connect", "read", "write"), expected)
        # A call waits for a connection until its deadline.
        assert {**phases, "pool": None} == settings.timeout_of(operation)

    @twins
    def test_removed_hook(self, twin: Twin) -> None:
        """A hook that was removed is not called, and the parent's still is."""
        reported: list[RequestInfo] = []

        async def scenario(kraty: Any) -> None:
            await settled(kraty.with_options(on_request=None).health.ping())
            assert [] == reported
            await settled(kraty.health.ping())

        twin.run(
            scenario, http_client=twin.mocked(always({"ok": True})), on_request=reported.append
        )
        assert 1 == len(reported)

    @twins
    def test_shared(self, twin: Twin) -> None:
        """A derived client shares connections, retry budget and key generator."""
        parent = twin.client(generate_idempotency_key=lambda: "k")
        derived = parent.with_options(timeout=1.0)
        assert parent._sender is derived._sender
        assert parent._budget is derived._budget
        assert parent._generate_key is derived._generate_key

    @twins
    def test_same_type(self, twin: Twin) -> None:
        """A derived client has its parent's type and its own resources."""
        parent = twin.client()
        derived = parent.with_options()
        assert type(parent) is type(derived)
        assert parent.wallet is not derived.wallet

    @twins
    def test_hook_of_the_derived(self, twin: Twin) -> None:
        """A derived client calls its own hook."""
        reported: list[str] = []

        def of_parent(info: RequestInfo) -> None:
            reported.append("parent")

        def of_derived(info: RequestInfo) -> None:
            reported.append("derived")

        async def scenario(kraty: Any) -> None:
            await settled(kraty.with_options(on_request=of_derived).health.ping())
            await settled(kraty.health.ping())

        http_client = twin.mocked(always({"ok": True}))
        twin.run(scenario, http_client=http_client, on_request=of_parent)
        assert ["derived", "parent"] == reported

    @twins
    def test_many_generations(self, twin: Twin) -> None:
        """A client derived 5,000 times in a row still works."""

        async def scenario(kraty: Any) -> Any:
            for _ in range(5_000):
                kraty = kraty.with_options(timeout=5.0)
            return await settled(kraty.health.ping())

        http_client = twin.mocked(always({"ok": True}))
        assert {"ok": True} == twin.run(scenario, http_client=http_client)


def test_ssl_context_is_a_verifying_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SSL context checks certificates and host names."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    context = SYNC.client()._sender.channel._endpoint.ssl_context()
    assert (ssl.CERT_REQUIRED, True) == (context.verify_mode, context.check_hostname)
