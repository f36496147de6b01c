"""Encoders on disk: the package's own networks as weights, a language model as the place where it lies."""

from __future__ import annotations

from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from seqscan.artifact import read_manifest, write_artifact
from seqscan.encoder.abstract import AbstractEncoder
from seqscan.encoder.conv import ConvEncoder, ConvEncoderConfig
from seqscan.encoder.language_model import LanguageModelEncoder
from seqscan.encoder.words import WordEncoder, WordEncoderConfig
from seqscan.errors import ArtifactError, InvalidParameter

__all__ = ["TrainableEncoder", "encoder_path", "load_encoder", "load_trainable_encoder", "save_encoder"]

TrainableEncoder = ConvEncoder | WordEncoder
"""The package's own networks."""
NETWORKS = {"conv": (ConvEncoder, ConvEncoderConfig), "words": (WordEncoder, WordEncoderConfig)}

PREFIX = "lm:"
"""Begins the name of a language model."""


def save_encoder(
    encoder: AbstractEncoder,
    path: str | Path,
    *,
    provenance: dict[str, object] | None = None,
    half: bool = False,
) -> None:
    """Write an encoder artifact: `weights.safetensors` and a manifest.

    Of a language model only the manifest: it says where the weights are, and their checksum.

    Parameters
    ----------
    encoder : TrainableEncoder or LanguageModelEncoder
    path : path
        Replaced if it is an encoder.
    provenance : dict, optional
        How it was made, JSON values; goes into the manifest.
    half : bool
        Store float16, half the size.
    """
    content: dict[str, object] = {"provenance": provenance or {}}
    if isinstance(encoder, LanguageModelEncoder):
        with write_artifact(path, "encoder", content | {"language_model": encoder.description()}):
            return
    if not isinstance(encoder, TrainableEncoder):
        raise InvalidParameter("encoder", type(encoder).__name__, "is of no kind that can be written")
    content |= {"network": "words" if isinstance(encoder, WordEncoder) else "conv"}
    with write_artifact(path, "encoder", content | {"config": asdict(encoder.config)}) as directory:
        dtype = torch.float16 if half else torch.float32
        weights = {
            name: tensor.detach().to(dtype).contiguous() for name, tensor in encoder.state_dict().items()
        }
        save_file(weights, directory / "weights.safetensors")


def encoder_path(name: str | Path) -> Path:
    """Return where an encoder artifact lies; `default` is the one that comes with the package."""
    return Path(str(files("seqscan") / "encoders" / "default")) if name == "default" else Path(name)


def load_encoder(name: str | Path = "default") -> AbstractEncoder:
    """Load an encoder.

    Parameters
    ----------
    name : str or path
        `default`, the path of an encoder artifact, or `lm:` and the folder or hub name of a language model,
        then if wanted `@LAYER` and `,half`: `lm:facebook/esm2_t6_8M_UR50D@-2,half`.

    Raises
    ------
    ArtifactError
        If there is none, or it is damaged, or a language model is not the one that was used before.
    MissingDependency
        If a language model is asked for and `transformers` is not installed.
    """
    if str(name).startswith(PREFIX):
        return _language_model(str(name).removeprefix(PREFIX)).eval()
    path = encoder_path(name)
    content = read_manifest(path, "encoder", verify=True).content
    if "language_model" not in content:
        return load_trainable_encoder(name)
    known = dict(content["language_model"])
    checksum = known.pop("checksum")
    encoder = LanguageModelEncoder(**known)
    if encoder.checksum() != checksum:
        raise ArtifactError(
            str(path),
            f"was made with another version of {encoder.name}: its weights have changed",
            remedy="Bring that version back, or make the model again.",
        )
    return encoder.eval()


def load_trainable_encoder(name: str | Path = "default") -> TrainableEncoder:
    """Load one of the package's own networks, which alone can be trained; otherwise as `load_encoder`."""
    path = encoder_path(name)
    manifest = read_manifest(path, "encoder", verify=True)
    if "language_model" in manifest.content:
        raise ArtifactError(
            str(path), "is a language model, which seqscan does not train", remedy="Give another encoder."
        )
    try:
        # Encoders of the first versions do not say it: all were convolutional.
        network, shape = NETWORKS[manifest.content.get("network", "conv")]
        encoder = network(shape(**manifest.content["config"]))
        weights = load_file(path / "weights.safetensors")
        encoder.load_state_dict({key: tensor.float() for key, tensor in weights.items()})
    except (KeyError, TypeError, RuntimeError) as error:
        raise ArtifactError(
            str(path), f"its weights do not fit its configuration ({error})", remedy="Make it again."
        ) from None
    return encoder.eval()


def _language_model(text: str) -> LanguageModelEncoder:
    """Read `NAME[@LAYER][,half]`."""
    half = text.endswith(",half")
    name, _, layer = text.removesuffix(",half").rpartition("@")
    if not name:
        return LanguageModelEncoder(layer, half=half)
    try:
        return LanguageModelEncoder(name, layer=int(layer), half=half)
    except ValueError:
        if layer.lstrip("-").isdecimal():
            raise
        raise InvalidParameter(
            "layer", layer, "is no whole number", remedy="Write for instance lm:FOLDER@-2."
        ) from None
