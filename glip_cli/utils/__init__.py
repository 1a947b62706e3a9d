"""Helpers for all packages: text of messages, threads, a cache."""
