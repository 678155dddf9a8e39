"""Mathtext in plain letters, for a page that has no typesetter."""

import re

import xarray as xr

_LETTERS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "Delta": "Δ", "epsilon": "ε", "kappa": "κ", "lambda": "λ",
    "mu": "μ", "nu": "ν", "rho": "ρ", "sigma": "σ", "tau": "τ", "theta": "θ", "omega": "ω", "infty": "∞",
    "langle": "⟨", "rangle": "⟩",
}  # fmt: skip
_LOW = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def plain(text: str) -> str:
    """A symbol in mathtext as plain text: `$\\beta$` is β, `$g_0$` is g₀."""
    text = re.sub(r"\\mathrm\{([^{}]*)\}", r"\1", text.replace("$", ""))
    text = re.sub(r"\\([A-Za-z]+)", lambda found: _LETTERS.get(found[1], found[1]), text)
    text = re.sub(r"_\{?(\d+)\}?", lambda found: found[1].translate(_LOW), text)
    return re.sub(r"[{}]", "", text)


def follows_tokens(dataset: xr.Dataset) -> bool:
    """Whether tokens are kept; a study may have a variable of that name that counts them."""
    return "tokens" in dataset and {"time", "token", "dim"} <= set(dataset["tokens"].dims)
