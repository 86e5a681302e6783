"""Docs are true."""
