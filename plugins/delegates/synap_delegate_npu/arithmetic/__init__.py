"""Integer arithmetic of the hardware operations, and proofs that floating-point operators compute it exactly."""
