r"""The ELU family for PyTorch: ELU, SPELU and MPELU, with fast kernels and Taylor initialisation.

.. math::
    f(x) = \begin{cases}
        x & \text{if } x > 0 \\
        \alpha_c \, (e^{\beta_c x} - 1) & \text{if } x \le 0
    \end{cases}

* :class:`ELU`: :math:`\alpha` is a fixed number and :math:`\beta = 1`.
* :class:`SPELU`: :math:`\alpha` is learned and :math:`\beta = 1`.
* :class:`MPELU`: :math:`\alpha` and :math:`\beta` are learned.

Sources: Clevert et al. 2016 (arXiv:1511.07289) for ELU; Li et al. 2016 (arXiv:1606.00305) for
MPELU, the initialisation and the residual network.
"""

# The libraries come first: every other module is written over what they register.
from mpelu import _library, _C, autograd, convert, export, functional, init, models, nn, optim  # isort: skip
from mpelu.nn import ELU, MPELU, SPELU, BatchNormMPELU1d, BatchNormMPELU2d, BatchNormMPELU3d

__all__ = [
    "ELU",
    "MPELU",
    "SPELU",
    "BatchNormMPELU1d",
    "BatchNormMPELU2d",
    "BatchNormMPELU3d",
    "autograd",
    "build_info",
    "cmake_prefix_path",
    "convert",
    "export",
    "functional",
    "init",
    "models",
    "nn",
    "optim",
]

__version__: str = str(_C.build_info()["version"])

#: For ``cmake -DCMAKE_PREFIX_PATH``: where ``find_package(mpelu)`` finds this installation.
cmake_prefix_path: str = str(_library.PACKAGE_DIR / "share" / "cmake")


def build_info() -> dict[str, str | None]:
    """What the installed library was built from and for.

    Returns:
        dict: ``version``, ``torch`` (the version built against), ``compiler``, ``cpu_capability``
        (the instruction set in use), ``cuda`` and ``cuda_architectures`` (None in a CPU build).
    """
    return _C.build_info()
