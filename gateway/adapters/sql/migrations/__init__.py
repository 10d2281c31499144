"""The schema's history: each module in `versions` is one step, applied by `gateway.adapters.sql.migrate`.

A new step names the one before it in `down_revision` and is written by hand beside the change of `tables`; a test
compares the two. A step that was released is never edited. For SQLite, columns are altered in `op.batch_alter_table`.
"""
