"""Errors carry their facts as fields and end in a remedy."""

import pytest

from seqscan import errors
from seqscan.errors import (
    ArtifactError,
    DuplicateId,
    InputError,
    InvalidParameter,
    InvalidSequence,
    MissingDependency,
    SeqscanError,
    SeqscanWarning,
    ShapeMismatch,
)


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "SeqscanWarning"])
def test_every_error_is_a_seqscan_error(name):
    assert issubclass(getattr(errors, name), SeqscanError)


@pytest.mark.parametrize("kind", [InputError, InvalidSequence, DuplicateId, InvalidParameter, ShapeMismatch])
def test_errors_about_arguments_are_value_errors(kind):
    assert issubclass(kind, ValueError)


def test_warning_is_no_error():
    assert issubclass(SeqscanWarning, UserWarning)
    assert not issubclass(SeqscanWarning, SeqscanError)


def test_message_and_remedy():
    error = SeqscanError("It broke.", remedy="Mend it.")
    assert (error.message, error.remedy, str(error)) == ("It broke.", "Mend it.", "It broke. Mend it.")
    assert str(SeqscanError("It broke.")) == "It broke."


@pytest.mark.parametrize(
    ("error", "text", "fields"),
    [
        (InputError("a.fasta", "is empty"), "a.fasta: is empty.", {"path": "a.fasta", "reason": "is empty"}),
        (
            InvalidSequence(3, "P1", "is bad", remedy="Go."),
            "record 3 (P1): is bad. Go.",
            {"number": 3, "id": "P1", "reason": "is bad"},
        ),
        (InvalidSequence(3, "", "is bad"), "record 3 (no id): is bad.", {"id": ""}),
        (
            InvalidParameter("n", "x", "must be a number"),
            "n='x': must be a number.",
            {"name": "n", "value": "x", "reason": "must be a number"},
        ),
        (ArtifactError("m", "is gone"), "m: is gone.", {"path": "m", "reason": "is gone"}),
        (MissingDependency("No x.", remedy="Install x."), "No x. Install x.", {"remedy": "Install x."}),
    ],
)
def test_text_and_fields(error, text, fields):
    assert str(error) == text
    assert {name: getattr(error, name) for name in fields} == fields
