"""The HTML report: one file that opens offline, from the values of a `ReportData` alone.

The file asks the network for nothing: its content security policy forbids it, and allows only the style and
the script that this package put in, by their SHA-256. Whatever comes from a FASTA header is untrusted: the
template escapes it, and the script only ever sets it as text.
"""

from seqscan.report.architecture import Architecture, Part
from seqscan.report.data import ReportData
from seqscan.report.page import write_report
from seqscan.report.payload import MAX_POINTS
from seqscan.report.projection import project_to_plane

__all__ = [
    "MAX_POINTS",
    "Architecture",
    "Part",
    "ReportData",
    "project_to_plane",
    "write_report",
]
