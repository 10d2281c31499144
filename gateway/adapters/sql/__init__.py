"""Durable state in SQLite or PostgreSQL: the only place that imports SQLAlchemy."""
