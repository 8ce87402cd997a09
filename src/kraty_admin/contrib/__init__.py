"""Support for frameworks and tools that are optional. Each has its own extra."""

__all__: list[str] = []
