"""Which operations the hardware runs, on which of its engines, and why it does not run the others."""

from synap_delegate_npu.support.answer import check, check_network
from synap_delegate_npu.support.recognise import Part, Unrecognised, parts_of
from synap_delegate_npu.support.record import DTYPES, Record, clause
from synap_delegate_npu.support.table import RECORDS

__all__ = [
    "DTYPES",
    "RECORDS",
    "Part",
    "Record",
    "Unrecognised",
    "check",
    "check_network",
    "clause",
    "parts_of",
]
