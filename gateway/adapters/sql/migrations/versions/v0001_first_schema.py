"""The first schema: what is managed, the ledger, the audit log, learned speeds; and the standard plan."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Written out, not taken from the code: a step must do the same for ever.
_STANDARD = {
    "name": "standard",
    "requests_per_minute": 60.0,
    "burst": 20,
    "max_concurrency": 2,
    "max_queued": 16,
    "max_wait_s": 90.0,
    "weight": 1.0,
    "body_bytes": 32_000_000,
    "generated_pixels": 4_200_000,
    "upscaled_pixels": 34_000_000,
    "input_pixels": 34_000_000,
    "steps": 150,
    "images_per_call": 8,
    "resize_factor": 8.0,
    "created_at": 0.0,
    "version": 1,
}


def upgrade() -> None:
    """Create every table, and the plan that tenants are on unless told otherwise."""
    _create_plans()
    _create_tenants()
    _create_keys()
    _create_backends()
    _create_admin_tokens()
    _create_ledger()
    _create_audit_log()
    _create_speeds()
    _create_meta()
    _add_standard_plan()


def _create_plans() -> None:
    op.create_table(
        "plans",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("requests_per_minute", sa.Double(), nullable=False),
        sa.Column("burst", sa.Integer(), nullable=False),
        sa.Column("max_concurrency", sa.Integer(), nullable=False),
        sa.Column("max_queued", sa.Integer(), nullable=False),
        sa.Column("max_wait_s", sa.Double(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("images_per_day", sa.BigInteger(), nullable=True),
        sa.Column("images_per_month", sa.BigInteger(), nullable=True),
        sa.Column("gpu_seconds_per_day", sa.Double(), nullable=True),
        sa.Column("gpu_seconds_per_month", sa.Double(), nullable=True),
        sa.Column("body_bytes", sa.BigInteger(), nullable=False),
        sa.Column("generated_pixels", sa.BigInteger(), nullable=False),
        sa.Column("upscaled_pixels", sa.BigInteger(), nullable=False),
        sa.Column("input_pixels", sa.BigInteger(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("images_per_call", sa.Integer(), nullable=False),
        sa.Column("resize_factor", sa.Double(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_plans")),
    )


def _create_tenants() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("grants", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["plan"], ["plans.name"], name=op.f("fk_tenants_plan")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("name", name=op.f("uq_tenants_name")),
    )


def _create_keys() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("old_digest", sa.Text(), nullable=True),
        sa.Column("old_prefix", sa.Text(), nullable=False),
        sa.Column("old_valid_until", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("grants", sa.JSON(), nullable=False),
        sa.Column("overrides", sa.JSON(), nullable=False),
        sa.Column("default_model", sa.Text(), nullable=False),
        sa.Column("addresses", sa.JSON(), nullable=False),
        sa.Column("allows_path", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_keys_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_keys_digest")),
        sa.UniqueConstraint("old_digest", name=op.f("uq_keys_old_digest")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_keys_tenant_id_name")),
    )
    op.create_index(op.f("ix_keys_prefix"), "keys", ["prefix"], unique=False)


def _create_backends() -> None:
    op.create_table(
        "backends",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("password", sa.Text(), nullable=False),
        sa.Column("is_managed", sa.Boolean(), nullable=False),
        sa.Column("old_options", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_backends")),
        sa.UniqueConstraint("url", name=op.f("uq_backends_url")),
    )


def _create_admin_tokens() -> None:
    op.create_table(
        "admin_tokens",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_admin_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_admin_tokens_digest")),
        sa.UniqueConstraint("name", name=op.f("uq_admin_tokens_name")),
    )


def _create_ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("entered_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=False),
        sa.Column("swap_s", sa.Double(), nullable=False),
        sa.Column("generation_s", sa.Double(), nullable=False),
        sa.Column("gpu_seconds", sa.Double(), nullable=False),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.Column("megapixel_steps", sa.Double(), nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.BigInteger(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("bytes_in", sa.BigInteger(), nullable=False),
        sa.Column("bytes_out", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("adjustments", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_ledger")),
    )
    op.create_index(op.f("ix_ledger_entered_at"), "ledger", ["entered_at"], unique=False)
    op.create_index(op.f("ix_ledger_key_id_entered_at"), "ledger", ["key_id", "entered_at"], unique=False)
    op.create_index(op.f("ix_ledger_model_entered_at"), "ledger", ["model", "entered_at"], unique=False)
    op.create_index(op.f("ix_ledger_tenant_id_entered_at"), "ledger", ["tenant_id", "entered_at"], unique=False)


def _create_audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index(op.f("ix_audit_log_at"), "audit_log", ["at"], unique=False)


def _create_speeds() -> None:
    op.create_table(
        "speeds",
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("learned_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("backend", "kind", "name", name=op.f("pk_speeds")),
    )


def _create_meta() -> None:
    op.create_table(
        "meta",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_meta")),
    )


def _add_standard_plan() -> None:
    plans = sa.table(
        "plans",
        *(sa.column(name) for name in _STANDARD),
    )
    op.bulk_insert(plans, [_STANDARD])
