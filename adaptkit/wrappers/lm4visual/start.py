"""The start of the two maps: principal directions of image tokens, as large as text tokens are (ours).

    W1 = s P,   W2 = P^T,   P (d, d_L) the first d_L principal directions of image tokens as columns
with s such that the mapped tokens have the root mean square of text tokens in front of the block.
"""

import torch
from torch import Tensor


def principal_directions(rows: Tensor, count: int) -> Tensor:
    """The first directions of rows (N, d), unit columns by falling variance: (d, count), zeros behind the d-th.

    The largest number of each is positive, so that they are the same wherever they are computed.
    """
    rows = rows.double()
    centred = rows - rows.mean(dim=0)
    found = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(-1)[:, :count]  # (d, min(d, count))
    largest = found.gather(0, found.abs().argmax(dim=0, keepdim=True))
    return torch.nn.functional.pad(found * largest.sign(), (0, max(0, count - rows.shape[1])))
