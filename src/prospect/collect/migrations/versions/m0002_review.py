"""Verdicts of reviewers, and what a policy thinks of an answer."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "review",
        sa.Column("turn", sa.Text(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("verdict", sa.SmallInteger(), nullable=True),
        sa.Column("blind", sa.SmallInteger(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("open_until", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["turn"], ["turn.id"]),
        sa.PrimaryKeyConstraint("turn", "reviewer"),
    )
    op.create_index("review_reviewer", "review", ["reviewer", "tenant"], unique=False)
    op.create_table(
        "reward",
        sa.Column("turn", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["turn"], ["turn.id"]),
        sa.PrimaryKeyConstraint("turn"),
    )
    op.create_index("reward_tenant", "reward", ["tenant"], unique=False)
