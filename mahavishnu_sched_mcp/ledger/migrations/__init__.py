"""The ledger's schema, one SQL file a version."""
