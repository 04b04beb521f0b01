"""The event files of TensorBoard. Only this module knows tensorboardX, which is an extra."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optim_client import History

EXTRA = "event files need the package tensorboardX: `pip install 'optim-service[tensorboard]'`"


def write(rows: "History", folder: Path) -> None:
    """Write each column of numbers as scalars. Raises `ValueError` and `FileExistsError`.

    Rows of skipped and undone steps are left out. TensorBoard adds up all files of a folder, so one that has files
    already is refused.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty, and TensorBoard would mix the runs: give a new folder")
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ValueError(EXTRA) from error
    names = [name for name, column in rows.arrays().items() if column.dtype.kind == "f"]
    with SummaryWriter(str(folder)) as writer:
        for row in rows:
            for name in names:
                value = getattr(row, name)
                if value is not None and not (row.skipped or row.undone):
                    writer.add_scalar(name, value, row.step, row.time.timestamp())
