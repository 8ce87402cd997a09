"""Programs that the tests of bulk imports run."""
