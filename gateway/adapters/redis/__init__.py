"""Hot state in Redis or Valkey: the only place that imports redis."""
