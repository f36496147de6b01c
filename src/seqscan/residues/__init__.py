"""Which residues make a protein a member of its cluster, and which domains it consists of.

`explain` gives each residue its part in the logit, a map of `maps`; `domains` finds several clusters in one
protein; `consensus` aligns the maps of a cluster's members; `tracks` writes maps and domains for other
programs.
"""

__all__ = ["consensus", "domains", "explain", "maps", "tracks"]
