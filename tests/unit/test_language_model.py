"""ESM-2 and T5 through transformers, with tiny random checkpoints on disk."""

import builtins
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from seqscan.alphabet import AMINO
from seqscan.artifact import read_manifest
from seqscan.encoder import abstract, load_encoder, load_trainable_encoder, save_encoder
from seqscan.errors import ArtifactError, InvalidParameter, MissingDependency

transformers = pytest.importorskip("transformers")
LETTERS = "LAGVSERTIDPKQNFYMHWCXBUZO"
RNG = np.random.default_rng(0)
CODES = [RNG.integers(1, 21, size).astype(np.uint8) for size in (30, 7, 1)]


@pytest.fixture(scope="module")
def esm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("esm")
    vocabulary = ["<cls>", "<pad>", "<eos>", "<unk>", *LETTERS, ".", "-", "<null_1>", "<mask>"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    transformers.EsmTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.EsmConfig(
        vocab_size=33, mask_token_id=32, pad_token_id=1, hidden_size=16, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=32, position_embedding_type="rotary", token_dropout=True,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.EsmModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    tokenizers = pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("t5")
    words = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *LETTERS])}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    words.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    config = transformers.T5Config(
        vocab_size=28, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, pad_token_id=0, eos_token_id=1
    )
    torch.manual_seed(0)
    transformers.T5EncoderModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def exact(monkeypatch):
    """Compute in float32, also where the machine is faster in bfloat16."""
    monkeypatch.setattr(abstract, "fast_dtype", lambda device: torch.float32)


def test_vectors_are_means_of_the_models_residue_vectors(esm, exact):
    encoder = load_encoder(f"lm:{esm}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(esm)
    model = transformers.EsmModel.from_pretrained(esm, add_pooling_layer=False).eval()
    for codes, vector in zip(CODES, encoder.embed(CODES), strict=True):
        with torch.no_grad():
            said = model(**tokenizer(AMINO.decode(codes), return_tensors="pt")).last_hidden_state[0, 1:-1]
        np.testing.assert_allclose(vector, said.mean(dim=0), atol=1e-5)


def test_t5_has_no_token_before_the_protein(t5, exact):
    encoder = load_encoder(f"lm:{t5}")
    model = transformers.T5EncoderModel.from_pretrained(t5).eval()
    codes = CODES[1]
    tokens = torch.tensor([[3 + LETTERS.index(s) for s in AMINO.decode(codes)] + [1]])
    with torch.no_grad():
        said = model(input_ids=tokens).last_hidden_state[0, :-1]
    np.testing.assert_allclose(encoder.embed([codes, CODES[0]])[0], said.mean(dim=0), atol=1e-5)


def test_layer_half_precision_and_windows(esm):
    first, last = load_encoder(f"lm:{esm}@0"), load_encoder(f"lm:{esm}@-1")
    assert not np.allclose(first.embed(CODES), last.embed(CODES))
    half = load_encoder(f"lm:{esm}@-1,half")
    np.testing.assert_allclose(half.embed(CODES), last.embed(CODES), atol=0.1)
    long = RNG.integers(1, 21, 2000).astype(np.uint8)
    vector = last.embed([long])[0]
    assert np.isfinite(vector).all()
    changed = long.copy()
    changed[-1] = changed[-1] % 20 + 1
    assert not np.array_equal(last.embed([changed])[0], vector), "the end counts too"
    (_, output, _), *rest = last.encode([long])
    assert not rest
    np.testing.assert_allclose(output.pooled[0], vector, atol=1e-4)
    with pytest.raises(InvalidParameter, match="layers 0 to 2"):
        load_encoder(f"lm:{esm}@7")
    with pytest.raises(InvalidParameter, match="no whole number"):
        load_encoder(f"lm:{esm}@last")


def test_artifact_says_where_the_model_is_and_knows_it_again(esm, tmp_path):
    save_encoder(load_encoder(f"lm:{esm}@1"), tmp_path / "encoder")
    said = read_manifest(tmp_path / "encoder", "encoder").content["language_model"]
    assert (said["name"], said["layer"]) == (str(esm), 1)
    again = load_encoder(tmp_path / "encoder")
    np.testing.assert_array_equal(again.embed(CODES), load_encoder(f"lm:{esm}@1").embed(CODES))
    with pytest.raises(ArtifactError, match="does not train"):
        load_trainable_encoder(tmp_path / "encoder")
    model = transformers.EsmModel.from_pretrained(esm, add_pooling_layer=False)
    with torch.no_grad():
        model.encoder.layer[0].output.dense.bias += 1
    kept = (esm / "model.safetensors").read_bytes()
    try:
        model.save_pretrained(esm)
        with pytest.raises(ArtifactError, match="weights have changed"):
            load_encoder(tmp_path / "encoder")
    finally:
        (esm / "model.safetensors").write_bytes(kept)


def test_errors_say_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(ArtifactError, match=r"none: is no folder here.* Check the name"):
        load_encoder(f"lm:{tmp_path}/none")
    real = builtins.__import__

    def without(name, *rest, **options):
        if name == "transformers":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependency, match=r"seqscan\[lm\]"):
        load_encoder("lm:facebook/esm2_t6_8M_UR50D")


OUT_OF_REACH = """
import sys, time
from seqscan.cli import main
time.sleep = lambda seconds: sys.exit("it tries again")
sys.argv = ["seqscan", "embed", "in.fasta", "-o", "store", "--encoder", "lm:some/name"]
main()
"""


def test_hub_out_of_reach_is_one_line_at_once(tmp_path):
    nobody = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_REACH], env=os.environ | nobody, cwd=tmp_path, capture_output=True,
        text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("seqscan: some/name: is no folder here, and the Hugging Face hub cannot be")
    assert "hf download" in line


def test_name_that_the_hub_does_not_know(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def unknown(name, **options):
        # Its constructor has another shape in each version of the hub's client.
        raise hub.errors.RepositoryNotFoundError.__new__(hub.errors.RepositoryNotFoundError)

    monkeypatch.setattr(hub, "snapshot_download", unknown)
    with pytest.raises(ArtifactError, match=r"is no folder here, and no model .* Check the name"):
        load_encoder("lm:some/name")
