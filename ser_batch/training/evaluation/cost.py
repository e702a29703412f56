"""The cost of a network: floating-point operations per second of speech."""

from typing import Any

import torch
from torch import nn

from ser_batch.emotion.network import CnnBiLstm


def mflop_per_s(network: CnnBiLstm, frame_rate: float, seconds: int = 4) -> float:
    """Count the MFLOP per second of speech, with all members and pooling layers.

    Multiplications and additions in convolutions, LSTM and linear layers are counted
    over `seconds` of input; the remaining operations are negligible.
    """
    flop = 0.0

    def count(module: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
        nonlocal flop
        if isinstance(module, nn.LSTM):
            steps = len(inputs[0].data)
            flop += (
                2
                * steps
                * sum(
                    weight.numel()
                    for name, weight in module.named_parameters()
                    if "weight" in name
                )
            )
        elif isinstance(module, (nn.Conv1d, nn.Conv2d)):
            assert isinstance(output, torch.Tensor)
            flop += 2 * output.numel() / module.out_channels * module.weight.numel()
        elif isinstance(module, nn.Linear):
            assert isinstance(output, torch.Tensor)
            flop += 2 * output.numel() * module.in_features

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    frames = round(frame_rate * seconds)
    mean = network.feature_mean
    with torch.inference_mode():
        network(
            torch.zeros(1, frames, len(mean), device=mean.device),
            torch.tensor([frames], device=mean.device),
        )
    for hook in hooks:
        hook.remove()
    return flop / seconds / 1e6
