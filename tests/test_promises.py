"""No text of the project promises more about repeating a call than the platform keeps.

The platform forgets most idempotency keys after 24 hours. Sentences that promised the
opposite, without that limit, stood in the README, the docs, the code and the changelog.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("src", "generated", "docs", "examples", "codegen")
FILES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "openapi.server.json")
KINDS = {".py", ".md", ".json", ".yaml", ".jinja", ".toml"}


def flat(text: str) -> str:
    """Return the words of a text without line breaks, quotes and marks of comments."""
    return re.sub(r"""[\s"'`*#]+""", " ", text)


def texts() -> Iterator[tuple[str, str]]:
    for path in [
        *(ROOT / name for name in (*FILES, "pyproject.toml")),
        *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*"))),
    ]:
        if path.is_file() and path.suffix in KINDS:
            yield str(path.relative_to(ROOT)), flat(path.read_text(encoding="utf-8"))


TEXTS = dict(texts())

ABSOLUTE = [
    pytest.param("whatever the network, the process or your own retry does", id="README, promise"),
    pytest.param("the receipt was fulfilled before, with another", id="README, fulfil_once"),
    pytest.param("it cannot mint again", id="README, retry"),
    pytest.param("Fulfil something once", id="fulfil_once"),
    pytest.param("takes effect once at most", id="idempotency_key, and the hint of the CLI"),
    pytest.param("repeating it with `idempotency_key` is safe", id="KratyResponseError"),
    pytest.param("A repeat with the same key and body changes nothing", id="wallet.credit"),
    pytest.param("nothing is minted or taken twice", id="help of the CLI"),
    pytest.param("repeated under the same key it takes effect once", id="help of the CLI, others"),
    pytest.param("it takes effect once all the same", id="cli.md"),
    pytest.param("retries that never mint twice", id="CHANGELOG"),
    pytest.param("one mint per receipt", id="description of the package"),
    pytest.param("ne receipt, one mint, whatever fails", id="proofs.md"),
    pytest.param("To run it again is always right", id="imports.md and import_partition"),
    pytest.param("Running all of it again is right as well", id="import_dataset"),
    pytest.param("it that nothing is brought in twice", id="imports"),
    pytest.param("so no row takes effect twice", id="resuming an import"),
    pytest.param("Names this row for good", id="keys of rows"),
    pytest.param("tells a repeat from a first time", id="replayed"),
    pytest.param("--resume is the only way to continue", id="help of the CLI, imports"),
    pytest.param("a delivery until you answer 2xx", id="webhooks"),
    pytest.param("had been seen before, so that nothing changed", id="applied"),
    pytest.param("these retries never come near the 24 hours", id="deadline"),
]


@pytest.mark.parametrize("sentence", ABSOLUTE)
def test_an_absolute_promise_is_gone(sentence: str) -> None:
    """No text that users or maintainers read holds a sentence that promised too much."""
    assert len(TEXTS) > 50
    assert [name for name, text in TEXTS.items() if flat(sentence).strip() in text] == []


@pytest.mark.parametrize(
    "name",
    ["README.md", *(f"docs/{page}.md" for page in ("sdk", "cli", "imports", "emulator", "proofs"))],
)
def test_a_page_about_repeating_states_the_limit(name: str) -> None:
    """Each page about repeating calls says that most keys are forgotten after 24 hours."""
    assert "24 hours" in TEXTS[name]
    assert re.search(r"forg[eo]t|expire", TEXTS[name])


def test_a_sentence_is_found_across_lines() -> None:
    """A promise is found even if it continues on another line or has marks in it."""
    source = '"""\n    under it `nothing\n    # is minted" \n  "or taken *twice*'
    assert "nothing is minted or taken twice" in flat(source)
