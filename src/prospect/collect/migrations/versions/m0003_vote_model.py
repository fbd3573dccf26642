"""A vote says which model it is about, so that votes are counted without a look at every turn."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns, fill them, and let them be counted by an index alone."""
    op.add_column("vote", sa.Column("model", sa.Text(), nullable=True))
    op.add_column("vote", sa.Column("arm", sa.Text(), nullable=True))
    op.add_column("vote", sa.Column("shown", sa.BigInteger(), nullable=True))
    for name, of_turn in (("model", "model"), ("arm", "arm"), ("shown", "created")):
        op.execute(f"UPDATE vote SET {name} = (SELECT {of_turn} FROM turn WHERE turn.id = vote.turn)")  # noqa: S608
    op.create_index("vote_model", "vote", ["model", "arm", "turn", "value", "shown", "tenant"], unique=False)
