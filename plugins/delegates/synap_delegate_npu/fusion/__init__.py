"""What becomes one operation of the hardware, and what profiles call it."""

from synap_delegate_npu.fusion.grouping import Fused, fuse, fused
from synap_delegate_npu.fusion.profile import profile_name
from synap_delegate_npu.fusion.rules import RULES

__all__ = ["RULES", "Fused", "fuse", "fused", "profile_name"]
