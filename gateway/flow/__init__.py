"""What happens to a request, in order. `serve` is the whole path; the stages never call one another."""
