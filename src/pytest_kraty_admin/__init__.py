"""The pytest plugin: an emulator of Kraty for each test that asks for one.

    def test_a_purchase(kraty_emulator):
        kraty_emulator.client().wallet.credit("player_42", "gold", amount=500)
        assert kraty_emulator.balance("player_42", "gold") == 500

It is a separate package because pytest imports it in every run. So `kraty_admin` and the
packages that its emulator needs are imported only when a test asks for the emulator.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast
from zlib import crc32

import pytest

if TYPE_CHECKING:
    from kraty_admin import KratyAdminAsync
    from kraty_admin.emulator import Emulator, World

__all__ = ["kraty_async_client", "kraty_emulator", "kraty_session_emulator"]

_MARKER: Final = "kraty"

_SHOWN: Final = 50
"""How many requests the report of a failed test shows."""

_LONGEST: Final = 150
"""How many characters of a test's name the name of its session's file has."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    parser.getgroup("kraty").addoption(
        "--kraty-sessions",
        type=Path,
        metavar="DIR",
        help="write the session of each failed test that used kraty_emulator to this folder;"
        " kraty-admin emulator --replay FILE shows it",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, for `--strict-markers` and `--markers`."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(world=None, faults=None): what kraty_emulator starts with. world: a World or"
        " the path of its JSON file. faults: a Fault, a list of them (None lets a call pass), or"
        " a dict of these by operation.",
    )


@pytest.fixture(scope="session")
def _kraty_emulator_server() -> Iterator[Emulator]:  # pyright: ignore[reportUnusedFunction]  # pytest uses it
    """The emulator that the tests of a process share, one after the other."""
    with _running() as emulator:
        yield emulator


@pytest.fixture
def kraty_emulator(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Emulator]:
    """A fresh `kraty_admin.emulator.Emulator`, on a free port of this machine.

    During the test, `KRATY_BASE_URL` and `KRATY_SERVER_KEY` name the emulator, so a client
    that the test creates without arguments uses it. Every open client that was created
    before the test, for example at import, also sends its calls to the emulator, with the
    emulator's key. After the test, it sends them where it did before; see
    `Emulator.capture_clients`. A client that the test creates with a `base_url` uses that URL.

    Clients from `client()` are closed after the test. Ids depend only on the order of the
    calls. The clock runs until the test sets it.

    `@pytest.mark.kraty(world=..., faults=...)` sets the world and the faults that the test
    starts with. A test with a world gets its own emulator.
    """
    wishes = _wishes(request.node)
    with ExitStack() as stack:
        if wishes["world"] is None:
            emulator: Emulator = request.getfixturevalue("_kraty_emulator_server")
        else:
            emulator = stack.enter_context(_running(wishes["world"]))
        try:
            _add_faults(emulator, wishes["faults"])
            monkeypatch.setenv("KRATY_BASE_URL", emulator.base_url)
            monkeypatch.setenv("KRATY_SERVER_KEY", emulator.api_key)
            with emulator.capture_clients():
                yield emulator
        finally:
            emulator.close_clients()
            emulator.start()  # the test may have closed it
            # Now, not before the next test: a webhook that is delivered again could reach another
            # program that has got the receiver's port in the meantime.
            emulator.reset()
            emulator.drop_snapshots()


@pytest.fixture
def kraty_async_client(kraty_emulator: Emulator) -> KratyAdminAsync:
    """A client of `kraty_emulator` for asyncio. It works with any plugin that runs async tests.

    It opens a connection for each call, so it needs no `async with`.
    """
    return kraty_emulator.async_client(keep_alive=False)


@pytest.fixture(scope="session")
def kraty_session_emulator() -> Iterator[Emulator]:
    """One emulator for the whole session, which no test resets.

    It is not the one behind `kraty_emulator`. Build a state and take a snapshot in your own
    session fixture, and `restore` it in each test.

    From its first use to the end of the session, `KRATY_BASE_URL` and `KRATY_SERVER_KEY` name
    it. It captures the clients that exist at its first use, as `kraty_emulator` does during a
    test.
    """
    with _running() as emulator, pytest.MonkeyPatch.context() as environment:
        environment.setenv("KRATY_BASE_URL", emulator.base_url)
        environment.setenv("KRATY_SERVER_KEY", emulator.api_key)
        with emulator.capture_clients():
            yield emulator
        emulator.close_clients()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, None]:
    """Record where the requests of a test begin in the list of the session's emulator."""
    # Requests that fixtures have sent to `kraty_emulator`, which is fresh, belong to the test.
    if emulator := _emulators_of(item).get("kraty_session_emulator"):
        item.stash[_NEWEST_BEFORE] = max((each.number for each in emulator.requests), default=0)
    yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, None]:
    """Add the requests of a failed test to its report."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    if report.when == "call" and report.failed:
        emulators = _emulators_of(item)
        for name, emulator in emulators.items():
            is_fresh = name == "kraty_emulator"
            before = 0 if is_fresh else item.stash.get(_NEWEST_BEFORE, 0)
            if text := _requests_of(emulator, before):
                report.sections.append((f"Requests to {name}", text))
        folder: Path | None = item.config.getoption("kraty_sessions")
        if folder is not None and "kraty_emulator" in emulators:
            saved = _save_session(emulators["kraty_emulator"], folder, item.nodeid)
            report.sections.append(("Kraty session", saved))


_NEWEST_BEFORE: Final = pytest.StashKey[int]()
"""The number of the newest request before the test, in the session's emulator."""


