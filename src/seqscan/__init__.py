"""seqscan: find the functional categories of proteins with no labels at all."""
