"""Tests of the README and of docs/."""

import pytest

# They are no modules of tests, and their assertions should say what they compared.
pytest.register_assert_rewrite("docs.blocks", "docs.testkit")
