"""Figures of stored results: `for name, figure in figures(dataset): save(figure, folder / f"{name}.png")`."""

from .attention import AttentionGraph as AttentionGraph
from .attention import AttentionMatrix as AttentionMatrix
from .base import AbstractFigure as AbstractFigure
from .base import figures as figures
from .base import kind as kind
from .base import kinds as kinds
from .base import suitable as suitable
from .charts import Chart as Chart
from .cosines import CosineHistogram as CosineHistogram
from .density import Density as Density
from .ellipses import Ellipses as Ellipses
from .merge_tree import ClusterTree as ClusterTree
from .observables import Observables as Observables
from .style import Plate as Plate
from .style import save as save
from .style import styled as styled
from .timelapse import Timelapse as Timelapse
from .trajectories import Trajectories as Trajectories
