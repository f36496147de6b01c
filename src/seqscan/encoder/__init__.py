"""From residue codes to residue vectors and one vector per protein.

The package's own network is `ConvEncoder`; `LanguageModelEncoder` is ESM-2 or ProtT5 through `transformers`.
Both are an `AbstractEncoder`, and `load_encoder` gives either by name.
"""

from seqscan.encoder.abstract import AbstractEncoder, EncoderOutput, fast_dtype
from seqscan.encoder.conv import ConvEncoder, ConvEncoderConfig
from seqscan.encoder.files import encoder_path, load_conv_encoder, load_encoder, save_encoder
from seqscan.encoder.language_model import LanguageModelEncoder

__all__ = [
    "AbstractEncoder",
    "ConvEncoder",
    "ConvEncoderConfig",
    "EncoderOutput",
    "LanguageModelEncoder",
    "encoder_path",
    "fast_dtype",
    "load_conv_encoder",
    "load_encoder",
    "save_encoder",
]
