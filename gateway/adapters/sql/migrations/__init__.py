"""The schema's history. Each file in `versions` is one step; a step that was released is never edited."""
