"""How long a test waits for what must come.

The suite runs beside other work on small machines: a limit that fits an idle one fails on a busy one and says nothing
about the code. Whoever waits for what must come waits this long, so that a hang still fails; whoever asserts a time
sets the clock.
"""

from __future__ import annotations

PATIENCE_S = 120.0
STORE_TIMEOUT_S = 30.0  # `store_timeout_s` of gateways in tests that are not about a silent store
