"""How long, how exactly, and what to watch."""

import dataclasses
from collections.abc import Iterable
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..declaration import Declared, concrete, nearest, option, parameter
from ..dynamics import AbstractFlow
from ..observables import AbstractObservable, observable
from ..stopping import AbstractStop
from .grid import NEAR, Grid
from .methods import METHODS, reading

FINEST = 8  # times the spacing of numbers: below that a step's error is rounding, and smaller steps make more of it


def _observables(watch: Iterable[AbstractObservable | str]) -> tuple[AbstractObservable, ...]:
    if isinstance(watch, str) or not isinstance(watch, Iterable):
        raise ValueError(f"`watch` is a list of observables; got {watch!r}. Write ({watch!r},).")
    return tuple(observable(given) for given in watch)


def _stops(stop: Iterable[AbstractStop]) -> tuple[AbstractStop, ...]:
    if isinstance(stop, AbstractStop) or not isinstance(stop, Iterable):
        raise ValueError(f"`stop` is a list of conditions; got {stop!r}. Write ({type(stop).__name__}(...),).")
    return tuple(stop)


def _frames(save: int | Iterable[float]) -> int | tuple[float, ...]:
    if isinstance(save, bool | str) or not isinstance(save, int | np.integer | Iterable):
        raise ValueError(f"`save` is a whole number of frames, or their depths; got {save!r}")
    depths = int(save) if isinstance(save, int | np.integer) else tuple(float(depth) for depth in save)
    if depths == ():
        raise ValueError("`save` names no depth; the last one must be `until`")
    return depths


