"""
How hard should the sign be while a network learns?
===================================================

A code is the sign of what a network puts out, and the sign has no gradient. So networks are trained on something else:
on a smooth function in place of the sign, or on the sign itself with a gradient that is made up. Then the outputs are
cut to bits. How much is lost in this cut, and does it help to make the training more like the cut?

In skhash the stand-in of the sign is a part by itself, a :class:`~skhash.deep.quantizers.Quantizer`. We put five of
them into one and the same loss, train on the digits that come with scikit-learn, and look after each epoch.
"""

# %%
# A loss with a hole in it
# ------------------------
# The loss is small where two digits of a class have similar codes, and two others have dissimilar ones. Its codes come
# from any quantizer. ``start_epoch`` is passed on, because some quantizers get harder with the epochs.
from torch.nn.functional import softplus

from skhash.deep.losses import HashLoss


class PairwiseLoss(HashLoss):
    """Logistic loss of the inner products of codes; similar pairs weigh as much as the others."""

    def __init__(self, quantizer):
        super().__init__()
        self.quantizer = quantizer

    def start_epoch(self, epoch):
        self.quantizer.start_epoch(epoch)

    def forward(self, outputs, targets, rows):
        codes = self.quantizer(outputs)
        # From -10 for opposite codes to +10 for equal ones.
        agreement = 10 / self.n_bits * (codes @ codes.T)
        similar = targets @ targets.T > 0
        return softplus(-agreement[similar]).mean() + softplus(agreement[~similar]).mean()


# %%
# Five stand-ins
# --------------
# The first two are smooth: a hyperbolic tangent that stays as it is, because its slope would grow after a million
# epochs only, and one whose slope grows every third epoch. The other three take the sign in the forward pass. They
# differ in the backward pass: gradients pass unchanged, or stop where an output is beyond -1 and +1 already, or are
# joined by a pull to codes whose bits are +1 for half of the batch and -1 for the other.
from skhash.deep.quantizers import BiHalfSign, ClippedStraightThroughSign, StraightThroughSign, TanhContinuation

quantizers = {
    "tanh": TanhContinuation(epochs_per_step=1_000_000),
    "tanh, steeper and steeper": TanhContinuation(epochs_per_step=3),
    "sign, straight through": StraightThroughSign(),
    "sign, clipped": ClippedStraightThroughSign(),
    "sign, half and half": BiHalfSign(),
}

# %%
# What we measure
# ---------------
# 1,000 digits are for training and are the database, 300 others are the queries. Behind each bit there is a real
# number: the hyperbolic tangent where there is one, else the output of the network. Two things tell what is lost when
# it is cut to a bit:
#
# - **the gap**, 1 minus the cosine of the real numbers of a query with their signs. It is 0 where all of them are
#   equally far from 0, whatever their scale, and about 0.20 for Gaussian numbers.
# - **two scores**, the mean average precision of rankings by inner products of the real numbers, and of rankings by
#   Hamming distances of the codes.
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skhash.codes import pack_bits
from skhash.metrics import average_precision_from_distances, mean_average_precision

X, y = load_digits(return_X_y=True)
X_train, X_query, y_train, y_query = train_test_split(X, y, train_size=1000, test_size=300, stratify=y, random_state=0)
relevant = y_query[:, np.newaxis] == y_train


def behind_the_bits(hasher, X):
    outputs = hasher.project(X)
    quantizer = hasher.net_.criterion_.quantizer
    return np.tanh(quantizer.beta * outputs) if isinstance(quantizer, TanhContinuation) else outputs


def measure(hasher):
    queries, database = behind_the_bits(hasher, X_query), behind_the_bits(hasher, X_train)
    lengths = np.linalg.norm(queries, axis=1) * np.sqrt(hasher.n_bits)
    return {
        "queries": queries,
        "gap": float(np.mean(1 - np.abs(queries).sum(axis=1) / lengths)),
        "real": average_precision_from_distances(-queries @ database.T, relevant).mean(),
        "codes": mean_average_precision(pack_bits(queries >= 0), pack_bits(database >= 0), y_query, y_train),
    }


# %%
# Training, one epoch at a time
# -----------------------------
# ``partial_fit`` goes on for ``max_epochs`` more epochs, and the count of epochs goes on with it, so that the slopes
# grow as they would in one long ``fit``. Nothing is held out for validation: the hasher would go back to its best epoch
# then, and we want to see all of them.
from skhash import DeepSupervisedHasher

