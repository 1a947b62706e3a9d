"""How likely a word stands for each class, by its sentence vector alone: small networks taught by other words.

A word's chances come from networks that did not see the word itself (three folds, a few times), so that its rare senses
can be told from the common ones: "tiger" is a person in WordNet too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from scripts.glip_nano.sentences import SIZE

Floats = npt.NDArray[np.float32]

FOLDS, TIMES = 3, 3
HIDDEN, EPOCHS, BATCH, RATE = 256, 12, 512, 4e-3
BALANCE = 0.5  # exponent of a class's size by which its words are drawn less often


def chances(vectors: Floats, labels: npt.NDArray[np.int64], sure: npt.NDArray[np.bool_], classes: int) -> Floats:
    """Args:
        vectors: of all words [n, 384].
        labels: class of each word [n]; -1 for words of several.
        sure: words that every fold may see [n].

    Returns probabilities [n, classes].
    """
    torch.set_num_threads(1)
    inputs, targets = torch.from_numpy(vectors) * SIZE**0.5, torch.from_numpy(labels)
    seen_by_all, single = torch.from_numpy(sure), targets >= 0
    total = torch.zeros(len(labels), classes)
    for seed in range(FOLDS * TIMES):
        fold = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed // FOLDS)) % FOLDS
        hidden = (fold == seed % FOLDS) & single & ~seen_by_all
        net = _train(inputs, targets, single & ~hidden, classes, seed)
        asked = hidden | ~single | seen_by_all
        with torch.inference_mode():
            total[asked] += net(inputs[asked]).softmax(1)
    return (total / total.sum(1, keepdim=True)).numpy()


def _train(inputs: Tensor, targets: Tensor, shown: Tensor, classes: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(SIZE, HIDDEN), nn.ReLU(), nn.Dropout(0.2), nn.Linear(HIDDEN, classes))
    words = torch.nonzero(shown)[:, 0]
    weights = torch.bincount(targets[words], minlength=classes).clamp(min=1)[targets[words]] ** -BALANCE
    steps = EPOCHS * len(words) // BATCH
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for batch in words[torch.multinomial(weights, steps * BATCH, replacement=True)].view(steps, BATCH):
        loss = nn.functional.cross_entropy(net(inputs[batch]), targets[batch], label_smoothing=0.02)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()
