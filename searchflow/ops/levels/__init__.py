"""Service levels: declared in `service_levels.yaml`, measured set-wise on the ops tables, reported once for each
change.
"""

from searchflow.ops.levels.declaration import Level, load_levels
from searchflow.ops.levels.evaluation import Evaluated, evaluate, record_states
from searchflow.ops.levels.measures import Facts
from searchflow.ops.levels.notices import deliver, note_changes

__all__ = ["Evaluated", "Facts", "Level", "deliver", "evaluate", "load_levels", "note_changes", "record_states"]
