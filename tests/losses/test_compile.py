"""Every loss becomes one graph of torch.compile, with the same value and gradient.

In a process of its own: the shape checks of the tests cannot be traced. It takes a while, since
every loss is traced twice (value and gradient).
"""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import torch
from fedcl.losses.pairs import pairs_of_views
from tests.losses.per_anchor import PER_ANCHOR

generator = torch.Generator().manual_seed(5)
z = torch.nn.functional.normalize(torch.randn(7, 2, 5, generator=generator), dim=-1)
y = 20 + 40 * torch.rand(7, generator=generator)
weights = torch.exp(-((y[:, None] - y[None, :]) ** 2) / 50)
for name, loss in PER_ANCHOR.items():
    def value(leaf):
        return loss(pairs_of_views(leaf, weights, temperature=0.1)).value.mean()
    leaf, other = z.clone().requires_grad_(), z.clone().requires_grad_()
    torch._dynamo.reset()
    compiled = torch.compile(value, backend="aot_eager", fullgraph=True)(leaf)
    plain = value(other)
    torch.testing.assert_close(compiled, plain, msg=name)
    gradients = torch.autograd.grad(plain, other), torch.autograd.grad(compiled, leaf)
    torch.testing.assert_close(*gradients, msg=name)
    print(name)
"""


@pytest.mark.process
def test_every_loss_compiles_into_one_graph():
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=root, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.split()) == 18
