"""Python that is the same for every contract.

The build step copies each module into the generated package, under the same name. This file
stays here: the package has its own.
"""
