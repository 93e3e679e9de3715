"""The stages in their order. A new stage is a new file and its line here."""

from drp_ray.stages import peers_contrast, peers_neighbour  # noqa: F401 (they register finders)
from drp_ray.stages.comparisons import COMPARISONS
from drp_ray.stages.contexts import CONTEXTS
from drp_ray.stages.control_judgements import CONTROL_JUDGEMENTS
from drp_ray.stages.control_scores import CONTROL_SCORES
from drp_ray.stages.controls import CONTROLS
from drp_ray.stages.differences import DIFFERENCES
from drp_ray.stages.embeddings import EMBEDDINGS
from drp_ray.stages.feature_keys import FEATURE_KEYS
from drp_ray.stages.items import ITEMS
from drp_ray.stages.judgements import JUDGEMENTS
from drp_ray.stages.peers import PEERS
from drp_ray.stages.prediction_controls import PREDICTION_CONTROLS
from drp_ray.stages.predictions import PREDICTIONS
from drp_ray.stages.retrieved import RETRIEVED
from drp_ray.stages.scores import SCORES
from drp_ray.stages.stage import Stage
from drp_ray.stages.users import USERS

STAGES: tuple[Stage, ...] = (
    USERS,
    RETRIEVED,
    ITEMS,
    EMBEDDINGS,
    COMPARISONS,
    DIFFERENCES,
    PEERS,
    CONTEXTS,
    PREDICTIONS,
    SCORES,
    CONTROLS,
    CONTROL_SCORES,
    PREDICTION_CONTROLS,
    JUDGEMENTS,
    CONTROL_JUDGEMENTS,
    FEATURE_KEYS,
)
