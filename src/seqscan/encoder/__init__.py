"""From residue codes to residue vectors and one vector per protein.

The package's own networks are `WordEncoder`, the default, and `ConvEncoder`; `LanguageModelEncoder` is ESM-2
or ProtT5 through `transformers`. All are an `AbstractEncoder`, and `load_encoder` gives any by name.
"""

from seqscan.encoder.abstract import AbstractEncoder, EncoderOutput, fast_autocast, fast_dtype
from seqscan.encoder.conv import ConvEncoder, ConvEncoderConfig
from seqscan.encoder.files import (
    TrainableEncoder,
    encoder_path,
    load_encoder,
    load_trainable_encoder,
    save_encoder,
)
from seqscan.encoder.language_model import LanguageModelEncoder
from seqscan.encoder.words import WordEncoder, WordEncoderConfig

__all__ = [
    "AbstractEncoder",
    "ConvEncoder",
    "ConvEncoderConfig",
    "EncoderOutput",
    "LanguageModelEncoder",
    "TrainableEncoder",
    "WordEncoder",
    "WordEncoderConfig",
    "encoder_path",
    "fast_autocast",
    "fast_dtype",
    "load_encoder",
    "load_trainable_encoder",
    "save_encoder",
]
