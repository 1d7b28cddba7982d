"""Memory of the infoNCE step with all pairs, above the encoder's own.

Local features of the size of the paper's AlexNet for 64x64 images, 384 channels at
15 x 15 locations, a batch of 256, all locations, critic units as by default. Each form
runs in a process of its own, which prints the highest resident memory of forward and
backward above what it held before, less the gradient of the features::

    python docs/benchmarks/memory.py
"""

import resource
import subprocess
import sys

import torch

N, CHANNELS, LOCATIONS, COMPONENTS = 256, 384, 225, 256
FORMS = ("in blocks", "plain")


def peak():
    """Highest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(form):
    """Print the peak of one step in MB."""
    from sk_dim.bounds import infonce
    from sk_dim.critics import DotCritic, bound_in_blocks

    # Allocators and thread pools first take what they need once.
    small = DotCritic(8, 8, n_locations=None)
    infonce(*small(torch.randn(4, 8, 4), torch.randn(4, 8))).backward()
    critic = DotCritic(CHANNELS, COMPONENTS, n_locations=None)
    # As in the encoder: channels last in memory.
    local = torch.randn(N, LOCATIONS, CHANNELS).transpose(1, 2).requires_grad_()
    codes = torch.randn(N, COMPONENTS, requires_grad=True)
    before = peak()
    if form == "plain":
        value = infonce(*critic(local, codes))
    else:
        value = bound_in_blocks(critic, infonce, local, codes)
    value.backward()
    gradient = local.numel() * local.element_size() / 2**20
    print(f"{form:10} {peak() - before - gradient:6.0f} MB   value {value.item():.6f}")


def main():
    if len(sys.argv) > 1:
        torch.manual_seed(0)
        measure(sys.argv[1])
        return
    n_pairs = (N * LOCATIONS) ** 2
    print(
        f"all pairs of locations would be {4 * n_pairs / 1e9:.1f} GB a copy", flush=True
    )
    for form in FORMS:
        subprocess.run([sys.executable, __file__, form], check=True)


if __name__ == "__main__":
    main()
