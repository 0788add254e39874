"""Tests of Starling; they use the real parts: HTTP, Ray, SQLite and PostgreSQL."""
