"""Measures of the gateway beside its peers. Every figure is a ratio of contenders interleaved within one run."""