class Plan(Declared):
    r"""How long to follow a flow, how exactly, what to keep and when to stop.

    The error of each accepted step is held below :math:`a + r |x|` in every coordinate of every token, with `atol` a
    and `rtol` r; that is a bound on the step, and the whole run's error is usually a small multiple of it.

    Parameters
    ----------
    until : the last depth.
    save : how many frames to keep after the start, equally spaced, or their depths, increasing, the last one `until`.
    watch : observables to compute at each frame, by name or as objects.
    solver : the name of a method: Tsit5, Dopri5, Dopri8, Bosh3, Heun for adaptive or constant steps; Kvaerno3 and
        Kvaerno5 for stiff flows; RK4 and Euler with `dt` only. Brownian noise needs Heun, EulerHeun or Euler. For
        parity with published scripts there are EulerNormalize, the step `normalize(x + dt v)`, and RK4Frozen.
    rtol, atol : relative and absolute tolerance of a step. In float32 no less than 1e-6.
    dt : a constant step in place of the tolerances; one that would pass `until` ends there. Frames between
        the ends of steps are interpolated. Under Brownian noise, which cannot be, steps end at frames, too. `Layers`
        have nothing between them: a whole number of them must lead to every frame.
    stop : conditions that end the run early; the first that holds counts, at the depth within a step where it begins to
        hold, along the interpolation of the method. Of layers and Brownian noise it is the end of a step.
    coalesce : for `simulate`: the distance, within the space, below which tokens that have met by the end of a chunk
        move as one from then on, with their masses added. No token is moved by more than that, and they never part
        again. Without it all tokens move to the end.
    tokens : whether to keep the tokens of every frame, or observables alone; a number keeps at most that many of them
        (and of what is observed of each token), evenly spread by index. The run itself goes on with all.
    chunk : how many frames are computed and committed together by `simulate`. It is part of a run's identity.
    max_steps : the largest number of steps, rejected ones included, between two commits, or in one `solve`.
    start : the first depth, that of the tokens that a run is given: to go on from another run, `start=run.depth` with
        `run.final`. A law that does not change with depth does not see it.

    Raises
    ------
    ValueError
        For an unknown solver, one without error estimate and no `dt`, or depths that do not increase to `until`.

    Units
    -----
    Depth is a pure number: one unit is one layer of step 1.

    Source
    ------
    kidger2021on, for the solvers.
    """

    until: Float[Array, ""] = parameter(gt=0)
    save: int | tuple[float, ...] = option(100, converter=_frames, gt=0)
    watch: tuple[AbstractObservable, ...] = eqx.field(converter=_observables, default=())
    solver: str = option("Tsit5")
    rtol: Float[Array, ""] = parameter(1e-6, gt=0, lt=1)
    atol: Float[Array, ""] = parameter(1e-9, gt=0)
    dt: Float[Array, ""] | None = parameter(None, gt=0)
    stop: tuple[AbstractStop, ...] = eqx.field(converter=_stops, default=())
    coalesce: Float[Array, ""] | None = parameter(None, gt=0)
    tokens: bool | int = option(True)
    chunk: int = option(10, ge=1)
    max_steps: int = option(100_000, ge=1)
    start: Float[Array, ""] = parameter(0.0, ge=0)
    sources: ClassVar[tuple[str, ...]] = ("kidger2021on",)

    def __check_init__(self):
        if self.solver not in METHODS:
            known = ", ".join(METHODS)
            raise ValueError(f"`solver` must be one of {known}; got {self.solver!r}.{nearest(self.solver, METHODS)}")
        if self.dt is None and not METHODS[self.solver].adaptive:
            raise ValueError(f"{self.solver} has no error estimate and takes constant steps: give `dt`, or use Heun")
        names = [watched.name for watched in self.watch]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"`watch` names {twice} more than once")
        if not isinstance(self.tokens, bool) and self.tokens < 1:
            raise ValueError(f"`tokens` is true, false, or how many tokens to keep, at least 1; got {self.tokens}")
        self._check_depths()

    def _check_depths(self) -> None:
        start, until, dt = concrete(self.start), concrete(self.until), concrete(self.dt)
        if start is None or until is None or start.ndim or until.ndim:
            return
        if until <= start:
            raise ValueError(f"`until` must be greater than `start` = {start:g}; got {until:g}")
        if isinstance(self.save, tuple):
            depths = np.asarray(self.save, float)
            if np.any(np.diff(depths, prepend=start) <= 0) or not np.isclose(depths[-1], until, rtol=1e-6):
                raise ValueError(
                    f"`save` must increase from above `start` = {start:g} to `until` = {until:g}; got {self.save}"
                )
        if dt is not None and dt.dtype != object and not dt.ndim and not METHODS[self.solver].interpolates:
            self._check_layers(float(start), float(until), float(dt))

    def _check_layers(self, start: float, until: float, dt: float) -> None:
        """Raises ValueError for a frame that lies between two steps, where there is nothing."""
        evenly = np.linspace(start, until, self.frames) if isinstance(self.save, int) else np.asarray(self.save, float)
        steps = (evenly - start) / dt
        off = np.abs(steps - np.round(steps)) > NEAR * np.maximum(1, steps)
        if not off.any():
            return
        count = round((until - start) / dt)
        if off[-1]:
            raise ValueError(
                f"{self.solver} takes whole steps, and {(until - start) / dt:g} of them of `dt` = {dt:g} lead from "
                f"{start:g} to `until` = {until:g}: choose `until` = {start + max(count, 1) * dt:g} or another `dt`"
            )
        depth = start + float(steps[int(np.argmax(off))]) * dt
        raise ValueError(
            f"{self.solver} has nothing between the ends of {count} steps of {dt:g}, and a frame lies at {depth:g}: "
            f"choose `save` = {count}, a number that divides {count}, or depths that are multiples of {dt:g}"
        )

    @property
    def frames(self) -> int:
        """The number of frames, the start included."""
        return 1 + (self.save if isinstance(self.save, int) else len(self.save))

    def kept(self, n: int) -> slice:
        """Which of n tokens are kept in frames."""
        return slice(None) if isinstance(self.tokens, bool) else slice(0, None, -(-n // self.tokens))

    def depths(self, first: int, last: int, dtype: jnp.dtype) -> Float[Array, " frame"]:
        """The depths of frames `first` to `last`, both included: the same numbers however a plan is cut into chunks."""
        start, until = self.ends(dtype)
        if isinstance(self.save, tuple):
            every = jnp.concatenate([start[None], jnp.asarray(self.save[:-1], dtype), until[None]])
            return every[first : last + 1]
        frame = jnp.arange(first, last + 1)
        return jnp.where(frame == self.save, until, start + frame.astype(dtype) * (until - start) / self.save)

    @property
    def length(self) -> Float[Array, ""]:
        """The depth from the start to the end."""
        return self.until - self.start

    def shrunk(self, length: float, frames: int) -> "Plan":
        """A plan no longer than a given depth and of some frames: of layers as many as there are up to there."""
        until = jnp.minimum(self.until, self.start + length)
        if self.dt is None or METHODS[self.solver].interpolates:
            return dataclasses.replace(self, until=until, save=frames)
        count = max(1, round(float((until - self.start) / self.dt)))
        some = max(one for one in range(1, frames + 1) if count % one == 0)
        return dataclasses.replace(self, until=self.start + count * self.dt, save=some)

    def ends(self, dtype: jnp.dtype) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The first depth and the last one."""
        return self.start.astype(dtype), self.until.astype(dtype)

    def grid(self, dtype: jnp.dtype) -> Grid:
        """The depths at which constant steps end."""
        if self.dt is None:
            raise ValueError("steps that follow an error have no grid; give `dt`")
        return Grid(*self.ends(dtype), self.dt.astype(dtype))

    def snapped(self, times: Float[Array, " time"]) -> Float[Array, " time"]:
        """Depths of frames, those that rounding alone tells from the end of a constant step moved there."""
        return times if self.dt is None else self.grid(times.dtype).nearest(times)

    def check_flow(self, flow: AbstractFlow) -> None:
        """Raises ValueError if the solver cannot follow the flow, or something watched is not defined for it."""
        if reading(self.solver, flow) is None:
            solved = " or ".join(kind.value for kind in METHODS[self.solver].readings)
            wanted = " or ".join(kind.value for kind in flow.readings)
            able = ", ".join(name for name in METHODS if reading(name, flow) is not None)
            raise ValueError(f"{self.solver} follows {solved}; this {type(flow).__name__} is {wanted}. Use {able}.")
        if flow.constant_steps and self.dt is None:
            raise ValueError(f"a {type(flow).__name__} takes constant steps: give `dt`")
        if not flow.of_tokens and (self.watch or self.stop):
            raise ValueError(
                f"what a plan watches, and where it stops, are numbers of tokens, and the state of a "
                f"{type(flow).__name__} holds none: leave out `watch` and `stop`, and look at the state itself"
            )
        for watched in self.watch:
            watched.check_flow(flow)
        if self.coalesce is not None:
            self._check_coalescence(flow)

    def check_precision(self, dtype: jnp.dtype) -> None:
        """Raises ValueError if numbers of this kind cannot be told apart within `rtol`."""
        rtol, finest = concrete(self.rtol), FINEST * float(jnp.finfo(dtype).eps)
        if rtol is not None and self.dt is None and rtol < finest:
            finer = ", or compute in float64" if jnp.finfo(dtype).bits < 64 else ""
            raise ValueError(
                f"`rtol` = {rtol:g} is finer than {jnp.dtype(dtype).name} can tell: use {finest:.2g} or more{finer}"
            )

    def _check_coalescence(self, flow: AbstractFlow) -> None:
        try:
            flow.on_masses(jnp.asarray([0.5, 0.5]))
        except ValueError as refusal:
            raise ValueError(f"`coalesce` cannot serve this flow: {refusal}. Or leave `coalesce` out.") from refusal
        for stop in self.stop:
            if not stop.of_measure:
                raise ValueError(
                    f"the stop condition {type(stop).__name__} looks at each token, and under `coalesce` many are one: "
                    "use one that is `of_measure`, OneCluster or Steady, or leave `coalesce` out"
                )
