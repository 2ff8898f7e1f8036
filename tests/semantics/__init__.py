"""The promises of `docs/semantics.md`: at least one test for each, named after it."""
