"""The tables, as the newest migration leaves them; a test compares the two. Times are seconds since the epoch."""

from __future__ import annotations

from types import MappingProxyType

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

NAMING = MappingProxyType(
    {
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)
METADATA = MetaData(naming_convention=NAMING)

plans = Table(
    "plans",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("requests_per_minute", Double, nullable=False),
    Column("burst", Integer, nullable=False),
    Column("max_concurrency", Integer, nullable=False),
    Column("max_queued", Integer, nullable=False),
    Column("max_wait_s", Double, nullable=False),
    Column("keep_alive_s", Double, nullable=False, server_default="0"),
    Column("weight", Double, nullable=False),
    Column("images_per_day", BigInteger),
    Column("images_per_month", BigInteger),
    Column("gpu_seconds_per_day", Double),
    Column("gpu_seconds_per_month", Double),
    Column("body_bytes", BigInteger, nullable=False),
    Column("generated_pixels", BigInteger, nullable=False),
    Column("upscaled_pixels", BigInteger, nullable=False),
    Column("input_pixels", BigInteger, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("images_per_call", Integer, nullable=False),
    Column("resize_factor", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("version", Integer, nullable=False),
)

tenants = Table(
    "tenants",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("plan", Text, ForeignKey("plans.name"), nullable=False),
    Column("grants", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("version", Integer, nullable=False),
)

keys = Table(
    "keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, ForeignKey("tenants.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),
    Column("prefix", Text, nullable=False, index=True),
    Column("old_digest", Text, unique=True),
    Column("old_prefix", Text, nullable=False),
    Column("old_valid_until", Double),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("grants", JSON, nullable=False),
    Column("overrides", JSON, nullable=False),
    Column("default_model", Text, nullable=False),
    Column("addresses", JSON, nullable=False),
    Column("allows_path", Boolean, nullable=False),
    Column("version", Integer, nullable=False),
    UniqueConstraint("tenant_id", "name"),
)

backends = Table(
    "backends",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("url", Text, nullable=False, unique=True),
    Column("username", Text, nullable=False),
    Column("password", Text, nullable=False),
    Column("is_managed", Boolean, nullable=False),
    Column("old_options", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("version", Integer, nullable=False),
)

admin_tokens = Table(
    "admin_tokens",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("prefix", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
    Column("version", Integer, nullable=False),
)

# No foreign keys here: a record is kept whatever became of the tenant, key or backend it names.
ledger = Table(
    "ledger",
    METADATA,
    Column("job_id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("backend", Text, nullable=False),
    Column("day", BigInteger, nullable=False),  # whole days UTC since the epoch, of entered_at
    Column("entered_at", Double, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double, nullable=False),
    Column("swap_s", Double, nullable=False),
    Column("generation_s", Double, nullable=False),
    Column("gpu_seconds", Double, nullable=False),
    Column("images", BigInteger, nullable=False),
    Column("megapixel_steps", Double, nullable=False),
    Column("steps", BigInteger, nullable=False),
    Column("width", BigInteger, nullable=False),
    Column("height", BigInteger, nullable=False),
    Column("bytes_in", BigInteger, nullable=False),
    Column("bytes_out", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("adjustments", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index(None, "tenant_id", "entered_at"),
    Index(None, "entered_at"),
    Index(None, "key_id", "entered_at"),
    Index(None, "model", "entered_at"),
)

audit_log = Table(
    "audit_log",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False, index=True),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("detail", JSON, nullable=False),
)

speeds = Table(
    "speeds",
    METADATA,
    Column("backend", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("seconds", Double, nullable=False),
    Column("learned_at", Double, nullable=False),
)

meta = Table(
    "meta",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
