"""ESM-2, ProtT5 and their like as encoders, through `transformers` (extra `lm`).

A vector is the plain mean of the residue vectors of one layer. A protein longer than the model reads is
encoded in windows of `window` residues with `margin` more on either side, whose vectors are dropped: with
attention a residue beyond the margin would have had a say, so this is close to the whole protein and not
equal to it. Nothing is cut off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqscan.alphabet import AMINO
from seqscan.encoder.abstract import AbstractEncoder
from seqscan.errors import ArtifactError, InvalidParameter, MissingDependency

__all__ = ["LanguageModelEncoder"]

READS = 1022
"""Residues at a time, margins included: the length ESM-2 was trained on."""

GET_ELSEWHERE = (
    "Check the name. Without a network, get it elsewhere with 'hf download NAME --local-dir FOLDER', "
    "bring the folder here, and give lm:FOLDER."
)


class LanguageModelEncoder(AbstractEncoder):
    """A pretrained transformer, its weights where they are.

    Parameters
    ----------
    name : str
        Local folder, or a name on the Hugging Face hub such as `facebook/esm2_t6_8M_UR50D` or
        `Rostlab/prot_t5_xl_half_uniref50-enc`.
    layer : int
        Which layer's residue vectors: 0 is the embedding, -1 the last.
    half : bool
        Weights in bfloat16: half the memory, and faster where the machine computes in it.
    margin : int, residues
        Context on either side of a window.

    Raises
    ------
    MissingDependency
        If `transformers` is not installed.
    ArtifactError
        If the model cannot be loaded, or is of a kind that is not known.
    InvalidParameter
        If there is no such layer.
    """

    def __init__(self, name: str, *, layer: int = -1, half: bool = False, margin: int = 128) -> None:
        super().__init__()
        folder = Path(name).expanduser()
        self.name = str(folder.resolve()) if folder.is_dir() else name
        self.layer, self.half_precision, self.margin = layer, half, margin
        self.model, tokenizer = _load(self.name, torch.bfloat16 if half else torch.float32)
        n_layers = self.model.config.num_hidden_layers
        if not -n_layers - 1 <= layer <= n_layers:
            raise InvalidParameter(
                "layer", layer, f"the model has layers 0 to {n_layers}, or -1 for the last, -2 and so on"
            )
        table, self._before, self._after = _tokens(tokenizer)
        self.register_buffer("token_of", table, persistent=False)
        self._pad_token = int(tokenizer.pad_token_id or 0)
        size = self.model.config.hidden_size
        # The map that other encoders learn: here it changes nothing.
        self.project = nn.Linear(size, size)
        nn.init.eye_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    @property
    def window(self) -> int:
        """Residues of a longer protein that are encoded at a time, without the margins."""
        return READS - 2 * self.margin

    def residue_vectors(self, codes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        lengths = mask.sum(dim=1)
        before, after = len(self._before), len(self._after)
        tokens = codes.new_full((len(codes), codes.shape[1] + before + after), self._pad_token)
        tokens[:, :before] = codes.new_tensor(self._before)
        tokens[:, before : before + codes.shape[1]] = torch.where(
            mask, self.get_buffer("token_of")[codes], self._pad_token
        )
        for offset, token in enumerate(self._after):
            tokens.scatter_(1, (lengths + before + offset)[:, None], token)
        places = torch.arange(tokens.shape[1], device=codes.device)
        seen = (places < (lengths + before + after)[:, None]).long()
        layers = self.model(input_ids=tokens, attention_mask=seen, output_hidden_states=True).hidden_states
        residues = layers[self.layer][:, before : before + codes.shape[1]].float() * mask.unsqueeze(-1)
        # Every residue has the same weight.
        return residues, residues.new_zeros(1).expand_as(residues)

    def description(self) -> dict[str, Any]:
        """Say where the model is and which it is, for the manifest of what is made with it."""
        return {
            "name": self.name, "layer": self.layer, "half": self.half_precision, "margin": self.margin,
            "checksum": self.checksum(),
        }  # fmt: skip


def _load(name: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """Load the encoder half of a model, and its tokenizer."""
    try:
        from transformers import AutoConfig, AutoTokenizer, EsmModel, T5EncoderModel
    except ImportError:
        raise MissingDependency(
            "Language models need the package transformers.", remedy="Install it: pip install 'seqscan[lm]'."
        ) from None
    try:
        if not Path(name).is_dir():
            _look_up(name)
        kind = AutoConfig.from_pretrained(name).model_type
        if kind == "esm":
            # Without the pooling layer: its weights are not in the files and would be random.
            model: Any = EsmModel.from_pretrained(name, add_pooling_layer=False, dtype=dtype)
        elif kind == "t5":
            model = T5EncoderModel.from_pretrained(name, dtype=dtype)
        else:
            raise ArtifactError(
                name, f"is a model of type {kind}, not esm or t5", remedy="Give one of these."
            )
        return model.eval(), AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ArtifactError(
            name, f"cannot be loaded as a language model ({reason.rstrip('.')})", remedy=GET_ELSEWHERE
        ) from None


def _look_up(name: str) -> None:
    """Raise `ArtifactError` at once if a model is neither in the hub's cache nor on the hub."""
    from huggingface_hub import snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        if not isinstance(try_to_load_from_cache(name, "config.json"), str):
            # This asks once; what transformers does asks again for half a minute.
            snapshot_download(name, allow_patterns="config.json")
    except LocalEntryNotFoundError:
        raise ArtifactError(
            name, "is no folder here, and the Hugging Face hub cannot be reached", remedy=GET_ELSEWHERE
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise ArtifactError(
            name, "is no folder here, and no model that the Hugging Face hub gives you",
            remedy="Check the name; for a model that is not public, 'hf auth login' first.",
        ) from None  # fmt: skip


def _tokens(tokenizer: Any) -> tuple[Tensor, list[int], list[int]]:
    """Return the token of each residue code, and those that stand before and after a protein."""
    table = torch.zeros(len(AMINO), dtype=torch.int64)
    mask_token = tokenizer.mask_token_id
    for code, symbol in enumerate(AMINO.symbols):
        if code == AMINO.pad:
            continue
        if code == AMINO.mask:
            table[code] = tokenizer.unk_token_id if mask_token is None else mask_token
        else:
            # The last: a sentence-piece tokenizer may put a word mark before the letter.
            table[code] = tokenizer(symbol, add_special_tokens=False)["input_ids"][-1]
    bare = tokenizer("A", add_special_tokens=False)["input_ids"]
    whole = tokenizer("A")["input_ids"]
    start = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return table, whole[:start], whole[start + len(bare) :]
