"""How far all clocks of a proof are ahead of the machine's, in a file that processes share."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import attrs
import sqlalchemy as sa

__all__ = ["Ahead"]


@attrs.frozen
class Ahead:
    """The number in the file."""

    folder: Path

    @property
    def _file(self) -> Path:
        return self.folder / "ahead"

    @property
    def ms(self) -> int:
        """How many milliseconds."""
        return int(self._file.read_text())

    def set(self, ms: int) -> None:
        """Write another number, so that readers find the old one or this."""
        new = self.folder / "ahead.new"
        new.write_text(str(ms))
        new.replace(self._file)

    @contextmanager
    def database(self) -> Generator[None]:
        """Let the database's clock, as this process reads it, be ahead by so much."""
        from kraty_admin.outbox import _clock

        real = _clock.now_ms

        def now_ms() -> sa.ColumnElement[int]:
            return real() + sa.literal(self.ms, sa.BigInteger)

        _clock.now_ms = now_ms
        try:
            yield
        finally:
            _clock.now_ms = real
