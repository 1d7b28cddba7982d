"""
An encoder of your own: a backbone of timm
==========================================

How do you train a network of your own? An encoder is a callable
``encoder(input_shape, n_components) -> nn.Module`` whose forward returns
:class:`sk_dim.encoders.Features`. Here it wraps a small ResNet of timm with random
weights; nothing is downloaded.
"""

import matplotlib.pyplot as plt
import timm
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
# The data are images of 32x32 pixels. The label is the size of the shape, whatever its
# colour and position.

X, y = make_images("size", 800, random_state=0)
dim = DeepInfomaxTransformer(
    n_components=64, encoder=TimmEncoder, max_iter=4, random_state=0
).fit(X[:600])
n_parameters = sum(p.numel() for p in dim.encoder_.parameters())
print(f"{n_parameters:,} parameters")
print({name: layer.shape for name, layer in dim.features(X[:2]).items()})

# %%
# A linear probe with 100 labels scores every layer, before and after the training. (A
# learning rate of almost 0 leaves the encoder as it was initialised.)

untrained = DeepInfomaxTransformer(
    n_components=64, encoder=TimmEncoder, max_iter=1, learning_rate=1e-12,
    random_state=0,
).fit(X[:600])  # fmt: skip
scores = {
    name: {
        layer: values.mean()
        for layer, values in linear_probe(
            each, X[:100], y[:100], X_test=X[600:], y_test=y[600:]
        ).items()
    }
    for name, each in (("untrained", untrained), ("trained", dim))
}

# %%
# Left, images of each label. Right, what the probe finds in each layer.

fig = plt.figure(figsize=(8, 3.2), layout="constrained")
left, right = fig.subfigures(ncols=2, width_ratios=(1, 1.6))
labels = sorted(set(y))
for axes, label in zip(left.subplots(len(labels), 4), labels, strict=True):
    for ax, image in zip(axes, X[y == label][:4], strict=True):
        ax.imshow(image)
        ax.axis("off")
ax = right.subplots()
for shift, (name, by_layer) in enumerate(scores.items()):
    at = [i + 0.4 * shift for i in range(len(by_layer))]
    bars = ax.bar(at, by_layer.values(), width=0.38, label=name)
    ax.bar_label(bars, fmt="%.2f", fontsize=8)
ax.set_xticks([i + 0.2 for i in range(len(by_layer))], by_layer)
ax.set(ylim=(0, 1), ylabel="accuracy with 100 labels", xlabel="layer")
ax.legend(loc="upper right")
plt.show()

# %%
# Four epochs make the size easier to read from the global features.
