"""What may be asked of a backend: the policy table and its rules, applied by `shape`."""

from gateway.domain.parameters.context import OperatorPolicy, Requirements, Shaped, ShapingContext
from gateway.domain.parameters.shaping import shape

__all__ = ["OperatorPolicy", "Requirements", "Shaped", "ShapingContext", "shape"]
