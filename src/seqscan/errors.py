"""Errors that name what is wrong, where, and what to do about it.

Every error a user can cause is a `SeqscanError`: it carries its facts as fields and ends in a remedy.
Those that stand for a bad argument are `ValueError`s too, as scikit-learn's users expect.
"""

from __future__ import annotations

__all__ = [
    "ArtifactError",
    "DuplicateId",
    "InputError",
    "InvalidParameter",
    "InvalidSequence",
    "MissingDependency",
    "NoUsableRecord",
    "OneCluster",
    "OtherRankFailed",
    "SeqscanError",
    "SeqscanWarning",
    "ShapeMismatch",
]


class SeqscanWarning(UserWarning):
    """Something the user should know, which does not stop the work."""


class SeqscanError(Exception):
    """Base of all errors of this package.

    Parameters
    ----------
    message : str
        What is wrong, naming the record, file or argument.
    remedy : str, optional
        What the user can do.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.message = message
        self.remedy = remedy


class InputError(SeqscanError, ValueError):
    """A whole input cannot be used: empty, truncated, not FASTA, or without one valid record."""

    def __init__(self, path: str, reason: str, *, remedy: str = "") -> None:
        super().__init__(f"{path}: {reason}.", remedy=remedy)
        self.path = path
        self.reason = reason


class NoUsableRecord(InputError):
    """Every record of an input was rejected."""


class InvalidSequence(SeqscanError, ValueError):
    """One record is not a usable protein sequence."""

    def __init__(self, number: int, id: str, reason: str, *, remedy: str = "") -> None:
        super().__init__(f"record {number} ({id or 'no id'}): {reason}.", remedy=remedy)
        self.number = number
        self.id = id
        self.reason = reason


class DuplicateId(InvalidSequence):
    """Two records carry the same id."""


class InvalidParameter(SeqscanError, ValueError):
    """An argument has a value that cannot work."""

    def __init__(self, name: str, value: object, reason: str, *, remedy: str = "") -> None:
        super().__init__(f"{name}={value!r}: {reason}.", remedy=remedy)
        self.name = name
        self.value = value
        self.reason = reason


class OneCluster(InvalidParameter):
    """All proteins come into one cluster, `n_clusters` having been asked for, or None: to be found."""

    def __init__(self, n_clusters: int | None) -> None:
        super().__init__(
            "clusters",
            "auto" if n_clusters is None else n_clusters,
            "all proteins come into one cluster, as those of one family do; with no other to tell them from, "
            "there is no model to make",
            remedy="Give "
            + ("a number of clusters to divide a family by, or " if n_clusters is None else "")
            + "proteins of other families too.",
        )


class ShapeMismatch(SeqscanError, ValueError):
    """Arrays that must agree in shape do not."""


class ArtifactError(SeqscanError):
    """A directory written by seqscan is missing, incomplete, damaged, or of another version."""

    def __init__(self, path: str, reason: str, *, remedy: str = "") -> None:
        super().__init__(f"{path}: {reason}.", remedy=remedy)
        self.path = path
        self.reason = reason


class MissingDependency(SeqscanError):
    """An optional program or package is needed and not installed."""


class OtherRankFailed(SeqscanError):
    """Of several processes that work as one, another has failed, and says why."""

    def __init__(self) -> None:
        super().__init__("Another process failed.", remedy="Its error says why.")
