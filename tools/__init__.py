"""What maintainers run to build, check and release the package; `make help` lists it."""
