"""One file or folder per foreign thing; only `gateway.wiring` imports them."""
