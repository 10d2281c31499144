"""HTTP in and out. Knows no vendor and no adapter."""