n_epochs = 20
records = {}
print("                            gap   mAP real  mAP codes")
for name, quantizer in quantizers.items():
    hasher = DeepSupervisedHasher(
        16,
        loss=PairwiseLoss(quantizer),
        max_epochs=1,
        batch_size=64,
        lr=0.003,
        validation_fraction=None,
        random_state=0,
    )
    records[name] = [measure(hasher.partial_fit(X_train, y_train)) for _ in range(n_epochs)]
    last = records[name][-1]
    print(f"{name:26s} {last['gap']:.3f}  {last['real']:8.3f}  {last['codes']:9.3f}")

# %%
# The numbers behind the bits
# ---------------------------
# Early and late, divided by their root mean square, so that only the shape counts. A shape that is easy to cut has two
# hills and nothing in between.
import matplotlib.pyplot as plt

figure, rows = plt.subplots(2, 5, figsize=(12, 4.6), sharex=True, sharey="row", layout="constrained")
bins = np.linspace(-3, 3, 61)
for axes_of_epoch, epoch in zip(rows, (1, n_epochs), strict=True):
    for axes, (name, record) in zip(axes_of_epoch, records.items(), strict=True):
        queries = record[epoch - 1]["queries"]
        axes.hist((queries / np.sqrt(np.mean(queries**2))).ravel(), bins=bins, density=True)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(f"{name}\nepoch {epoch}", fontsize=10)
for axes in rows[:, 0]:
    axes.set_ylabel("density")
for axes in rows[1]:
    axes.set_xlabel("number / root mean square", fontsize=9)
plt.show()

# %%
# The gap
# -------
# Both tangents close it, with growing slopes a little earlier. Halves close most of it, although their loss sees
# nothing but signs: the pull does that. Behind the two other signs the gap opens.
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
epochs = np.arange(1, n_epochs + 1)
for name, record in records.items():
    axes.plot(epochs, [entry["gap"] for entry in record], label=name)
axes.axhline(1 - np.sqrt(2 / np.pi), color="gray", linestyle=":", label="Gaussian numbers")
axes.set(xlabel="epoch", ylabel="1 - cosine with the signs", ylim=(0, None), xticks=range(0, n_epochs + 1, 5))
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
plt.show()

# %%
# What the cut costs
# ------------------
# In the middle two pictures the codes are better than the numbers that they are cut from.
figure, row = plt.subplots(1, 5, figsize=(12, 3.2), sharey=True, layout="constrained")
for axes, (name, record) in zip(row, records.items(), strict=True):
    axes.plot(epochs, [entry["real"] for entry in record], color="tab:orange", linestyle="--", label="real numbers")
    axes.plot(epochs, [entry["codes"] for entry in record], color="tab:blue", label="codes")
    axes.set_title(name, fontsize=10)
    axes.set_xlabel("epoch")
row[0].set(ylabel="mAP of the queries", ylim=(0.4, 1.02))
row[0].legend(loc="lower right")
plt.show()

# %%
# Bits of unequal size
# --------------------
# A loss that sees only signs leaves the size of the numbers free. Some bits grow without end, others stay where they
# began, near 0, where a small change of the image turns them. The inner product of the real numbers hears the large
# bits alone; the Hamming distance counts all of them alike.
print("                           smallest bit  largest bit  (root mean square)")
for name, record in records.items():
    sizes = np.sqrt(np.mean(record[-1]["queries"] ** 2, axis=0))
    print(f"{name:26s} {sizes.min():12.2f}  {sizes.max():11.2f}")

# %%
# Conclusion
# ----------
# One would expect that the harder the sign in training, the less is lost at the end. The figures say something else:
#
# - The plain tangent closes the gap by itself, because this loss wants large inner products, and those need outputs far
#   from 0. Steeper tangents close it earlier, and the codes are not better for it.
# - The plain sign loses nothing in the cut, because its training has made the cut already. Yet its codes are the worst.
#   The gradient that is made up does not depend on how near an output is to 0, and outputs may stay there.
# - What helps the sign is a reason to stop growing, and one to leave 0. Clipping gives the first, and the codes are a
#   little better for it. Halves with their pull give both, and the codes are as good as those of the tangents.
#
# So a small gap is no aim in itself: the smallest does not go with the best codes, and behind good codes there may be
# numbers that rank worse than they do. This is one loss and one small network on easy images; two other seeds gave the
# same picture. Put the quantizers into your own loss, with your own data, before you choose.
best = max(records, key=lambda name: records[name][-1]["codes"])
spread = {name: record[-1]["real"] - record[-1]["codes"] for name, record in records.items()}
print(f"best codes after {n_epochs} epochs: {best}, mAP {records[best][-1]['codes']:.3f}")
print("lost in the cut: " + "; ".join(f"{name} {loss:+.3f}" for name, loss in spread.items()))