@contextmanager
def _running(world: World | None = None) -> Generator[Emulator, None, None]:
    try:
        from kraty_admin.emulator import DEFAULT_WORLD, Clock, Emulator
    except ModuleNotFoundError as missing:
        raise pytest.fail.Exception(str(missing), pytrace=False) from None
    with Emulator(seed=0, clock=Clock(), world=world or DEFAULT_WORLD) as emulator:
        yield emulator


def _wishes(node: pytest.Item) -> dict[str, Any]:
    """Return the marker's arguments, checked."""
    wishes: dict[str, Any] = {"world": None, "faults": None}
    # From the outermost, so that a test's own marker overrides the others.
    for marker in reversed(list(node.iter_markers(_MARKER))):
        unknown = sorted(marker.kwargs.keys() - wishes.keys())
        if marker.args or unknown:
            what = ", ".join(unknown) or "positional arguments"
            _refuse(f"it takes world and faults by name, not {what}")
        wishes.update(marker.kwargs)
    if wishes["world"] is not None:
        wishes["world"] = _world(wishes["world"])
    return wishes


def _world(value: object) -> World:
    from kraty_admin.emulator import World

    if isinstance(value, World):
        return value
    if not isinstance(value, (str, Path)):
        _refuse(f"world must be a World or a path, not {type(value).__name__}")
    try:
        return World.load(value)
    except (OSError, ValueError) as error:
        _refuse(f"world: {error}")


def _add_faults(emulator: Emulator, faults: Any) -> None:
    from kraty_admin.emulator import Fault

    by_operation: dict[str | None, Any] = {None: faults}
    if isinstance(faults, dict):
        by_operation = cast("dict[str | None, Any]", faults)
    for operation, value in by_operation.items():
        if value is None:
            continue
        several = cast("list[Any]", value) if isinstance(value, (list, tuple)) else [value]
        for each in several:
            if each is not None and not isinstance(each, Fault):
                _refuse(f"faults must be Fault or None, not {type(each).__name__}")
        try:
            emulator.faults.add(*several, operation=operation)
        except (TypeError, ValueError) as error:
            _refuse(f"faults: {error}")


def _refuse(why: str) -> NoReturn:
    raise pytest.fail.Exception(f"@pytest.mark.{_MARKER}: {why}", pytrace=False) from None


def _emulators_of(item: pytest.Item) -> dict[str, Emulator]:
    used: dict[str, Any] = getattr(item, "funcargs", {})
    return {
        name: used[name] for name in ("kraty_emulator", "kraty_session_emulator") if name in used
    }


def _save_session(emulator: Emulator, folder: Path, test: str) -> str:
    """Write the requests of a test to a file, and return a line for its report."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", test)
    if "[" in test or len(name) > _LONGEST:
        # Without the checksum, parameters such as `a/b` and `a b` would have the same file.
        name = f"{name[-_LONGEST:]}-{crc32(test.encode(errors='replace')):08x}"
    path = folder / f"{name}.jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        emulator.save_session(path)
    except (OSError, RuntimeError, ValueError) as error:
        return f"not saved: {error}"
    return f"See it with: kraty-admin emulator --replay {path}"


def _requests_of(emulator: Emulator, after: int) -> str:
    """Return a table of the requests of a test, without any API key."""
    try:
        requests = [each for each in emulator.requests if each.number > after]
    except RuntimeError:
        return ""  # the test has closed it
    rows = [("operation", "key", "attempt", "fault", "status", "effect")] if requests else []
    rows += [
        (
            each.operation or f"{each.method} {each.path}",
            each.idempotency_key or "-",
            str(each.attempt),
            "-" if each.fault is None else each.fault.name,
            "no answer" if each.status is None else str(each.status),
            each.effect,
        )
        for each in requests[-_SHOWN:]
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    if len(requests) > _SHOWN:
        lines.append(f"(the last {_SHOWN} of {len(requests)})")
    text = "\n".join(lines)
    # A path or an idempotency key may contain an API key by mistake.
    for key in emulator.world.keys:
        text = text.replace(key.token, f"{key.prefix}.***")
    return text
