"""The other processors that this machine can act as: environment variables, by name.

NumPy picks its loops, numba its instructions and glibc its functions by the processor. Each can be told to pick others,
so that one machine computes as several.
"""

import os
import platform
from collections.abc import Mapping
from pathlib import Path

from numpy._core import _multiarray_umath as numpy_build

THREADS = 4
CACHE = Path(__file__).parents[2] / ".numba_cache"
GLIBC_WITHOUT_FMA = "glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2,-AVX2_Usable"
BEYOND_AVX2 = ("AVX512", "X86_V4")
"""The first letters of NumPy's names of features that only newer processors have."""


def _disabled(beyond: tuple[str, ...]) -> dict[str, str]:
    """Return the variable that keeps NumPy from using features of this machine whose names begin so."""
    there = [name for name in numpy_build.__cpu_dispatch__ if numpy_build.__cpu_features__[name]]
    names = [name for name in there if name.startswith(beyond)]
    return {"NPY_DISABLE_CPU_FEATURES": " ".join(names)} if names else {}


def _environments() -> dict[str, dict[str, str]]:
    if platform.machine() not in ("x86_64", "AMD64"):
        return {"baseline": {**_disabled(("",)), "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}}
    return {
        "baseline": {
            **_disabled(("",)),
            "NUMBA_CPU_NAME": "generic",
            "NUMBA_CPU_FEATURES": "",
            "OPENBLAS_CORETYPE": "Prescott",
            "GLIBC_TUNABLES": GLIBC_WITHOUT_FMA,
        },
        "avx2": {
            **_disabled(BEYOND_AVX2),
            "NUMBA_CPU_NAME": "haswell",
            "NUMBA_CPU_FEATURES": "+avx,+avx2,+bmi,+bmi2,+fma,+f16c",
            "OPENBLAS_CORETYPE": "Haswell",
        },
    }


ENVIRONMENTS: Mapping[str, Mapping[str, str]] = _environments()
"""Each is this machine without what makes it new."""


def environment(name: str, **more: str) -> dict[str, str]:
    """Return the variables of a process that acts as that processor; numba compiles for it once."""
    return {**os.environ, **ENVIRONMENTS[name], "NUMBA_CACHE_DIR": str(CACHE / name), **more}
