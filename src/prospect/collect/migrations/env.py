"""Alembic's entry: run the migrations on the connection that the store hands in, which holds the lock."""

from alembic import context

from prospect.collect.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by copying it
    transactional_ddl=False,  # the transaction is the caller's
)
context.run_migrations()
