"""Gaussian tokens under attention and a linear feed-forward layer at once: one matrix exponential."""

import numpy as np
from scipy.linalg import expm


def covariance(start: np.ndarray, a: np.ndarray, forward: np.ndarray, t: float) -> np.ndarray:
    r"""The covariance at depth t of centered Gaussian tokens with x' = Sigma A x + W x.

    .. math:: \Sigma = X Y^{-1}, \qquad
        \begin{pmatrix} X \\ Y \end{pmatrix} =
        \exp\Big(t \begin{pmatrix} W & 0 \\ -(A + A^T) & -W^T \end{pmatrix}\Big)
        \begin{pmatrix} I \\ \Sigma_0^{-1} \end{pmatrix}

    Parameters
    ----------
    start : covariance at depth 0, `[d d]`, positive definite.
    a : A of the logits <y, A x>.
    forward : W.
    t : depth, before the covariance blows up.

    Raises
    ------
    ValueError
        If the covariance has blown up by then.

    Source
    ------
    castin2025unified, for the flow of attention; the linear form of the Riccati equation is classical.
    """
    d = len(start)
    generator = np.block([[forward, np.zeros((d, d))], [-(a + a.T), -forward.T]])
    moved = expm(t * generator) @ np.concatenate([np.eye(d), np.linalg.inv(start)])
    found = moved[:d] @ np.linalg.inv(moved[d:])
    if np.linalg.eigvalsh((found + found.T) / 2).min() <= 0:
        raise ValueError(f"the covariance has blown up before depth {t:g}")
    return found
