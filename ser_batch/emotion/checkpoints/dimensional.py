"""The network of audeering's model of arousal, dominance and valence.

Wagner et al. 2023, Dawn of the transformer era in speech emotion recognition, IEEE
TPAMI: wav2vec 2.0, the mean over time, and a head of two layers. transformers has no
such class, so that it is built here from its published layout.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model, Wav2Vec2PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class RegressionHead(nn.Module):
    """A hidden layer with tanh, and one output for each dimension."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.final_dropout)
        self.out_proj = nn.Linear(config.hidden_size, len(config.id2label or ()))

    def forward(
        self, pooled: Float[Tensor, "batch hidden"]
    ) -> Float[Tensor, "batch dimensions"]:
        """Return the dimensions, about 0 to 1."""
        hidden = torch.tanh(self.dense(self.dropout(pooled)))
        values: Tensor = self.out_proj(self.dropout(hidden))
        return values


class DimensionalNetwork(Wav2Vec2PreTrainedModel):
    """wav2vec 2.0 with `RegressionHead` on the mean over the frames of speech."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__(config)
        self.wav2vec2 = Wav2Vec2Model(config)
        self.classifier = RegressionHead(config)
        self.post_init()

    def forward(
        self,
        input_values: Float[Tensor, "batch samples"],
        attention_mask: torch.LongTensor | None = None,
    ) -> SequenceClassifierOutput:
        """Return the dimensions as `logits`."""
        hidden = self.wav2vec2(input_values, attention_mask=attention_mask)[0]
        if attention_mask is None:
            pooled = hidden.mean(1)
        else:
            mask = self._get_feature_vector_attention_mask(
                hidden.shape[1], attention_mask
            )[..., None]
            pooled = (hidden * mask).sum(1) / mask.sum(1)
        return SequenceClassifierOutput(logits=self.classifier(pooled))
