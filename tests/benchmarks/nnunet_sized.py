"""A 3-D U-Net as nnU-Net configures it for BraTS, timed: ``python nnunet_sized.py I J K``.

Untrained, for scale only: 128 x 128 x 128 windows that overlap by half, six levels, 32 to 320
filters. One window is timed. Needs torch and nothing else; prints JSON.
"""

import json
import resource
import sys
import time
from math import ceil, prod

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

WINDOW = 128
FILTERS = (32, 64, 128, 256, 320, 320)


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    layers = []
    for number in range(2):
        layers += [
            nn.Conv3d(outputs if number else inputs, outputs, 3, 1 if number else stride, 1),
            nn.InstanceNorm3d(outputs, affine=True),
            nn.LeakyReLU(0.01, inplace=True),
        ]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Encoder, decoder, skips."""

    def __init__(self) -> None:
        super().__init__()
        above = (4, *FILTERS[:-1])
        self.down = nn.ModuleList(
            block(a, b, 1 if a == above[0] else 2) for a, b in zip(above, FILTERS, strict=True)
        )
        pairs = list(zip(FILTERS[:0:-1], FILTERS[-2::-1], strict=True))
        self.grow = nn.ModuleList(nn.ConvTranspose3d(a, b, 2, 2) for a, b in pairs)
        self.up = nn.ModuleList(block(2 * b, b) for _, b in pairs)
        self.regions = nn.Conv3d(FILTERS[0], 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 4, I, J, K) scans to (N, 3, I, J, K) logits."""
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        skips.pop()
        for grow, up in zip(self.grow, self.up, strict=True):
            x = up(torch.cat([skips.pop(), grow(x)], 1))
        logits: torch.Tensor = self.regions(x)
        return logits


def main() -> None:
    head = [int(n) for n in sys.argv[1:4]]
    windows = prod(ceil(max(0, n - WINDOW) / (WINDOW / 2)) + 1 for n in head)
    network = UNet().eval()
    scans = torch.rand(1, 4, WINDOW, WINDOW, WINDOW)
    with torch.inference_mode():
        network(scans[..., :64, :64, :64])  # loads the libraries
        wall, cpu = time.perf_counter(), time.process_time()
        network(scans)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        with FlopCounterMode(display=False) as counter:
            network(scans[..., :64, :64, :64])
    figures = {
        "windows": windows,
        "seconds": wall,
        "cpu_seconds": cpu,
        "gflop": counter.get_total_flops() * (WINDOW / 64) ** 3 / 1e9,
        "parameters": sum(p.numel() for p in network.parameters()),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
