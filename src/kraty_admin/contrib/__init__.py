"""Support for frameworks and tools that the package does not need. Each has an extra."""

__all__: list[str] = []
