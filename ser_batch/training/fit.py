"""Fits a network to utterances: cross-entropy, early stopping on validation UAR, exact resume."""

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ser_batch.errors import UsageError
from ser_batch.features import Mfcc, MfccConfig
from ser_batch.model import CnnBiLstm, NetworkConfig
from ser_batch.training.augmentation import AugmentationConfig
from ser_batch.training.data import BalancedBatches, Batch, Utterances, loader, ordered_batches
from ser_batch.training.metrics import answered, confusion, uar


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that shapes a training; it travels in the bundle's metrics.

    `corpus_weights` say how often each corpus is drawn from, others count 1.
    """

    features: MfccConfig = field(default_factory=lambda: MfccConfig(hop_length=80, mean_normalisation=True))
    conv_channels: tuple[int, ...] = (128, 128, 128)
    lstm_width: int = 128
    dropout: float = 0.4
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    corpus_weights: dict[str, float] = field(default_factory=lambda: {"ravdess": 2.0, "tess": 0.5, "nemo": 1.0})
    samples_per_epoch: int = 4096
    batch_size: int = 64
    max_epochs: int = 40
    patience: int = 12
    learning_rate: float = 1.5e-3
    weight_decay: float = 1e-2
    warm_up_epochs: int = 2
    label_smoothing: float = 0.1
    average_decay: float = 0.99
    """Of the moving average of weights that is validated and kept."""
    masked_frames: int = 30
    """Two stretches of up to this many frames are hidden from the network (SpecAugment, Park et al. 2019)."""
    test_fold: int = 4
    seed: int = 0


def cross_entropy(logits: Tensor, right: Tensor, smoothing: float) -> Tensor:
    """The negative log-probability that the answer is right, where several answers may be.

    With one right answer this is the usual cross-entropy with label smoothing. Where a corpus leaves open
    which of two labels a clip has, either is as good: none of them is taught, and none is punished.
    """
    log_p = logits.log_softmax(-1)
    hit = -log_p.masked_fill(~right, float("-inf")).logsumexp(-1)
    return ((1 - smoothing) * hit - smoothing * log_p.mean(-1)).mean()


def predict_logits(features: Mfcc, network: nn.Module, batches: Iterable[Batch], device: torch.device) -> Tensor:
    """Logits of all batches in order, on the CPU; shape (clips, labels)."""
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(*features(b.waveforms.to(device), b.lengths.to(device))).cpu() for b in batches])


def fit_network(
    config: TrainConfig,
    train: Utterances,
    validation: Utterances,
    n_labels: int,
    device: torch.device,
    workers: int,
    checkpoint: Path,
    data: Mapping[str, str],
    on_batches: Callable[[Iterable[Batch], int], Iterable[Batch]],
    on_epoch: Callable[[dict[str, float]], None],
) -> tuple[Mfcc, CnnBiLstm, list[dict[str, float]]]:
    """Trains until the validation UAR no longer grows, and returns the best epoch's network.

    After every epoch the whole state is written to `checkpoint`; a training that finds one there goes
    on from it, and ends (on the CPU) with the same weights as one that was never stopped.

    `data` are fingerprints of what is trained on.

    Raises:
        UsageError: the checkpoint belongs to other options or to other data.
    """
    torch.manual_seed(config.seed)
    features = Mfcc(config.features).to(device)
    shape = NetworkConfig(
        config.features.n_features, n_labels, config.conv_channels, lstm_width=config.lstm_width, dropout=config.dropout
    )
    network = CnnBiLstm(shape).to(device)
    set_statistics(network, features, train, device)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.average_decay), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    steps = math.ceil(config.samples_per_epoch / config.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step / steps, config))
    n_validation = len(validation.utterances)
    truth, right = validation.truth()
    corpus = np.array([utterance.clip.corpus for utterance in validation.utterances])

    def validation_uar(seed: int | None) -> float:
        """The mean of the corpora's UAR, so that a large corpus does not decide alone."""
        batches = loader(validation, ordered_batches(n_validation, config.batch_size, seed), workers)
        predicted = predict_logits(features, average.module, batches, device).argmax(-1).numpy()
        answers = answered(truth, right, predicted)
        own = [corpus == name for name in validation.corpora]
        return float(np.mean([uar(confusion(truth[rows], answers[rows], n_labels)) for rows in own]))

    history: list[dict[str, float]] = []
    best: dict[str, Any] = {"uar": -1.0, "epoch": -1, "network": None}
    identity = _plain({"config": dataclasses.asdict(config), "data": dict(data)})
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if state["identity"] != identity:
            raise UsageError(f"{checkpoint} belongs to other options or data: use those, or delete it to start anew")
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        history, best = state["history"], state["best"]

    for epoch in range(len(history), config.max_epochs):
        if epoch - best["epoch"] > config.patience:
            break
        torch.manual_seed(hash((config.seed, epoch)) % 2**31)  # dropout's draws depend on the epoch alone
        weights = {corpus: config.corpus_weights.get(corpus, 1.0) for corpus in train.corpora}
        order = BalancedBatches(
            train.utterances, weights, config.samples_per_epoch, config.batch_size, config.seed, epoch
        )
        network.train()
        losses = []
        for batch in on_batches(loader(train, order, workers), len(order)):
            x, frames = features(batch.waveforms.to(device), batch.lengths.to(device))
            logits = network(hide_frames(x, frames, network.feature_mean, config.masked_frames), frames)
            loss = cross_entropy(logits, batch.right.to(device), config.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            losses.append(loss.item())
        # Both as recorded and over a telephone line, since both are what the model is for.
        scores = [validation_uar(seed) for seed in (None, config.seed)]
        row = {
            "epoch": epoch,
            "loss": float(np.mean(losses)),
            "validation_uar_clean": scores[0],
            "validation_uar_telephone": scores[1],
        }
        history.append(row)
        on_epoch(row)
        if np.mean(scores) > best["uar"]:
            weights_now = {name: t.clone() for name, t in average.module.state_dict().items()}
            best = {"uar": float(np.mean(scores)), "epoch": epoch, "network": weights_now}
        _save(
            checkpoint,
            {
                "identity": identity,
                "network": network.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "history": history,
                "best": best,
            },
        )
    network.load_state_dict(best["network"])
    return features, network.eval(), history


def hide_frames(features: Tensor, frames: Tensor, mean: Tensor, longest: int) -> Tensor:
    """The features with two random stretches of each segment at their mean, at most half of it."""
    t = torch.arange(features.shape[1], device=features.device)
    for _ in range(2):
        length = torch.rand(len(frames), device=frames.device) * torch.minimum(frames / 4, frames.new_tensor(longest))
        start = torch.rand(len(frames), device=frames.device) * (frames - length)
        hidden = (t >= start[:, None]) & (t < (start + length)[:, None])
        features = torch.where(hidden[..., None], mean, features)
    return features


def set_statistics(network: CnnBiLstm, features: Mfcc, train: Utterances, device: torch.device, n: int = 1024) -> None:
    """Sets the mean and deviation of every feature from evenly chosen training utterances, bare of augmentation."""
    chosen = np.linspace(0, len(train.utterances) - 1, min(n, len(train.utterances))).astype(int)
    frames = []
    for index in chosen:
        waveform = torch.from_numpy(train.utterances[index].speech)[None].to(device)
        frames.append(features(waveform, torch.tensor([waveform.shape[1]], device=device))[0][0])
    values = torch.cat(frames)
    network.feature_mean.copy_(values.mean(0))
    network.feature_std.copy_(values.std(0).clamp(min=1e-3))


def _rate(epoch: float, config: TrainConfig) -> float:
    """The learning rate's factor: a linear warm-up, then half a cosine down to a hundredth."""
    if epoch < config.warm_up_epochs:
        return (epoch + 0.1) / config.warm_up_epochs
    done = (epoch - config.warm_up_epochs) / max(1, config.max_epochs - config.warm_up_epochs)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _plain(values: Any) -> Any:
    """Lists in place of tuples, as a saved state gives them back."""
    if isinstance(values, dict):
        return {key: _plain(value) for key, value in values.items()}
    return [_plain(value) for value in values] if isinstance(values, (list, tuple)) else values


def _save(path: Path, state: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)
