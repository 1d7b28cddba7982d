"""
An encoder of your own: a backbone of timm
==========================================

An encoder is a callable ``encoder(input_shape, n_components) -> nn.Module`` whose
forward returns :class:`sk_dim.encoders.Features`. Here it wraps a small ResNet of timm,
from random weights: none are downloaded.
"""

import timm
import torch
from torch import nn

from sk_dim import DeepInfomaxTransformer
from sk_dim.datasets import make_images
from sk_dim.encoders import Features
from sk_dim.evaluation import linear_probe


class TimmEncoder(nn.Module):
    """Local features: the map of stride 4. Global: the last one, averaged."""

    def __init__(self, input_shape, n_components, name="resnet10t"):
        super().__init__()
        self.backbone = timm.create_model(
            name, features_only=True, in_chans=input_shape[0], out_indices=(1, 2, 3)
        )
        self.global_ = nn.Linear(
            self.backbone.feature_info.channels()[-1], n_components
        )

    def forward(self, batch):
        local, _, last = self.backbone(batch)
        hidden = last.mean(dim=(2, 3))
        return Features(self.global_(hidden), hidden, last, local)


# %%
# Images whose label is their hue, 32x32 in colour.

X, y = make_images("hue", 800, random_state=0)
dim = DeepInfomaxTransformer(
    n_components=64, encoder=TimmEncoder, max_iter=3, random_state=0
).fit(X[:600])
n_parameters = sum(p.numel() for p in dim.encoder_.parameters())
print(f"{n_parameters:,} parameters, {torch.get_num_threads()} threads")
print({name: layer.shape for name, layer in dim.features(X[:2]).items()})

# %%
# What a linear model finds in each layer, from 100 labels:

scores = linear_probe(dim, X[:100], y[:100], X_test=X[600:], y_test=y[600:])
for name, score in scores.items():
    print(f"{name:6} {score.mean():.3f}")
