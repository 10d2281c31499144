"""Values and decisions. Pure: no clock, no dice, no I/O, no framework. Time is an argument, in seconds."""
