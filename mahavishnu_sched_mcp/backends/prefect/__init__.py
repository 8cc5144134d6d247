"""Prefect: deployments that people watch, on an embedded server or on the user's own."""
