"""From finished clusters to knowledge: labels enter here, as evidence, and nothing that learns may look.

`ontology` and `annotations` read; `enrich`, `annotate`, `audit` and `categories` compare with clusters;
`candidates` and `export` propose terms; `page` shows all of it.
"""

from seqscan.knowledge.annotations import Annotations, read_annotations
from seqscan.knowledge.ontology import Ontology, Term

__all__ = ["Annotations", "Ontology", "Term", "read_annotations"]
