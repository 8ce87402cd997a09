"""Modules that are the same for every contract.

The build step copies each module into the generated package, under the same name. This file
is not copied, because the package has its own.
"""
