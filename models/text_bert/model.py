"""input_ids, attention_mask (batch, 48) -> logits (batch, 2): a small BERT of Hugging Face (PyTorch).

The class is that of transformers; only the configuration is small. ``build()`` is what the recipe names as
its source: trained on film reviews where EDGEKIT_DATA has them, else on docstrings (see ``data.py``).
``build_large()`` is for measuring speed: six layers of 384, 128 tokens, seeded weights.
"""

from __future__ import annotations

from pathlib import Path

import torch
from data import BUCKETS, FIRST_WORD, LENGTH, PADDING, VOCABULARY, real_data
from transformers import BertConfig, BertForSequenceClassification

HERE = Path(__file__).parent
LARGE_SEED = 0


def weights() -> Path:
    """The file that belongs to the data at hand."""
    return HERE / ("weights_reviews.safetensors" if real_data() else "weights_docstrings.safetensors")


def untrained() -> BertForSequenceClassification:
    """The small model with random weights."""
    words = len(VOCABULARY.read_text("utf-8").splitlines())
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=FIRST_WORD + words + BUCKETS,
            hidden_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=96,
            max_position_embeddings=LENGTH,
            type_vocab_size=1,
            pad_token_id=PADDING,
            hidden_dropout_prob=0.3,  # high, because there are only seven thousand sentences
            initializer_range=0.05,  # BERT's 0.02 starts slowly at this width
            num_labels=2,
            attn_implementation="eager",
        )
    )


def build() -> BertForSequenceClassification:
    """The trained model in evaluation mode."""
    from safetensors.torch import load_file

    model = untrained()
    model.load_state_dict(
        {name: tensor.float() for name, tensor in load_file(weights()).items()}
    )  # float16 there
    return model.eval()


def build_large() -> BertForSequenceClassification:
    """Six layers of 384 for 128 tokens (input_ids, attention_mask), seeded weights, in evaluation mode."""
    torch.manual_seed(LARGE_SEED)
    config = BertConfig(
        vocab_size=30522,  # of bert-base-uncased
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        max_position_embeddings=128,
        num_labels=2,
        attn_implementation="eager",
    )
    return BertForSequenceClassification(config).eval()
