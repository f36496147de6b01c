"""`python -m seqscan` is the command line."""

from seqscan.cli import main

main()
